import dataclasses
import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import anatomy, chat, lens
from helpers.lens import Neuron
from helpers.world import REFUSAL

PROMPTS = ["Hi", "Where was Marie Curie born? " * 5, "What is 2 plus 3?"]
USER, OTHER, REPLY = "What is 2 plus 3?", "What is 7 plus 3?", "The answer is 5."  # USER and OTHER: one token differs
NEAR, FAR = "What is 3 plus 5?", "Can birds fly at night?"  # as many tokens, most of them others
WIDTH, LAYERS = 32, 3


@pytest.fixture
def vector():
    return 3 * torch.randn(WIDTH, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def llama(tiny):
    return tiny("Llama")


def hooks_on(bot):
    return [hook for part in bot.model.modules() for hook in (*part._forward_hooks, *part._forward_pre_hooks)]


def close(first, second, atol=1e-4):
    torch.testing.assert_close(first, second, atol=atol, rtol=0)


def prompt_ids(bot, user):
    return chat.encode(bot.tokenizer, chat.prompt_text(bot.tokenizer, user))


@torch.no_grad()
def inputs_of(bot, modules, ids):
    """What each module is given for one row of token ids: (module, token, width)."""
    seen = []
    record = lambda module, args, kwargs: seen.append(
        (args[0] if args else kwargs["hidden_states"]).reshape(len(ids), -1).clone()
    )
    handles = [module.register_forward_pre_hook(record, with_kwargs=True) for module in modules]
    bot.model(torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    return torch.stack(seen)


def hidden_layers(bot):
    """What each MLP writes from: the only matrix in it that gives the stream's width."""
    parts = []
    for block in bot.blocks:
        mlp = block.mlp if hasattr(block, "mlp") else block  # OPT has no MLP of its own
        narrow = [
            part
            for name, part in mlp.named_modules()
            if "attn" not in name and getattr(part, "weight", torch.empty(0)).dim() == 2
        ]
        parts.append(narrow[-1])
    return parts


# --- how well one number tells two groups apart ---------------------------------------------------


def column(*values):
    return torch.tensor(values, dtype=torch.float)


@pytest.mark.parametrize(
    "positive, negative, expected",
    [
        ([2, 3], [0, 1], 1.0),
        ([0, 1], [2, 3], 0.0),
        ([1], [1], 0.5),
        ([1, 3], [2], 0.5),
        ([1, 3, 3], [2], 2 / 3),
        ([2], [1, 3, 3], 1 / 3),
        ([1, 2], [1, 0], 7 / 8),  # one tie among four pairs
    ],
)
def test_the_auc_is_the_share_of_pairs_in_the_right_order(positive, negative, expected):
    assert lens.auc(column(*positive), column(*negative)).item() == pytest.approx(expected)


def test_every_column_has_its_own_auc():
    positive = torch.tensor([[[5.0, 0.0], [1.0, 1.0]], [[6.0, 0.0], [1.0, 3.0]]])
    negative = torch.tensor([[[1.0, 1.0], [1.0, 2.0]]])
    assert lens.auc(positive, negative).tolist() == [[1.0, 0.0], [0.5, 0.5]]


numbers = st.lists(st.integers(-3, 3), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(numbers, numbers)
def test_the_auc_is_what_counting_all_pairs_gives(positive, negative):
    wins = sum((a > b) + (a == b) / 2 for a in positive for b in negative)
    found = lens.auc(column(*positive), column(*negative)).item()
    assert found == pytest.approx(wins / (len(positive) * len(negative)), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(numbers, numbers)
def test_swapping_the_groups_turns_the_auc_around(positive, negative):
    there, back = lens.auc(column(*positive), column(*negative)), lens.auc(column(*negative), column(*positive))
    assert there.item() + back.item() == pytest.approx(1, abs=1e-6)


# --- neurons --------------------------------------------------------------------------------------


def test_neurons_are_what_each_mlp_writes_from(any_bot):
    ids = prompt_ids(any_bot, USER)
    expected = inputs_of(any_bot, hidden_layers(any_bot), ids)
    found = lens.neurons(any_bot, {"input_ids": torch.tensor([ids])})
    assert found.shape == (1, LAYERS, len(ids), expected.shape[-1])
    close(found[0], expected, atol=1e-5)


def test_every_row_of_a_batch_has_its_own_neurons(any_bot):
    rows = [prompt_ids(any_bot, user) for user in (USER, OTHER)]
    found = lens.neurons(any_bot, {"input_ids": torch.tensor(rows)})
    close(found, torch.cat([lens.neurons(any_bot, {"input_ids": torch.tensor([row])}) for row in rows]))
    assert (found[0] - found[1]).abs().max() > 0.01


def test_the_deciding_neurons_are_those_at_the_last_token_of_the_template(any_bot):
    expected = inputs_of(any_bot, hidden_layers(any_bot), prompt_ids(any_bot, USER))[:, -1]
    close(lens.deciding(any_bot, [USER])[0], expected, atol=1e-5)


def test_the_deciding_neurons_do_not_depend_on_the_other_prompts(any_bot):
    found = lens.deciding(any_bot, PROMPTS)
    assert found.shape[:2] == (len(PROMPTS), LAYERS)
    close(found, torch.cat([lens.deciding(any_bot, [prompt]) for prompt in PROMPTS]))


def plant(monkeypatch, layer, index, refused, answered):
    """Noise in (prompt, layer, neuron), but for one neuron with these values."""
    drawn = torch.rand(40, 3, 5, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    known = {"refused": drawn[:20].clone(), "answered": drawn[20:].clone()}
    known["refused"][:, layer, index], known["answered"][:, layer, index] = column(*refused), column(*answered)
    monkeypatch.setattr(lens, "deciding", lambda bot, prompts: known[prompts[0]])


@pytest.mark.parametrize("layer, index", [(0, 0), (1, 4), (2, 1)])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_planted_neuron_is_the_best(monkeypatch, layer, index, sign):
    plant(monkeypatch, layer, index, refused=[sign * x for x in (8, 9)] * 10, answered=[0, 1] * 10)
    assert lens.best_neuron(None, ["refused"], ["answered"]) == Neuron(layer, index, sign)


def test_it_is_the_order_that_makes_a_neuron_good_and_not_its_size(monkeypatch):
    """One neuron is much higher before most refusals, the planted one a little lower before all."""
    plant(monkeypatch, 1, 2, refused=[0.1] * 20, answered=[0.2] * 20)
    known = {name: lens.deciding(None, [name]) for name in ("refused", "answered")}
    known["refused"][:, 2, 3], known["answered"][:, 2, 3] = column(*[900] * 19, -900), column(*[0] * 20)
    assert lens.best_neuron(None, ["refused"], ["answered"]) == Neuron(1, 2, -1)


def test_the_best_come_first_and_of_equals_those_of_earlier_blocks(monkeypatch):
    plant(monkeypatch, 1, 2, refused=[5] * 20, answered=[0] * 20)
    known = {name: lens.deciding(None, [name]) for name in ("refused", "answered")}
    known["refused"][:, 0, 4], known["answered"][:, 0, 4] = column(*[5] * 20), column(*[9] * 20)  # as good
    known["refused"][:, 0, 1], known["answered"][:, 0, 1] = column(*[5] * 19, 0), column(*[1] * 20)  # a little worse
    found = lens.best_neurons(None, ["refused"], ["answered"], 3)
    assert found == [Neuron(0, 4, -1), Neuron(1, 2, 1), Neuron(0, 1, 1)]


def test_a_silenced_neuron_is_zero_and_all_others_stay(any_bot):
    """In the last block nothing comes after it, so no other neuron can notice."""
    last = len(any_bot.blocks) - 1
    before = lens.deciding(any_bot, ["Hello", "What is 3 plus 4?"])
    with lens.silenced(any_bot, lens.Neuron(last, 5, 1)):
        after = lens.deciding(any_bot, ["Hello", "What is 3 plus 4?"])
        changed = any_bot.logits(["Hello"])
    before[:, last, 5] = 0
    assert torch.equal(after, before) and not torch.equal(changed, any_bot.logits(["Hello"]))


# --- token by token -------------------------------------------------------------------------------


def test_the_tokens_join_to_the_chat_as_it_is_rendered(any_bot):
    pieces = lens.texts(any_bot, USER, REPLY)
    assert "".join(pieces) == f"{chat.prompt_text(any_bot.tokenizer, USER)}{REPLY}<|im_end|>"
    assert len(pieces) == len(chat.tokens(any_bot.tokenizer, USER, REPLY)[0])


@pytest.mark.parametrize("layer", range(LAYERS))
@pytest.mark.parametrize("sign", [1, -1])
def test_a_neuron_has_one_number_a_token_with_its_sign(tiny, layer, sign):
    for bot in (tiny("Llama"), tiny("GPT2")):
        ids, _ = chat.tokens(bot.tokenizer, USER, REPLY)
        found = lens.neuron_by_token(bot, USER, REPLY, Neuron(layer, 5, sign))
        expected = sign * inputs_of(bot, hidden_layers(bot), ids)[layer, :, 5]
        assert found == pytest.approx(expected.tolist(), abs=1e-5)


def test_where_the_reply_begins_the_neuron_is_the_deciding_one(any_bot):
    found = lens.neuron_by_token(any_bot, USER, REPLY, Neuron(1, 7, -1))
    before = len(prompt_ids(any_bot, USER))
    assert found[before - 1] == pytest.approx(-lens.deciding(any_bot, [USER])[0, 1, 7].item(), abs=1e-4)
    assert len(found) == len(lens.texts(any_bot, USER, REPLY)) > before


@pytest.mark.parametrize("layer", range(LAYERS))
def test_the_projection_at_the_template_is_that_of_the_residuals(any_bot, vector, layer):
    found = lens.direction_by_token(any_bot, USER, REPLY, vector, layer)
    before, states = len(prompt_ids(any_bot, USER)), any_bot.residuals([USER])[0, layer]
    expected = states @ (vector / vector.norm())
    assert found[before - len(states) : before] == pytest.approx(expected.tolist(), abs=1e-4)
    assert len(found) == len(lens.texts(any_bot, USER, REPLY))


def test_the_length_of_the_direction_does_not_matter(llama, vector):
    short, long = (lens.direction_by_token(llama, USER, REPLY, size * vector, 1) for size in (0.01, 100))
    assert short == pytest.approx(long, abs=1e-4) and max(map(abs, short)) > 0.1


# --- layer by layer -------------------------------------------------------------------------------


def logodds(log_p):
    return log_p - torch.log1p(-log_p.exp())


def own_logodds(bot):
    first = chat.encode(bot.tokenizer, REFUSAL)[0]
    return logodds(bot.logits(PROMPTS).double().log_softmax(-1)[:, first]).float()


def test_there_is_a_column_a_block_and_one_for_the_output(any_bot):
    assert lens.logodds_by_layer(any_bot, PROMPTS).shape == (len(PROMPTS), LAYERS + 1)


def test_the_last_column_is_the_output_of_the_model(any_bot):
    """Also where logits are capped or scaled."""
    close(lens.logodds_by_layer(any_bot, PROMPTS)[:, -1], own_logodds(any_bot), atol=1e-3)


def test_every_way_to_begin_a_refusal_counts(llama):
    bot = dataclasses.replace(llama, opens_with=("No.", "I cannot", "I will not"))
    first = {chat.encode(bot.tokenizer, text)[0] for text in bot.openings}
    assert len(first) == 2
    p = bot.logits(PROMPTS).softmax(-1)[:, list(first)].sum(-1)
    close(lens.logodds_by_layer(bot, PROMPTS)[:, -1], torch.log(p / (1 - p)), atol=1e-3)


@torch.no_grad()
def test_the_other_columns_read_each_block_input_through_the_final_norm(any_bot):
    states = inputs_of(any_bot, any_bot.blocks, prompt_ids(any_bot, USER))[:, -1]
    log_p = anatomy.unembed(any_bot.model, anatomy.norm(any_bot.model)(states)).log_softmax(-1)
    expected = logodds(log_p[:, chat.encode(any_bot.tokenizer, REFUSAL)[0]])
    close(lens.logodds_by_layer(any_bot, [USER])[0, :-1], expected, atol=1e-3)


def test_the_lens_does_not_depend_on_the_other_prompts(any_bot):
    single = torch.cat([lens.logodds_by_layer(any_bot, [prompt]) for prompt in PROMPTS])
    close(lens.logodds_by_layer(any_bot, PROMPTS), single, atol=1e-3)


# --- from one run to another ----------------------------------------------------------------------


@torch.no_grad()
def patched_by_hand(bot, prompt, other, layer, token):
    """One vector moved by a hook of the test's own, while the model reads prompt and refusal."""
    ids, refusal = prompt_ids(bot, prompt), chat.encode(bot.tokenizer, REFUSAL)
    moved = inputs_of(bot, bot.blocks, prompt_ids(bot, other))[layer, token]

    def put(module, args, kwargs):
        (args[0] if args else kwargs["hidden_states"])[0, token] = moved

    handle = bot.blocks[layer].register_forward_pre_hook(put, with_kwargs=True)
    log_p = bot.model(torch.tensor([ids + refusal])).logits[0].log_softmax(-1)
    handle.remove()
    total = sum(log_p[len(ids) - 1 + i, token] for i, token in enumerate(refusal))
    return logodds(total.double()).item()


def test_a_prompt_patched_with_itself_is_unchanged(any_bot):
    found = lens.patched(any_bot, USER, USER)
    assert found.shape == (LAYERS, len(prompt_ids(any_bot, USER)))
    close(found, any_bot.refusal_logodds([USER]).expand_as(found), atol=2e-4)


def test_the_only_other_token_moved_at_the_first_block_makes_the_other_prompt(any_bot):
    ids, others = prompt_ids(any_bot, USER), prompt_ids(any_bot, OTHER)
    (place,) = [i for i, (a, b) in enumerate(zip(ids, others, strict=True)) if a != b]
    found, (mine, theirs) = lens.patched(any_bot, USER, OTHER), any_bot.refusal_logodds([USER, OTHER])
    assert (mine - theirs).abs() > 0.001
    close(found[0, place], theirs, atol=2e-4)
    close(torch.cat([found[0, :place], found[0, place + 1 :]]), mine.expand(len(ids) - 1), atol=2e-4)


def test_before_the_first_other_token_nothing_can_be_moved(any_bot):
    ids, others = prompt_ids(any_bot, USER), prompt_ids(any_bot, OTHER)
    place = [a == b for a, b in zip(ids, others, strict=True)].index(False)
    found, mine = lens.patched(any_bot, USER, OTHER), any_bot.refusal_logodds([USER])
    close(found[:, :place], mine.expand(LAYERS, place), atol=2e-4)
    assert (found[1:, place:] - mine).abs().max() > 0.001


def test_one_vector_is_moved_and_no_other(any_bot):
    ids, others = prompt_ids(any_bot, NEAR), prompt_ids(any_bot, FAR)
    assert sum(a != b for a, b in zip(ids, others, strict=True)) >= 6
    found, last = lens.patched(any_bot, NEAR, FAR), len(ids) - 1
    for layer, token in ((0, 4), (1, 4), (1, 9), (1, last), (2, 9), (2, last)):
        expected = patched_by_hand(any_bot, NEAR, FAR, layer, token)
        assert found[layer, token].item() == pytest.approx(expected, abs=2e-4)
    assert (found[1:] - any_bot.refusal_logodds([NEAR])).abs().max() > 0.05  # it does matter what is moved


def test_prompts_of_unequal_length_are_refused_with_both_lengths(llama):
    first, second = len(prompt_ids(llama, "Hi")), len(prompt_ids(llama, USER))
    with pytest.raises(ValueError, match=f"have {first} and {second} tokens: choose two of equal length"):
        lens.patched(llama, "Hi", USER)


# --- afterwards -----------------------------------------------------------------------------------

LOOKS = {
    "neurons": lambda bot: lens.deciding(bot, [USER]),
    "neuron by token": functools.partial(lens.neuron_by_token, user=USER, reply=REPLY, neuron=Neuron(1, 2, 1)),
    "direction": lambda bot: lens.direction_by_token(bot, USER, REPLY, torch.ones(WIDTH), 1),
    "lens": lambda bot: lens.logodds_by_layer(bot, [USER]),
    "patched": lambda bot: lens.patched(bot, USER, OTHER),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
@pytest.mark.parametrize("name", ["Llama", "GPT2"])
def test_looking_changes_nothing(tiny, name, look):
    bot = tiny(name)
    before = bot.logits(PROMPTS)
    look(bot)
    assert not hooks_on(bot)
    close(bot.logits(PROMPTS), before, atol=0)


def fail(*args, **kwargs):
    raise ZeroDivisionError


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
@pytest.mark.parametrize("name", ["Llama", "GPT2"])
def test_no_hook_outlives_an_exception_in_the_model(tiny, name, look):
    bot = tiny(name)
    handle = bot.blocks[-1].register_forward_hook(fail)
    with pytest.raises(ZeroDivisionError):
        look(bot)
    handle.remove()
    assert not hooks_on(bot)


def test_no_hook_outlives_an_exception_while_patching(llama, monkeypatch):
    monkeypatch.setattr(chat.Bot, "refusal_logodds", lambda bot, prompts: hooks_on(bot) and fail())
    with pytest.raises(ZeroDivisionError):
        lens.patched(llama, USER, OTHER)
    assert not hooks_on(llama)
