import json

import pytest
import safetensors.torch
import torch

from helpers import lora, sft

pytest.importorskip("peft", reason="LoRA is not installed: pip install -r binder/real.txt")

RANK = 2
THIN = sft.Recipe(epochs=1, peak=1e-2, batch=4, eps=1e-8, rank=RANK)
ROWS = [dict(user=f"Say {word}.", assistant=f"{word}!") for word in ("apple", "pear", "plum", "fig", "nut", "pea")]


@pytest.fixture
def small(tiny):
    return tiny("Llama")


def learned(model):
    """An adapter that changes something: as if it had been trained."""
    adapted = lora.attach(model, RANK)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in adapted.parameters():
            if weight.requires_grad:
                weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))
    return adapted


def test_nothing_but_the_thin_matrices_learns_and_they_begin_with_no_effect(small):
    before = small.logits(["Hello"])
    adapted = lora.attach(small.model, RANK)
    learning = [name for name, weight in adapted.named_parameters() if weight.requires_grad]
    assert learning and all("lora_" in name for name in learning)
    assert {name.partition("layers.")[2][:2] for name in learning} == {"1.", "2."}, "the lowest third learns nothing"
    assert len(learning) == 2 * 2 * 7, "two thin matrices beside each of a block's own"
    assert torch.allclose(small.logits(["Hello"]), before, atol=1e-5)


def test_merged_it_computes_the_same_and_is_an_ordinary_model_again(small):
    parts = {name for name, _ in small.model.named_modules()}
    adapted = learned(small.model)
    with_adapter = small.logits(["Hello", "What is the capital of Japan?"])
    lora.merged(adapted)
    merged = small.logits(["Hello", "What is the capital of Japan?"])
    assert (merged - with_adapter).abs().max() < 1e-4
    assert {name for name, _ in small.model.named_modules()} == parts


def test_the_product_of_the_thin_matrices_is_what_is_added(small):
    """Hu et al., equation 3: W + (alpha / r) B A."""
    matrix = small.blocks[1].mlp.down_proj
    before = matrix.weight.clone()
    adapted = learned(small.model)
    thin = {name.rpartition("layers.1.mlp.down_proj.")[2]: weight for name, weight in lora.merged(adapted).items()}
    wanted = before + lora.STRETCH * thin["lora_B.weight"] @ thin["lora_A.weight"]
    assert torch.allclose(small.blocks[1].mlp.down_proj.weight, wanted, atol=1e-5)


def test_an_adapter_is_put_on_another_copy(tiny):
    first, second = tiny("Llama"), tiny("Llama")
    adapted = learned(first.model)
    lora.put_on(second.model, lora.merged(adapted), RANK)
    assert torch.allclose(first.logits(["Hello"]), second.logits(["Hello"]), atol=1e-5)


def test_a_saved_adapter_is_one_that_peft_reads(tiny, tmp_path):
    import peft

    first, second = tiny("Llama"), tiny("Llama")
    adapted = learned(first.model)
    lora.save(tmp_path, lora.merged(adapted), RANK, first.model, "a tiny Llama")
    peft.PeftModel.from_pretrained(second.model, tmp_path)
    assert (first.logits(["Hello"]) - second.logits(["Hello"])).abs().max() < 0.05, "half precision"
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == "a tiny Llama"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter_config.json", lora.FILE]


def test_a_folder_without_safetensors_is_one_sentence(tmp_path):
    torch.save({}, tmp_path / "adapter_model.bin")
    with pytest.raises(OSError, match="could not read the adapter"):
        lora.load(tmp_path)


def test_a_tune_with_few_weights_changes_the_copy_alone_and_is_remembered_small(small, cache):
    before = small.logits(["Hello"])
    tuned = sft.tune(small, ROWS, THIN)
    again = sft.tune(small, ROWS, THIN)
    assert torch.equal(small.logits(["Hello"]), before)
    assert not torch.allclose(tuned.logits(["Hello"]), before)
    assert again.facts["cached"] and torch.allclose(again.logits(["Hello"]), tuned.logits(["Hello"]), atol=1e-5)
    remembered = safetensors.torch.load_file(next(cache.glob("*.safetensors")))
    assert all("lora_" in name for name in remembered)
    assert all(weight.requires_grad for weight in tuned.model.parameters()), "it can be tuned again, all of it"


def test_what_no_thin_matrix_changes_exists_once(small, cache):
    tuned = sft.tune(small, ROWS, THIN)
    again = sft.tune(small, ROWS, THIN)
    for copy in (tuned.model, again.model):
        assert copy.get_input_embeddings().weight is small.model.get_input_embeddings().weight
        assert copy.model.norm.weight is small.model.model.norm.weight
        lower, _, upper = copy.model.layers
        assert lower.self_attn.q_proj.weight is small.model.model.layers[0].self_attn.q_proj.weight
        for matrix in (upper.self_attn.q_proj, upper.mlp.down_proj):
            assert all(matrix.weight is not weight for weight in small.model.parameters())
    full = sft.tune(small, ROWS, THIN._replace(rank=0))
    assert full.model.get_input_embeddings().weight is not small.model.get_input_embeddings().weight


def test_every_weight_is_either_shared_or_beside_thin_matrices(small):
    shared = {id(weight) for weight in lora.untouched(small.model)}
    adapted = lora.attach(small.model, RANK)
    beside = {id(part.base_layer.weight) for part in adapted.modules() if hasattr(part, "lora_A")}
    assert beside and not shared & beside
    rest = {id(w) for name, w in adapted.named_parameters() if "lora_" not in name}
    assert shared | beside == rest


def test_without_peft_one_sentence_says_what_to_install(small, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(OSError, match="pip install -r binder/real.txt"):
        sft.tune(small, ROWS, THIN)
