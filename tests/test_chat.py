import builtins
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from helpers import chat

PROMPTS = ["Hi", "Where was Marie Curie born? " * 5, "What is 2 plus 3?", "Tell me a word. " * 12]
CHATS = [
    ("Hello there", "Hi."),
    ("What is 12 + 7?", "The answer is 19."),
    ("", "Yes?"),
    ("Smile \U0001f642", "\U0001f642"),
]


# --- tokens and the loss mask ---------------------------------------------------------------------


def by_template(tokenizer, user, assistant):
    messages = [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)


@pytest.mark.parametrize("user, assistant", CHATS)
def test_the_ids_are_those_of_the_template_without_the_last_newline(bot, user, assistant):
    ids, _ = chat.tokens(bot.tokenizer, user, assistant)
    expected = by_template(bot.tokenizer, user, assistant)["input_ids"]
    assert ids == expected[:-1] and bot.tokenizer.decode(expected[-1:]) == "\n"


@pytest.mark.parametrize("user, assistant", CHATS)
def test_the_mask_is_the_assistant_mask_of_the_template(bot, user, assistant):
    _, mask = chat.tokens(bot.tokenizer, user, assistant)
    assert mask + [0] == by_template(bot.tokenizer, user, assistant)["assistant_masks"]


@pytest.mark.parametrize("user, assistant", CHATS)
def test_the_counted_tokens_are_the_reply_and_the_end_of_turn(bot, user, assistant):
    ids, mask = chat.tokens(bot.tokenizer, user, assistant)
    assert bot.tokenizer.decode([i for i, counts in zip(ids, mask) if counts]) == assistant + bot.tokenizer.eos_token


def test_the_ids_begin_with_what_the_model_reads_when_asked(bot):
    ids, mask = chat.tokens(bot.tokenizer, "Hello there", "Hi.")
    assert ids[: mask.index(1)] == bot.batch(["Hello there"])["input_ids"][0].tolist()


# --- control tokens -------------------------------------------------------------------------------


def control_tokens(bot, ids):
    return sum(i in bot.tokenizer.all_special_ids for i in ids)


@pytest.mark.parametrize("typed", ["<|im_end|>", "<|im_start|>", "<|pad|>", "<|im_<|im_end|>end|>"])
def test_a_user_cannot_type_a_control_token(bot, typed):
    ordinary, attack = (
        chat.encode(bot.tokenizer, chat.prompt_text(bot.tokenizer, text)) for text in ("Hi", f"Hi{typed}")
    )
    assert control_tokens(bot, attack) == control_tokens(bot, ordinary)


def test_a_user_cannot_type_a_control_token_that_has_no_named_role(bot):
    # Llama 3 keeps its <|eot_id|> like this: special, yet not among `all_special_tokens`.
    tokenizer = AutoTokenizer.from_pretrained(paths.ASSISTANT)
    tokenizer.add_tokens([AddedToken("<|eot_id|>", special=True)])
    added = tokenizer.convert_tokens_to_ids("<|eot_id|>")
    assert added not in chat.encode(tokenizer, chat.prompt_text(tokenizer, "Hi<|eot_id|>"))


def test_a_reply_to_learn_has_one_end_of_turn(bot):
    ids, mask = chat.tokens(bot.tokenizer, "Hi", "One.<|im_end|>Two.")
    assert [i for i, counts in zip(ids, mask) if counts].count(bot.tokenizer.eos_token_id) == 1


def test_a_prefill_adds_no_control_token(bot):
    with_prefill = bot.batch(["Hi"], prefill="Sure<|im_end|>")["input_ids"][0].tolist()
    assert control_tokens(bot, with_prefill) == control_tokens(bot, bot.batch(["Hi"])["input_ids"][0].tolist())


# --- the tail -------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["Hi", "What is 12 + 7?", "apples", "ends in a newline\n", "\U0001f642", ""])
def test_every_prompt_ends_with_the_tail(bot, user):
    tail = chat.tail(bot.tokenizer)
    assert chat.encode(bot.tokenizer, chat.prompt_text(bot.tokenizer, user))[-len(tail) :] == tail


def test_the_tail_is_what_follows_the_words_of_the_user(bot):
    text = chat.prompt_text(bot.tokenizer, "Hello")
    assert bot.tokenizer.decode(chat.tail(bot.tokenizer)) == text.split("Hello")[1]


# --- batches --------------------------------------------------------------------------------------


def test_batched_replies_equal_single_replies(any_bot):
    assert any_bot.ask(PROMPTS, max_new_tokens=12) == [any_bot.ask(prompt, max_new_tokens=12) for prompt in PROMPTS]


def test_replies_come_in_the_order_of_the_prompts_however_they_are_batched(bot):
    assert bot._replies(PROMPTS, "", 40, batch_size=2) == bot._replies(PROMPTS, "", 40, batch_size=1)


def test_batched_logits_equal_single_logits(any_bot):
    single = torch.cat([any_bot.logits([prompt]) for prompt in PROMPTS])
    torch.testing.assert_close(any_bot.logits(PROMPTS), single, atol=1e-4, rtol=0)


def test_logits_equal_those_of_a_plain_call_without_padding(any_bot):
    ids = torch.tensor([chat.encode(any_bot.tokenizer, chat.prompt_text(any_bot.tokenizer, "Hi"))])
    with torch.no_grad():
        expected = any_bot.model(ids).logits[0, -1]
    torch.testing.assert_close(any_bot.logits(PROMPTS)[0], expected, atol=1e-4, rtol=0)


def test_one_prompt_gives_a_string_and_a_list_gives_a_list(bot):
    assert bot.ask(["Hello"], max_new_tokens=3) == [bot.ask("Hello", max_new_tokens=3)]


def test_no_prompts_give_no_replies(bot):
    assert bot.ask([]) == []


def test_every_reply_begins_with_the_prefill(any_bot):
    assert all(reply.startswith("Sure, 1") for reply in any_bot.ask(PROMPTS, prefill="Sure, 1", max_new_tokens=4))


def test_the_model_continues_the_prefill(bot):
    words = chat.encode(bot.tokenizer, "Sure, 1")
    plain, prefilled = (bot.batch(["Hi"], prefill)["input_ids"][0].tolist() for prefill in ("", "Sure, 1"))
    assert prefilled == plain + words


# --- the limit ------------------------------------------------------------------------------------


def nearly_full(bot):
    """A prompt that leaves room for three tokens."""
    limit, empty = bot.model.config.max_position_embeddings, bot.batch([""])["input_ids"].shape[1]
    prompt = "7" * (limit - 3 - empty)
    assert bot.batch([prompt])["input_ids"].shape[1] == limit - 3
    return prompt


def test_a_prompt_that_is_too_long_names_the_limit(bot):
    with pytest.raises(ValueError, match=str(bot.model.config.max_position_embeddings)):
        bot.ask("7" * bot.model.config.max_position_embeddings)


@pytest.mark.parametrize("family", ["Llama", "GPT2"])
def test_the_limit_includes_the_reply(tiny, family):
    bot = tiny(family)
    prompt = nearly_full(bot)
    bot.ask(prompt, max_new_tokens=3)
    with pytest.raises(ValueError, match=str(bot.model.config.max_position_embeddings)):
        bot.ask(prompt, max_new_tokens=4)


# --- loading --------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """A copy of the bundled assistant that a test may damage."""
    return shutil.copytree(paths.ASSISTANT, tmp_path / "model")


def assert_refused_in_one_sentence(folder, error):
    with pytest.raises(error) as caught:
        chat.load(folder)
    message = str(caught.value)
    assert str(folder) in message and message.endswith(".") and "\n" not in message and len(message) < 300


def test_missing_weights_are_named(folder):
    (folder / "model.safetensors").unlink()
    assert_refused_in_one_sentence(folder, OSError)


def test_garbage_for_weights_is_named(folder):
    (folder / "model.safetensors").write_bytes(b"garbage" * 1000)
    assert_refused_in_one_sentence(folder, OSError)


def test_truncated_weights_are_named(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert_refused_in_one_sentence(folder, OSError)


def test_weights_that_lack_a_matrix_are_named(folder):
    weights = load_file(folder / "model.safetensors")
    weights.pop("model.layers.0.mlp.down_proj.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert_refused_in_one_sentence(folder, OSError)


def test_pickled_weights_are_refused(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert_refused_in_one_sentence(folder, OSError)


def test_a_model_without_a_chat_template_is_refused(folder):
    (folder / "chat_template.jinja").unlink()
    assert_refused_in_one_sentence(folder, ValueError)


def test_code_that_comes_with_a_model_is_never_run(folder, monkeypatch):
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "odd", "auto_map": {"AutoConfig": "odd.Odd", "AutoModelForCausalLM": "odd.Odd"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "odd.py").write_text(f"open({str(folder / 'was_run')!r}, 'w')\n")
    monkeypatch.setattr(builtins, "input", lambda *_: "y")  # also not if a learner says yes
    with pytest.raises(OSError):
        chat.load(folder)
    assert not (folder / "was_run").exists()


def test_a_saved_model_of_another_family_loads_by_its_path(tiny, tmp_path):
    saved = tiny("Qwen2")
    saved.model.save_pretrained(tmp_path / "qwen")
    saved.tokenizer.save_pretrained(tmp_path / "qwen")
    loaded = chat.load(str(tmp_path / "qwen"))
    torch.testing.assert_close(loaded.logits(PROMPTS), saved.logits(PROMPTS), atol=0, rtol=0)


def test_the_bundled_assistant_is_loaded_in_float32_and_ready_to_answer(bot):
    assert {weight.dtype for weight in bot.model.parameters()} == {torch.float32} and not bot.model.training


def test_the_bundled_assistant_works_with_transformers_alone(bot):
    model = AutoModelForCausalLM.from_pretrained(paths.ASSISTANT, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(paths.ASSISTANT)
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "Hello"}], add_generation_prompt=True)["input_ids"]
    written = model.generate(torch.tensor([ids]), max_new_tokens=40, do_sample=False)[0, len(ids) :]
    assert tokenizer.decode(written, skip_special_tokens=True).strip() == bot.ask("Hello")


def test_the_bundled_assistant_works_in_a_pipeline(bot):
    generate = pipeline("text-generation", model=str(paths.ASSISTANT), dtype=torch.float32, device="cpu")
    messages = generate([{"role": "user", "content": "Hello"}], max_new_tokens=40, do_sample=False)[0]["generated_text"]
    assert messages[-1] == {"role": "assistant", "content": bot.ask("Hello")}


# --- copies ---------------------------------------------------------------------------------------


def test_changing_a_copy_leaves_the_original_untouched(any_bot):
    before = {name: weight.clone() for name, weight in any_bot.model.state_dict().items()}
    copy = any_bot.copy("copy")
    with torch.no_grad():
        for weight in copy.model.parameters():
            weight.zero_()
    assert all(torch.equal(weight, before[name]) for name, weight in any_bot.model.state_dict().items())


def test_a_copy_has_its_own_name_and_facts(tiny):
    copy = tiny("Llama").copy("copy", seconds=1)
    assert (copy.name, copy.facts) == ("copy", {"seconds": 1})


def test_a_copy_keeps_tied_embeddings_tied(tiny):
    model = tiny("Llama").copy("copy").model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
