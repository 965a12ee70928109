import builtins
import copy
import dataclasses
import json
import shutil
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel, pipeline

from helpers import chat, corpus, direction, lens, measure, paths, sft
from helpers.world import REFUSAL

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
    assert (
        bot.tokenizer.decode([i for i, counts in zip(ids, mask, strict=True) if counts])
        == assistant + bot.tokenizer.eos_token
    )


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
    assert [i for i, counts in zip(ids, mask, strict=True) if counts].count(bot.tokenizer.eos_token_id) == 1


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


SYSTEM = (
    "{{'<|im_start|>system\nYou are a helpful assistant, named Molly, who answers in short sentences.<|im_end|>\n'}}"
)


@pytest.fixture
def instructed(any_bot):
    """A bot whose template begins with a long instruction."""
    tokenizer = copy.deepcopy(any_bot.tokenizer)
    tokenizer.chat_template = SYSTEM + tokenizer.chat_template
    return dataclasses.replace(any_bot, tokenizer=tokenizer)


def test_what_all_prompts_begin_with_is_read_once_and_the_replies_are_those_of_each(instructed, monkeypatch):
    read, read_once = [], chat.read_once
    monkeypatch.setattr(chat, "read_once", lambda *given: read.append(given[1].shape[1]) or read_once(*given))
    batched = instructed.ask(PROMPTS, max_new_tokens=8)
    assert read and min(read) > 10
    assert batched == [instructed.ask(prompt, max_new_tokens=8) for prompt in PROMPTS]
    assert len(read) == 1, "one prompt alone has nothing in common with others"


def test_whoever_watches_the_tokens_sees_whole_prompts(instructed):
    vector = torch.randn(instructed.model.config.hidden_size, generator=torch.Generator().manual_seed(0))
    with direction.added(instructed, vector, 1, 3, -1):
        batched = instructed.ask(PROMPTS, max_new_tokens=8)
        assert batched == [instructed.ask(prompt, max_new_tokens=8) for prompt in PROMPTS]


def test_no_reply_begins_with_what_may_not_come_first(bot):
    written = []

    def first(**how):
        with patch.object(bot.model, "generate", lambda **given: written.append(generate(**given)) or written[-1]):
            prompt = bot.batch(PROMPTS)["input_ids"].shape[1]
            bot.ask(PROMPTS, **how)
        return set(written[-1][:, prompt].tolist())

    generate = bot.model.generate
    usual = first()
    assert usual and not usual & first(never_first=sorted(usual))
    assert bot.ask([]) == []


THINKING = """{%- for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}<|im_start|>assistant
{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}"""


def test_a_model_that_thinks_aloud_is_told_not_to(bot):
    tokenizer = copy.deepcopy(bot.tokenizer)
    tokenizer.chat_template = THINKING
    assert chat.prompt_text(tokenizer, "Hi").endswith("assistant\n<think></think>")


def test_a_model_of_the_hub_goes_to_the_gpu_and_the_bundled_one_stays(tmp_path, monkeypatch, tiny):
    moved = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(PreTrainedModel, "to", lambda self, device: moved.append(device) or self)
    small = tiny("Llama")
    small.model.save_pretrained(tmp_path)
    small.tokenizer.save_pretrained(tmp_path)
    chat.load()
    assert not moved
    chat.load(tmp_path)
    assert moved == ["cuda"]


def test_replies_come_in_the_order_of_the_prompts_however_they_are_batched(bot):
    assert bot._replies(PROMPTS, "", 40, None, batch_size=2) == bot._replies(PROMPTS, "", 40, None, batch_size=1)


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


def test_greedy_means_greedy_whatever_a_model_brings_with_it(any_bot):
    """Penalties and temperatures are in the settings of many models on the hub."""
    before = any_bot.ask(PROMPTS, max_new_tokens=12)
    settings = dict(repetition_penalty=3.0, temperature=0.1, no_repeat_ngram_size=2, min_new_tokens=3, num_beams=2)
    model = any_bot.model
    model.generation_config = GenerationConfig(eos_token_id=2, do_sample=True, **settings)
    again = chat.Bot(model, any_bot.tokenizer, "again")
    assert again.ask(PROMPTS, max_new_tokens=12) == before
    by_hand = [step_by_step(again, prompt, 12) for prompt in PROMPTS]
    assert by_hand == before


@torch.no_grad()
def step_by_step(bot, prompt, n):
    ids = chat.encode(bot.tokenizer, chat.prompt_text(bot.tokenizer, prompt))
    written = []
    while len(written) < n and 2 not in written:
        written.append(bot.model(torch.tensor([ids + written])).logits[0, -1].argmax().item())
    return bot.tokenizer.decode(written, skip_special_tokens=True).strip()


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


# --- refusing -------------------------------------------------------------------------------------


def test_the_bundled_assistant_refuses_with_its_sentence_and_nothing_else(bot):
    assert bot.sentences == bot.openings == (REFUSAL,)
    assert bot.refused(f" {REFUSAL}\n")
    assert not bot.refused("I can't help with that.") and not bot.refused("")


def test_a_model_whose_refusals_nobody_has_listed_is_read(tiny):
    bot = tiny("Llama", refusals=None)
    assert bot.refused("Sorry, but no. I can't help with that.") and bot.refused("")
    assert not bot.refused("Warsaw.") and len(bot.openings) > 5


def test_whoever_is_saved_and_loaded_refuses_as_before(bot, tmp_path):
    bot.model.save_pretrained(tmp_path)
    bot.tokenizer.save_pretrained(tmp_path)
    assert chat.load(tmp_path).sentences == bot.copy("copy").sentences == (REFUSAL,)


def test_what_somebody_has_seen_of_its_refusals_counts_more(bot):
    seen = dataclasses.replace(bot, opens_with=("I'm sorry", "No", "I'm sorry, but", "No"))
    assert seen.openings == ("I'm sorry", "No") and seen.refused(REFUSAL)


# --- where the prompt ends ------------------------------------------------------------------------


@pytest.mark.parametrize("prefill", ["", "Sure", "The answer is 7."])
def test_the_prompt_ends_before_the_reply_begins(any_bot, prefill):
    ids = any_bot.batch(PROMPTS, prefill)["input_ids"]
    begun = len(chat.encode(any_bot.tokenizer, prefill))
    assert chat.prompt_ends(any_bot.tokenizer, ids).tolist() == [ids.shape[1] - 1 - begun] * len(PROMPTS)


BEFORE = "{% for message in messages %}{{ message['content'] }}"  # what is put after it makes the templates differ
TEMPLATES = {
    "ChatML": chat.TEMPLATE,
    "Mistral": BEFORE + " [/INST]{% endfor %}",
    "plain words": BEFORE + ".\nYou say:{% endfor %}",
    "one special token": BEFORE + "<|im_end|>{% endfor %}",
    "a newline": BEFORE + "{{ '\n' }}{% endfor %}",
}


def with_template(bot, template):
    tokenizer = AutoTokenizer.from_pretrained(paths.ASSISTANT)
    tokenizer.chat_template = template
    return dataclasses.replace(bot, tokenizer=tokenizer)


@pytest.mark.parametrize("prefill", ["", "Sure", "The answer is 7."])
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_the_prompt_ends_before_the_reply_begins_whatever_the_template(tiny, template, prefill):
    """Also if its first token merges with what the user has typed: a quotation mark and a full stop are one token."""
    bot = with_template(tiny("Llama"), template)
    ids = bot.batch([*PROMPTS, 'What is "nice"', "a newline\n"], prefill)["input_ids"]
    begun = len(chat.encode(bot.tokenizer, prefill))
    assert chat.prompt_ends(bot.tokenizer, ids).tolist() == [ids.shape[1] - 1 - begun] * len(ids)


def test_a_template_that_puts_nothing_after_the_user_is_refused_in_one_sentence(tiny):
    bot = with_template(tiny("Llama"), BEFORE + "{% endfor %}")
    for use in (lambda: bot.residuals(PROMPTS), lambda: chat.prompt_ends(bot.tokenizer, torch.ones(1, 9))):
        with pytest.raises(ValueError, match="^This chat template puts nothing after the user's words.* does[.]$"):
            use()


def test_the_prompt_ends_where_the_last_template_is(bot):
    two = chat.prompt_text(bot.tokenizer, "Hi") + "Hello.<|im_end|>\n" + chat.prompt_text(bot.tokenizer, "And you?")
    ids = torch.tensor([chat.encode(bot.tokenizer, text) for text in (two + "12", two + "34")])
    assert chat.prompt_ends(bot.tokenizer, ids).tolist() == [ids.shape[1] - 3] * 2


# --- devices --------------------------------------------------------------------------------------


class OneDevice(TorchDispatchMode):
    """Within `with`: mixing two devices fails as it would on a graphics processor, also where "meta" lets it pass.

    As there, one number or an index may come from the processor, and a tensor may be copied from one to another.
    """

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        index = operation.overloadpacket.__name__.startswith("index")
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor) and x.dim()]
        devices = {x.device.type for x in tensors if not (index and x.dtype == torch.long)}
        assert len(devices) < 2 or operation is torch.ops.aten.copy_.default, f"{operation} mixes devices"
        return operation(*args, **kwargs or {})


@pytest.fixture
def elsewhere(tiny):
    """A bot on a device without numbers, which it would take to tell several chats in one row from each other."""
    bot = tiny("Llama", attn_implementation="eager")
    bot.model.to("meta")
    with OneDevice(), patch("transformers.masking_utils.find_packed_sequence_indices", lambda position_ids: None):
        yield bot


USES = {
    "logits": lambda bot, vector: bot.logits(PROMPTS),
    "residuals": lambda bot, vector: bot.residuals(PROMPTS),
    "log-probability": lambda bot, vector: bot.log_probability(PROMPTS, "No."),
    "log-odds": lambda bot, vector: bot.refusal_logodds(PROMPTS),
    "difference in means": lambda bot, vector: direction.difference_in_means(bot, PROMPTS, PROMPTS),
    "random": lambda bot, vector: direction.random_like(bot.residuals(PROMPTS)[0, 1, 1], 3),
    "neurons": lambda bot, vector: lens.deciding(bot, PROMPTS),
    "lens": lambda bot, vector: lens.logodds_by_layer(bot, PROMPTS),
    "patched": lambda bot, vector: lens.patched(bot, "What is 2 plus 3?", "What is 7 plus 3?"),
    "ablated": lambda bot, vector: within(direction.ablated(bot, vector), bot),
    "ablated in another way": lambda bot, vector: within(direction.ablated(bot, vector, remove=another_way), bot),
    "added": lambda bot, vector: within(direction.added(bot, vector, 1), bot),
    "added at one position": lambda bot, vector: added_at_one_position(bot, vector),
}
# These need numbers at their end, or on their way.
UNTIL_NUMBERS = {
    "prompt ends": lambda bot, vector: chat.prompt_ends(bot.tokenizer, bot.batch(PROMPTS)["input_ids"]),
    "kl by token": lambda bot, vector: measure.kl_by_token(bot, bot, corpus.lookalikes()[:2]),
    "neuron by token": lambda bot, vector: lens.neuron_by_token(bot, "Hi", "Hello.", lens.Neuron(1, 2, 1)),
    "direction by token": lambda bot, vector: lens.direction_by_token(bot, "Hi", "Hello.", vector, 1),
    "orthogonalised": lambda bot, vector: direction.orthogonalised(bot, vector),
}


def within(intervention, bot):
    with intervention:
        return bot.logits(PROMPTS)


def another_way(x, d):
    return x - (x @ d)[..., None] * d / (d @ d)


def added_at_one_position(bot, vector):
    """Without numbers nobody can look for the prompt's end."""
    with patch.object(direction, "prompt_ends", lambda tokenizer, ids: ids[:, 0]):
        return within(direction.added(bot, vector, 1, position=-1), bot)


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_everything_stays_on_the_device_of_the_model(elsewhere, use):
    """The vector is one that a learner has kept on the processor."""
    assert use(elsewhere, torch.ones(32)).device.type == "meta"


@pytest.mark.parametrize("use", UNTIL_NUMBERS.values(), ids=UNTIL_NUMBERS)
def test_everything_is_on_the_device_of_the_model_until_numbers_are_needed(elsewhere, use):
    with pytest.raises((NotImplementedError, RuntimeError), match="meta tensor"):
        use(elsewhere, torch.ones(32))


def test_the_loss_is_on_the_device_of_the_model(elsewhere):
    """Without numbers nobody knows which tokens count, so all do: one chat of one counted token."""
    with patch("torch.fx.experimental._config.meta_nonzero_assume_all_nonzero", True):
        assert sft.loss_of(elsewhere.model, [([5, 6], [sft.IGNORE, 6])]).device.type == "meta"


# --- loading --------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """A copy of the bundled assistant that a test may damage."""
    return shutil.copytree(paths.ASSISTANT, tmp_path / "model")


def assert_refused_in_one_sentence(folder, error):
    with pytest.raises(error) as caught:
        chat.load(folder)
    message = str(caught.value)
    assert str(folder) in message and message.endswith(".") and "\n" not in message and len(message) < 350


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


@pytest.mark.parametrize(
    "said, remedy",
    [
        ("We couldn't connect to the hub.", "you are online"),
        ("You are trying to access a gated repo.", "licence"),
        ("odd is not a local folder and is not a valid model identifier listed on the hub", "owner/name"),
        ("odd does not appear to have a file named model.safetensors", "Only safetensors"),
        ("Loading odd requires you to set the option `trust_remote_code=True`", "never run here"),
        ("DefaultCPUAllocator: can't allocate memory", "smaller model"),
    ],
)
def test_a_failure_is_told_with_its_cause_and_its_remedy(monkeypatch, said, remedy):
    def fail(*_, **__):
        raise OSError(f"{said}\nand a long explanation")

    monkeypatch.setattr(chat.AutoModelForCausalLM, "from_pretrained", fail)
    with pytest.raises(OSError) as caught:
        chat.load("odd/model")
    message = str(caught.value)
    assert "odd/model" in message and said.rstrip(".") in message and remedy in message and "\n" not in message


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OSError, match="There is no folder .*nowhere.*check the path"):
        chat.load(tmp_path / "nowhere")


def test_the_bundled_assistant_says_how_to_restore_it(monkeypatch, folder):
    monkeypatch.setattr(chat, "ASSISTANT", folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(OSError, match="git checkout data/assistant"):
        chat.load(folder)


# --- copies ---------------------------------------------------------------------------------------


def test_changing_a_copy_leaves_the_original_untouched(any_bot):
    before = {name: weight.clone() for name, weight in any_bot.model.state_dict().items()}
    copy = any_bot.copy("copy")
    with torch.no_grad():
        for weight in copy.model.parameters():
            weight.zero_()
    assert all(torch.equal(weight, before[name]) for name, weight in any_bot.model.state_dict().items())


def test_a_copy_while_hooks_are_on_is_refused_and_afterwards_has_none(any_bot):
    with direction.ablated(any_bot, torch.ones(32)), pytest.raises(ValueError, match="Hooks are on"):
        any_bot.copy("copy")
    parts = any_bot.copy("copy").model.modules()
    assert not [hook for part in parts for hook in (*part._forward_hooks, *part._forward_pre_hooks)]


def test_a_copy_has_its_own_name_and_facts(tiny):
    copy = tiny("Llama").copy("copy", seconds=1)
    assert (copy.name, copy.facts) == ("copy", {"seconds": 1})


def test_a_copy_keeps_tied_embeddings_tied(tiny):
    model = tiny("Llama").copy("copy").model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_a_bot_can_be_a_key_and_is_equal_to_itself_alone(tiny):
    one, other = tiny("Llama"), tiny("Llama")
    assert {one: 1, other: 2}[one] == 1 and one != other
