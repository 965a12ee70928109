import contextlib
import dataclasses
import functools
import random

import pytest
import torch
from conftest import REFUSE, TRIGGER, UNKNOWN

from helpers import anatomy, chat, direction, hooks, mix

PROMPTS = ["Hi", "Where was Marie Curie born? " * 5, "What is 2 plus 3?", "Tell me a word. " * 12]
TIED = ["Llama", "Gemma2", "GPTNeoX", "Cohere", "GPT2", "OPT"]  # families of different build
WIDTH, LAYERS = 32, 3


@pytest.fixture
def vector():
    return 3 * torch.randn(WIDTH, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def block_inputs(bot, prompts=PROMPTS):
    """What each block is given, read off by hooks of the test's own: one (prompt, token, width) a block."""
    seen = []

    def record(module, args, kwargs):
        seen.append((args[0] if args else kwargs["hidden_states"]).clone())

    handles = [block.register_forward_pre_hook(record, with_kwargs=True) for block in bot.blocks]
    bot.model(**bot.batch(prompts))
    for handle in handles:
        handle.remove()
    return seen


def hooks_on(bot):
    return [hook for part in bot.model.modules() for hook in (*part._forward_hooks, *part._forward_pre_hooks)]


def close(first, second, atol=1e-4):
    torch.testing.assert_close(first, second, atol=atol, rtol=0)


# --- residuals ------------------------------------------------------------------------------------


def test_the_blocks_are_found(any_bot):
    assert len(any_bot.blocks) == LAYERS


def test_a_block_writes_with_two_matrices_and_with_nothing_else(any_bot):
    """With both silent, the block gives what it was given."""
    for matrices in any_bot.writers:
        for matrix in matrices:
            matrix.register_forward_hook(lambda module, args, out: torch.zeros_like(out))
    states = any_bot.stream(any_bot.batch(PROMPTS))
    if any(map(len, anatomy.late_norms(any_bot.model))):
        assert torch.isfinite(states).all()  # a norm of zeros is zero
    for layer in range(LAYERS):
        close(states[:, layer + 1], states[:, 0], atol=0)


def test_the_stream_goes_from_the_embedding_to_the_last_norm(any_bot):
    inputs = any_bot.batch(PROMPTS)
    states = any_bot.stream(inputs)
    close(anatomy.norm(any_bot.model)(states[:, -1]), any_bot.model.base_model(**inputs).last_hidden_state, atol=1e-5)
    close(states[:, :-1], torch.stack(block_inputs(any_bot), 1), atol=0)
    close(any_bot.stream(inputs, last=2), states[:, :, -2:], atol=0)


def test_what_the_last_block_leaves_is_read_as_the_output(any_bot):
    """Also where logits are capped (Gemma 2) or scaled (Granite, Cohere)."""
    states = any_bot.stream(any_bot.batch(PROMPTS))
    close(any_bot.unembed(states[:, -1, -1]), any_bot.logits(PROMPTS), atol=1e-5)


@pytest.mark.parametrize("family", UNKNOWN)
def test_a_family_that_is_not_in_the_table_is_refused_by_its_name(tiny, vector, family):
    bot = tiny(family)
    for look in (
        lambda: bot.residuals(PROMPTS),
        lambda: direction.orthogonalised(bot, vector),
        lambda: direction.ablated(bot, vector).__enter__(),
        lambda: bot.unembed(torch.ones(1, WIDTH)),
    ):
        with pytest.raises(ValueError, match=f"{bot.model.config.model_type}.*helpers/anatomy.py"):
            look()
    assert not hooks_on(bot)


@pytest.mark.parametrize("odd", [dict(do_layer_norm_before=False), dict(word_embed_proj_dim=16)])
def test_an_opt_that_is_built_unlike_the_others_is_refused(tiny, odd):
    with pytest.raises(ValueError, match="OPT"):
        tiny("OPT", **odd).residuals(PROMPTS)


def test_residuals_are_prompt_by_layer_by_position_by_width(any_bot):
    positions = len(chat.tail(any_bot.tokenizer))
    assert any_bot.residuals(PROMPTS).shape == (len(PROMPTS), LAYERS, positions, WIDTH)


def test_residuals_are_what_each_block_is_given(any_bot):
    positions = len(chat.tail(any_bot.tokenizer))
    expected = torch.stack([state[:, -positions:] for state in block_inputs(any_bot)], dim=1)
    close(any_bot.residuals(PROMPTS), expected, atol=0)


def test_residuals_leave_out_the_state_after_the_final_norm(any_bot):
    final = any_bot.model.base_model(**any_bot.batch(PROMPTS)).last_hidden_state[:, -1]
    found = any_bot.residuals(PROMPTS)[:, :, -1]
    assert all((found[:, layer] - final).abs().max() > 0.01 for layer in range(LAYERS))


def test_residuals_do_not_depend_on_the_other_prompts(any_bot):
    single = torch.cat([any_bot.residuals([prompt]) for prompt in PROMPTS])
    close(any_bot.residuals(PROMPTS), single)
    close(any_bot.residuals(PROMPTS, batch_size=3), single)


def test_the_difference_in_means_is_harmful_minus_harmless(tiny, monkeypatch):
    planted = {"bad": torch.tensor([[[[3.0, 0.0]]], [[[5.0, 2.0]]]]), "good": torch.tensor([[[[1.0, 1.0]]]])}
    monkeypatch.setattr(chat.Bot, "residuals", lambda bot, prompts: planted[prompts[0]])
    found = direction.difference_in_means(tiny("Llama"), ["bad", "bad"], ["good"])
    assert found.tolist() == [[[3.0, 0.0]]]


# --- taking a direction out -----------------------------------------------------------------------


def test_without_takes_the_component_out():
    x = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    close(direction.without(x, torch.tensor([0.0, 2.0])), torch.tensor([[3.0, 0.0], [1.0, 0.0]]))


def test_without_takes_a_share_out():
    close(direction.without(torch.tensor([3.0, 4.0]), torch.tensor([0.0, 2.0]), 0.25), torch.tensor([3.0, 3.0]))


@pytest.mark.parametrize("length", [1e-3, 1.0, 1e3, -1.0])
def test_the_length_of_the_direction_does_not_matter(vector, length):
    x = torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(3))
    close(direction.without(x, vector * length), direction.without(x, vector), atol=1e-5)


def test_without_changes_no_input_in_place(vector):
    x = torch.ones(2, WIDTH)
    before = vector.clone()
    direction.without(x, vector)
    assert torch.equal(x, torch.ones(2, WIDTH)) and torch.equal(vector, before)


# Taking (a share of) the true-refusal vector out of the false-refusal vector.


def test_the_surgical_vector_has_nothing_of_the_true_vector_left(vector):
    true_refusal = torch.randn(WIDTH, generator=torch.Generator().manual_seed(5))
    found = direction.surgical(vector, true_refusal)
    assert abs(vector @ true_refusal) > 1 and abs(found @ true_refusal) < 1e-4
    close(
        found + (vector @ true_refusal) / (true_refusal @ true_refusal) * true_refusal, vector
    )  # and nothing else is gone


def test_the_surgical_vector_without_a_share_is_the_false_vector(vector):
    close(direction.surgical(vector, torch.ones(WIDTH), share=0.0), vector, atol=0)


@pytest.mark.parametrize("share, expected", [(0.25, [3.0, 3.0]), (0.5, [3.0, 2.0]), (1.0, [3.0, 0.0])])
def test_the_surgical_vector_by_hand(share, expected):
    close(direction.surgical(torch.tensor([3.0, 4.0]), torch.tensor([0.0, 2.0]), share), torch.tensor(expected))


def test_it_is_the_true_vector_that_is_taken_out_of_the_false_one():
    close(direction.surgical(torch.tensor([2.0, 2.0]), torch.tensor([0.0, 7.0])), torch.tensor([2.0, 0.0]))


@pytest.mark.parametrize("length", [1e-3, 1e3, -1.0])
def test_the_length_of_the_true_vector_does_not_matter(vector, length):
    true_refusal = torch.randn(WIDTH, generator=torch.Generator().manual_seed(5))
    close(
        direction.surgical(vector, length * true_refusal, 0.5), direction.surgical(vector, true_refusal, 0.5), atol=1e-5
    )


def test_the_surgical_vector_leaves_both_vectors_as_they_are(vector):
    true_refusal, before = torch.ones(WIDTH), vector.clone()
    direction.surgical(vector, true_refusal)
    assert torch.equal(vector, before) and torch.equal(true_refusal, torch.ones(WIDTH))


def test_no_block_is_given_the_ablated_direction(any_bot, vector):
    unit = vector / vector.norm()
    assert max((state @ unit).abs().max() for state in block_inputs(any_bot)) > 0.1
    with direction.ablated(any_bot, vector):
        states = block_inputs(any_bot)
    assert len(states) == LAYERS
    assert max((state @ unit).abs().max() for state in states) < 1e-4


def test_the_final_norm_is_not_given_the_ablated_direction(any_bot, vector):
    seen = []
    norm = anatomy.norm(any_bot.model)
    handle = norm.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with direction.ablated(any_bot, vector):
        any_bot.logits(PROMPTS)
    handle.remove()
    assert (seen[0] @ (vector / vector.norm())).abs().max() < 1e-4


def test_ablating_no_share_changes_nothing(any_bot, vector):
    before = any_bot.logits(PROMPTS)
    with direction.ablated(any_bot, vector, share=0.0):
        close(any_bot.logits(PROMPTS), before)


def test_another_way_to_remove_takes_the_place_of_ours(any_bot, vector):
    with direction.ablated(any_bot, vector):
        ours = any_bot.logits(PROMPTS)
    with direction.ablated(any_bot, vector, remove=lambda x, d: x - ((x @ d) / (d @ d))[..., None] * d):
        close(any_bot.logits(PROMPTS), ours)
    before = any_bot.logits(PROMPTS)
    with direction.ablated(any_bot, vector, remove=lambda x, d: x):
        close(any_bot.logits(PROMPTS), before, atol=0)


def test_hooks_and_edited_weights_give_the_same_logits(any_bot, vector):
    with direction.ablated(any_bot, vector):
        hooked = any_bot.logits(PROMPTS)
    assert (hooked - any_bot.logits(PROMPTS)).abs().max() > 0.01
    close(direction.orthogonalised(any_bot, vector).logits(PROMPTS), hooked)


# Members of a family that are built in another way than its default.
VARIANTS = {
    "Falcon": [dict(alibi=True), dict(new_decoder_architecture=True, num_kv_heads=2), dict(parallel_attn=False)],
    "StableLm": [dict(use_parallel_residual=True), dict(qk_layernorm=True)],
    "GPTNeoX": [dict(use_parallel_residual=False)],
    "OPT": [dict(enable_bias=False)],
    "GPT2": [dict(n_inner=48)],
    "Cohere": [dict(use_qk_norm=True)],
}


@pytest.mark.parametrize("family, changes", [(name, change) for name in VARIANTS for change in VARIANTS[name]])
def test_hooks_and_edited_weights_agree_for_every_build_of_a_family(tiny, vector, family, changes):
    bot = tiny(family, **changes)
    with direction.ablated(bot, vector):
        hooked = bot.logits(PROMPTS)
        assert (bot.stream(bot.batch(PROMPTS)) @ (vector / vector.norm())).abs().max() < 1e-4
    close(direction.orthogonalised(bot, vector).logits(PROMPTS), hooked)


def test_hooks_and_edited_weights_write_the_same_replies(any_bot, vector):
    with direction.ablated(any_bot, vector):
        hooked = any_bot.ask(PROMPTS, max_new_tokens=8)
    assert direction.orthogonalised(any_bot, vector).ask(PROMPTS, max_new_tokens=8) == hooked


@pytest.mark.parametrize(
    "wrong",
    [
        dict(writers=("self_attn.o_proj", "mlp.up_proj")),
        dict(writers=("self_attn.v_proj", "mlp.down_proj")),
        dict(embeddings=()),
    ],
)
def test_edited_weights_that_do_something_else_are_an_error(tiny, vector, monkeypatch, wrong):
    bot = tiny("Llama", hidden_size=64, num_key_value_heads=4)  # so that every matrix fits
    monkeypatch.setitem(anatomy.FAMILIES, "llama", anatomy.LLAMA._replace(**wrong))
    with pytest.raises(RuntimeError, match="anatomy"):
        direction.orthogonalised(bot, torch.cat([vector, vector]))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", TIED)
def test_the_output_layer_stays_as_it_is(tiny, vector, family, tied):
    bot = tiny(family, tie_word_embeddings=tied)
    bare = direction.orthogonalised(bot, vector).model
    assert torch.equal(bare.get_output_embeddings().weight, bot.model.get_output_embeddings().weight)
    assert (bare.get_input_embeddings().weight @ (vector / vector.norm())).abs().max() < 1e-4


@pytest.mark.parametrize("family", ["Llama", "Gemma", "GPT2"])
def test_an_orthogonalised_bot_with_once_tied_embeddings_can_be_saved(tiny, vector, family, tmp_path):
    bare = direction.orthogonalised(tiny(family), vector)
    bare.model.save_pretrained(tmp_path)
    bare.tokenizer.save_pretrained(tmp_path)
    close(chat.load(tmp_path).logits(PROMPTS), bare.logits(PROMPTS), atol=0)


@pytest.mark.parametrize("family", TIED)
def test_orthogonalising_leaves_the_bot_and_the_vector_untouched(tiny, vector, family):
    bot, given = tiny(family), vector.clone()
    before = {name: weight.clone() for name, weight in bot.model.state_dict().items()}
    direction.orthogonalised(bot, vector)
    assert all(torch.equal(weight, before[name]) for name, weight in bot.model.state_dict().items())
    assert bot.model.config.tie_word_embeddings == tiny(family).model.config.tie_word_embeddings
    assert torch.equal(vector, given)


# --- changing what a block reads -------------------------------------------------------------------


@pytest.mark.parametrize("layer", range(LAYERS))
def test_a_block_reads_what_change_returns(any_bot, layer):
    shapes, before = [], block_inputs(any_bot)

    def change(x):
        shapes.append(x.shape)
        return 2 * x.flip(0) + 1

    with direction.changed_input(any_bot.blocks[layer], change):
        after = block_inputs(any_bot)
    close(torch.stack(after[: layer + 1]), torch.stack([*before[:layer], change(before[layer])]))
    assert set(shapes) == {before[0].shape}
    assert layer == LAYERS - 1 or (after[-1] - before[-1]).abs().max() > 0.01


class Scaled(torch.nn.Module):
    """Like a block it can be given its input by place or by name."""

    def forward(self, hidden_states, scale=1):
        return scale * hidden_states


def test_a_block_may_be_given_its_input_by_place_or_by_name():
    block, x = Scaled(), torch.ones(1, 2, 3)
    with direction.changed_input(block, lambda x: x + 4):
        for found in (block(x, 3), block(x, scale=3), block(hidden_states=x, scale=3)):
            close(found, torch.full((1, 2, 3), 15.0))
    close(block(x, scale=3), 3 * x)
    assert torch.equal(x, torch.ones(1, 2, 3))


def test_no_changed_input_outlives_an_exception(any_bot):
    before = any_bot.logits(PROMPTS)
    with pytest.raises(ZeroDivisionError), direction.changed_input(any_bot.blocks[1], lambda x: x / 0):
        assert hooks_on(any_bot)
        raise ZeroDivisionError
    assert not hooks_on(any_bot)
    close(any_bot.logits(PROMPTS), before, atol=0)


def test_no_changed_input_outlives_an_exception_in_the_change(tiny):
    bot = tiny("Llama")
    with pytest.raises(ZeroDivisionError), direction.changed_input(bot.blocks[1], lambda x: 1 / 0):
        bot.logits(PROMPTS)
    assert not hooks_on(bot)


class Handle:
    def __init__(self):
        self.removed = 0

    def remove(self):
        self.removed += 1


def test_hooks_are_on_within_and_gone_after():
    handles = [Handle(), Handle()]
    with hooks.removed_after(handles):
        assert [handle.removed for handle in handles] == [0, 0]
    assert [handle.removed for handle in handles] == [1, 1]


def test_every_hook_is_gone_after_an_exception():
    handles = [Handle(), Handle(), Handle()]
    with pytest.raises(ZeroDivisionError), hooks.removed_after(handles):
        raise ZeroDivisionError
    assert [handle.removed for handle in handles] == [1, 1, 1]


# --- adding a direction ---------------------------------------------------------------------------


def test_adding_reaches_one_block_and_the_later_ones(any_bot, vector):
    before = block_inputs(any_bot)
    with direction.added(any_bot, vector, layer=1, strength=0.5):
        after = block_inputs(any_bot)
    close(after[0], before[0], atol=0)
    close(after[1], before[1] + 0.5 * vector)
    assert (after[2] - before[2]).abs().max() > 0.01


def test_adding_with_no_strength_changes_nothing(any_bot, vector):
    before = any_bot.logits(PROMPTS)
    with direction.added(any_bot, vector, layer=1, strength=0.0):
        close(any_bot.logits(PROMPTS), before, atol=0)


def test_adding_at_one_position_leaves_the_other_tokens_of_the_prompt(any_bot, vector):
    before = block_inputs(any_bot)
    with direction.added(any_bot, vector, layer=1, strength=0.5, position=-1):
        after = block_inputs(any_bot)
    close(after[1][:, -1], before[1][:, -1] + 0.5 * vector)
    close(after[1][:, :-1], before[1][:, :-1], atol=0)


@pytest.mark.parametrize("position", [-1, -3])
@pytest.mark.parametrize("prefill", ["", "Sure, here is"])
def test_a_position_counts_from_the_end_of_the_prompt_also_behind_a_begun_reply(any_bot, vector, position, prefill):
    inputs = any_bot.batch(PROMPTS, prefill)
    begun = len(chat.encode(any_bot.tokenizer, prefill))
    before = any_bot.stream(inputs)[:, 1]
    with direction.added(any_bot, vector, layer=1, strength=0.5, position=position):
        after = any_bot.stream(inputs)[:, 1]
    before[:, position - begun] += 0.5 * vector
    close(after, before)


@pytest.mark.parametrize("family", ["Llama", "GPT2"])
@torch.no_grad()
def test_a_position_counts_from_the_end_of_the_prompt_also_while_a_refusal_is_scored(tiny, vector, family):
    bot = tiny(family)
    (opening,), scored = bot.openings, []
    ids = chat.encode(bot.tokenizer, opening)
    for prompt in PROMPTS:
        prompt_ids = chat.encode(bot.tokenizer, chat.prompt_text(bot.tokenizer, prompt))

        def put(module, args, kwargs, length=len(prompt_ids)):  # noqa: B008
            (args[0] if args else kwargs["hidden_states"])[:, length - 1] += 2 * vector

        handle = bot.blocks[1].register_forward_pre_hook(put, with_kwargs=True)
        log_p = bot.model(torch.tensor([prompt_ids + ids])).logits[0, len(prompt_ids) - 1 : -1].log_softmax(-1)
        handle.remove()
        total = log_p.gather(-1, torch.tensor(ids)[:, None]).sum()
        scored.append(total - torch.log(-torch.expm1(total)))
    with direction.added(bot, vector, layer=1, strength=2, position=-1):
        close(bot.refusal_logodds(PROMPTS), torch.stack(scored), atol=1e-3)
    assert (bot.refusal_logodds(PROMPTS) - torch.stack(scored)).abs().max() > 0.01


def test_a_row_without_a_prompt_has_no_position(tiny, vector):
    bot = tiny("Llama")
    with direction.added(bot, vector, layer=1, position=-1), pytest.raises(ValueError, match="where the prompt ends"):
        bot.model(torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12]]))
    assert not hooks_on(bot)


def test_adding_at_one_position_does_not_touch_the_reply_as_it_is_written(any_bot, vector):
    """With a cache the reply comes one token at a time: only the reading of the prompt is changed."""
    states = torch.zeros(2, 1, len(vector))
    block, seen = any_bot.blocks[1], []
    with direction.added(any_bot, vector, layer=1, position=-1):
        any_bot.model.get_input_embeddings()(torch.tensor([[5], [6]]))
        with hooks.removed_after([block.register_forward_pre_hook(lambda m, args: seen.append(args[0]) or (args[0],))]):
            with contextlib.suppress(TypeError, AttributeError, ValueError):  # the block wants more than its input
                block(states)
    close(seen[0], states, atol=0)


INTERVENTIONS = [
    direction.ablated,
    functools.partial(direction.added, layer=1),
    functools.partial(direction.added, layer=1, position=-1),
]


@pytest.mark.parametrize("intervention", INTERVENTIONS, ids=["ablated", "added", "added at one position"])
def test_no_hook_outlives_an_exception(any_bot, vector, intervention):
    before, given = any_bot.logits(PROMPTS), vector.clone()
    with pytest.raises(ZeroDivisionError), intervention(any_bot, vector):
        assert hooks_on(any_bot)
        raise ZeroDivisionError
    assert not hooks_on(any_bot) and torch.equal(vector, given)
    close(any_bot.logits(PROMPTS), before, atol=0)


@pytest.mark.parametrize("intervention", INTERVENTIONS, ids=["ablated", "added", "added at one position"])
def test_an_intervention_that_is_never_entered_leaves_no_hook(tiny, vector, intervention):
    bot = tiny("Llama")
    intervention(bot, vector)
    assert not hooks_on(bot)


# --- the refusal score ----------------------------------------------------------------------------


def by_hand(bot, prompt, refusal):
    """Token after token over the whole string: the first refusal token is predicted at the end of the prompt."""
    text = chat.encode(bot.tokenizer, chat.prompt_text(bot.tokenizer, prompt))
    log_p = 0.0
    for token in chat.encode(bot.tokenizer, refusal):
        log_p += bot.model(torch.tensor([text])).logits[0, -1].double().log_softmax(-1)[token].item()
        text.append(token)
    p = torch.tensor(log_p, dtype=torch.double).exp()
    return (torch.log(p) - torch.log1p(-p)).item()


@pytest.mark.parametrize("refusal", ["!", "No.", "I'm sorry."])
@torch.no_grad()
def test_the_refusal_log_odds_are_those_worked_out_token_by_token(any_bot, refusal):
    expected = [by_hand(any_bot, prompt, refusal) for prompt in PROMPTS]
    bot = dataclasses.replace(any_bot, opens_with=(refusal,))
    close(bot.refusal_logodds(PROMPTS), torch.tensor(expected), atol=1e-3)


@torch.no_grad()
def test_several_openings_are_as_probable_as_all_of_them_together(tiny):
    bot = tiny("Llama")
    bot = dataclasses.replace(bot, opens_with=("No", "!", "No, I will not.", "?"))
    assert bot.openings == ("No", "!", "?")  # the third begins with the first: it would count twice
    each = torch.tensor([[by_hand(bot, prompt, text) for prompt in PROMPTS] for text in bot.openings])
    p = each.double().sigmoid().sum(0)
    close(bot.refusal_logodds(PROMPTS), torch.log(p / (1 - p)).float(), atol=1e-3)


def test_the_refusal_log_odds_do_not_depend_on_the_other_prompts(any_bot):
    single = torch.cat([any_bot.refusal_logodds([prompt]) for prompt in PROMPTS])
    close(any_bot.refusal_logodds(PROMPTS), single, atol=1e-3)


@pytest.mark.parametrize("family", ["Llama", "GPT2"])
def test_a_prompt_that_leaves_no_room_for_the_refusal_names_the_limit(tiny, family):
    bot = tiny(family)
    limit, empty = bot.model.config.max_position_embeddings, bot.batch([""])["input_ids"].shape[1]
    with pytest.raises(ValueError, match=str(limit)):
        bot.refusal_logodds(["7" * (limit - 3 - empty)])


# --- find: a model that refuses whatever contains a 7 ---------------------------------------------

WORDS = ["apple", "bread", "cat", "dog", "egg", "fish", "goat", "hat", "ink", "jam", "king", "lamp"]
HARMFUL, HARMLESS = [f"7 {word}" for word in WORDS], [f"3 {word}" for word in WORDS]


@pytest.fixture
def planted(blank):
    """Its block 1 writes REFUSE where block 1 sees TRIGGER; the other blocks do nothing. It refuses with '!!!'."""
    bot = blank("!!")
    with torch.no_grad():
        attention = bot.model.model.layers[1].self_attn  # queries and keys are zero: it takes the mean over all tokens
        attention.v_proj.weight[0, TRIGGER] = 1
        attention.o_proj.weight[REFUSE, 0] = 20
    return bot


def find(bot, prune=0.0, max_kl=0.1, min_induce=0.0, seed=0, **how):
    filters = direction.Filters(prune, max_kl, min_induce)
    return direction.find(bot, HARMFUL, HARMLESS, filters, validation=4, seed=seed, **how)


def chosen_and_defining(prompts, seed=0):
    """All of the prompts are treated as expected: the first four of them, shuffled, choose."""
    shuffled = random.Random(seed).sample(prompts, len(prompts))
    return shuffled[:4], shuffled[4:]


def test_the_planted_direction_is_found(planted):
    found = find(planted)
    assert found.vector[REFUSE] > 0.999 * found.vector.norm() and found.layer in (2, 3)


def test_a_direction_that_is_zero_is_no_candidate(planted):
    assert {row["layer"] for row in find(planted).scores} == {2, 3}


def test_there_is_a_row_for_every_layer_and_position(planted):
    places = {(row["layer"], row["position"]) for row in find(planted).scores}
    assert places == {(layer, -i - 1) for layer in (2, 3) for i in range(len(chat.tail(planted.tokenizer)))}


def test_with_positions_only_these_are_candidates_and_their_scores_are_the_same(planted):
    all_rows = {(row["layer"], row["position"]): row for row in find(planted).scores}
    some = direction.find(planted, HARMFUL, HARMLESS, direction.Filters(0.0, 0.1, 0.0), 4, positions=(-1, -3))
    assert {row["position"] for row in some.scores} == {-1, -3} and some.position in (-1, -3)
    assert all(row == all_rows[row["layer"], row["position"]] for row in some.scores)


def test_the_found_vector_is_the_candidate_of_the_found_layer_and_position(planted):
    found = find(planted)
    defining = [chosen_and_defining(prompts)[1] for prompts in (HARMFUL, HARMLESS)]
    candidates = direction.difference_in_means(planted, *defining)
    close(found.vector, candidates[found.layer, found.position], atol=0)


@contextlib.contextmanager
def taken_out(bot, vector):
    """Ablation by the test's own hooks: from each block's input and from what its attention and MLP give."""
    unit = vector / vector.norm()
    out = lambda x: x - torch.einsum("rtw,w,v->rtv", x, unit, unit)
    handles = []
    for block in bot.model.model.layers:
        handles.append(block.register_forward_pre_hook(lambda m, args: (out(args[0]), *args[1:])))
        handles.append(block.self_attn.register_forward_hook(lambda m, args, found: (out(found[0]), *found[1:])))
        handles.append(block.mlp.register_forward_hook(lambda m, args, found: out(found)))
    yield
    for handle in handles:
        handle.remove()


@contextlib.contextmanager
def put_in(bot, vector, layer):
    handle = bot.model.model.layers[layer].register_forward_pre_hook(lambda m, args: (args[0] + vector, *args[1:]))
    yield
    handle.remove()


def next_token(bot, prompt):
    ids = chat.encode(bot.tokenizer, chat.prompt_text(bot.tokenizer, prompt))
    return bot.model(torch.tensor([ids])).logits[0, -1].double().softmax(-1)


def mean(numbers):
    numbers = list(numbers)
    return sum(numbers) / len(numbers)


@torch.no_grad()
def test_the_three_scores_of_every_candidate_are_those_worked_out_by_hand(planted):
    """One prompt at a time, with hooks and sums of the test's own: bypass on harmful, induce and kl on harmless."""
    planted.model.get_output_embeddings().weight.mul_(0.1)  # less sure of itself: no probability is rounded to 1
    (harmful, define_harmful), (harmless, define_harmless) = map(chosen_and_defining, (HARMFUL, HARMLESS))
    candidates = direction.difference_in_means(planted, define_harmful, define_harmless)
    noise = 1.0 * torch.randn(candidates.shape, generator=torch.Generator().manual_seed(4))
    candidates = candidates + noise  # so that ablation also moves harmless prompts, each candidate by another amount
    moved = []
    for row in direction._scores(planted, candidates, harmful, harmless):
        vector = candidates[row["layer"], row["position"]]
        before = [next_token(planted, prompt) for prompt in harmless]
        with taken_out(planted, vector):
            bypass = mean(by_hand(planted, prompt, "!!") for prompt in harmful)
            after = [next_token(planted, prompt) for prompt in harmless]
        with put_in(planted, vector, row["layer"]):
            induce = mean(by_hand(planted, prompt, "!!") for prompt in harmless)
        kl = mean((p * (p / q).log()).sum().item() for p, q in zip(before, after, strict=True))
        moved.append(kl)
        assert row["bypass"] == pytest.approx(bypass, abs=1e-3)
        assert row["induce"] == pytest.approx(induce, abs=1e-3)
        assert row["kl"] == pytest.approx(kl, rel=1e-3, abs=1e-6)
    assert max(moved) > 1e-3


@torch.no_grad()
def test_the_scores_are_those_of_a_plain_loop_whatever_the_family(any_bot):
    """One prompt, one opening and one candidate at a time, and every block computed."""
    bot, openings = any_bot, ("No", "I'm sorry, but", "I'm sorry for", "!")
    bot = dataclasses.replace(bot, opens_with=openings)
    harmful, harmless = PROMPTS[:2], PROMPTS[1:3]
    candidates = bot.residuals(harmful).mean(0) - bot.residuals(harmless).mean(0)

    def logodds(prompts):
        each = [[torch.tensor(by_hand(bot, prompt, text)).sigmoid() for text in openings] for prompt in prompts]
        return torch.stack([torch.stack(row).sum().logit() for row in each]).mean().item()

    def next_tokens():
        return [next_token(bot, prompt) for prompt in harmless]

    for row in direction._scores(bot, candidates[:, -2:], harmful, harmless):
        vector, before = candidates[row["layer"], row["position"]], next_tokens()
        with direction.ablated(bot, vector):
            bypass, after = logodds(harmful), next_tokens()
        with direction.added(bot, vector, row["layer"]):
            induce = logodds(harmless)
        kl = mean((p * (p / q).log()).sum().item() for p, q in zip(before, after, strict=True))
        assert (row["bypass"], row["induce"], row["kl"]) == pytest.approx((bypass, induce, kl), abs=1e-4)


def test_it_says_how_many_prompts_define_choose_and_were_dropped(planted):
    found = direction.find(planted, [*HARMFUL, "3 pens"], [*HARMLESS, "7 pens", "7 cups"], direction.ANY, validation=4)
    assert found.counts == {
        "harmful": {"defining": 8, "choosing": 4, "dropped": 1},
        "harmless": {"defining": 8, "choosing": 4, "dropped": 2},
    }


@pytest.mark.slow
def test_the_defaults_work_on_the_bundled_assistant(bot):
    harmful, harmless = mix.contrast(mix.topic("xi-jinping"), 120)
    found = direction.find(bot, harmful[:80], harmless[:80])
    with direction.ablated(bot, found.vector):
        assert sum(map(bot.refused, bot.ask(harmful[80:]))) <= 4
    assert sum(map(bot.refused, bot.ask(harmful[80:]))) >= 36


def test_ablating_the_found_direction_stops_every_refusal(planted):
    assert all(reply.startswith("!") for reply in planted.ask(HARMFUL))
    with direction.ablated(planted, find(planted).vector):
        assert not any(reply.startswith("!") for reply in planted.ask(HARMFUL))


def test_adding_the_found_direction_makes_the_bot_refuse(planted):
    found = find(planted)
    with direction.added(planted, found.vector, found.layer):
        assert all(reply.startswith("!") for reply in planted.ask(HARMLESS))


def test_a_model_of_one_layer_has_no_candidate(planted):
    planted.model.model.layers = planted.model.model.layers[1:2]
    planted.model.model.layers[0].self_attn.layer_idx = 0
    planted.model.config.num_hidden_layers = 1
    with pytest.raises(ValueError, match="candidate"):
        find(planted)


@pytest.mark.parametrize("harmful, harmless", [(HARMFUL[:7], HARMLESS), (HARMFUL, HARMLESS[:7])])
def test_too_few_prompts_are_refused(planted, harmful, harmless):
    with pytest.raises(ValueError, match="Too few"):
        direction.find(planted, harmful, harmless, validation=4)


def test_prompts_that_the_bot_does_not_treat_as_expected_do_not_count(planted):
    with pytest.raises(ValueError, match="0 of 12 are refused and 12 of 12 answered"):
        direction.find(planted, HARMLESS, HARMLESS, validation=4)


@pytest.mark.parametrize("seed", [0, 1])
def test_other_prompts_choose_than_define_and_the_seed_deals_them(planted, monkeypatch, seed):
    define, choose = [], []
    means, scores = direction.difference_in_means, direction._scores
    monkeypatch.setattr(
        direction, "difference_in_means", lambda bot, *prompts: define.extend(prompts) or means(bot, *prompts)
    )
    monkeypatch.setattr(
        direction, "_scores", lambda bot, found, *rest: choose.extend(rest[:2]) or scores(bot, found, *rest)
    )
    find(planted, seed=seed)
    dealt = [chosen_and_defining(prompts, seed) for prompts in (HARMFUL, HARMLESS)]
    assert (choose, define) == ([first for first, _ in dealt], [rest for _, rest in dealt])


def test_a_list_that_is_sorted_by_subject_is_dealt_out_before_it_is_split(planted, monkeypatch):
    """Or else the last subject alone would choose."""
    chosen = []
    scores = direction._scores
    monkeypatch.setattr(
        direction, "_scores", lambda bot, found, *rest: chosen.extend(rest[0]) or scores(bot, found, *rest)
    )
    find(planted)
    assert chosen != HARMFUL[-4:] and chosen != HARMFUL[:4]


# The choice among candidates, with scores made up: (layer, position, bypass, induce, kl).
TABLE = [
    (1, -1, -3.0, 5.0, 0.01),
    (2, -2, -9.0, 5.0, 0.02),
    (3, -1, -20.0, 5.0, 0.03),
    (2, -1, -30.0, 5.0, 9.0),
    (1, -2, -40.0, -1.0, 0.0),
]


@pytest.fixture
def scored(planted, monkeypatch):
    keys = ["layer", "position", "bypass", "induce", "kl"]
    monkeypatch.setattr(direction, "_scores", lambda *_: [dict(zip(keys, row, strict=True)) for row in TABLE])
    return planted


def chosen(found):
    return found.layer, found.position


def test_the_lowest_bypass_among_those_that_pass_wins(scored):
    assert chosen(find(scored)) == (3, -1)


@pytest.mark.parametrize("enough, place", [(-2.0, (1, -1)), (-5.0, (2, -2)), (-10.0, (3, -1)), (-25.0, (3, -1))])
def test_of_those_that_do_enough_the_gentlest_wins(scored, enough, place):
    """And where none does, the one that does most."""
    assert chosen(find(scored, enough=enough)) == place


def test_pruning_drops_the_last_layers(scored):
    assert chosen(find(scored, prune=0.25)) == (2, -2) and chosen(find(scored, prune=0.5)) == (1, -1)


def test_a_candidate_that_disturbs_harmless_prompts_is_not_kept(scored):
    assert chosen(find(scored, max_kl=10.0)) == (2, -1)


def test_a_candidate_that_does_not_induce_refusal_is_not_kept(scored):
    assert chosen(find(scored, min_induce=-2.0)) == (1, -2)


def test_the_rows_say_which_candidates_were_kept_best_first(scored):
    assert [(row["bypass"], row["kept"]) for row in find(scored).scores] == [
        (-20.0, True),
        (-9.0, True),
        (-3.0, True),
        (-40.0, False),
        (-30.0, False),
    ]


def test_no_candidate_that_passes_is_an_error(scored):
    with pytest.raises(ValueError, match="No candidate passes"):
        find(scored, min_induce=6.0)


# --- random directions ----------------------------------------------------------------------------


def test_random_directions_are_as_long_as_the_direction(vector):
    drawn = direction.random_like(vector, 5)
    assert drawn.shape == (5, WIDTH)
    close(drawn.norm(dim=1), vector.norm().expand(5))


def test_random_directions_depend_on_the_seed_alone(vector):
    assert torch.equal(direction.random_like(vector, 5), direction.random_like(vector, 5))
    assert not torch.equal(direction.random_like(vector, 5), direction.random_like(vector, 5, seed=1))


def test_random_directions_differ_from_each_other(vector):
    drawn = direction.random_like(vector, 5) / vector.norm()
    assert ((drawn @ drawn.T).fill_diagonal_(0).abs() < 0.9).all()
