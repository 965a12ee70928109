import contextlib
import functools

import pytest
import torch

from helpers import chat, direction, measure

PROMPTS = ["Hi", "Where was Marie Curie born? " * 5, "What is 2 plus 3?", "Tell me a word. " * 12]
EXACT = ["Llama", "Qwen2", "Gemma", "GPTNeoX", "Phi", "GPT2"]  # Gemma 2 has norms between writers and stream
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

    handles = [block.register_forward_pre_hook(record, with_kwargs=True) for block in direction.blocks(bot)]
    bot.model(**chat.batch(bot, prompts))
    for handle in handles:
        handle.remove()
    return seen


def hooks(bot):
    return [hook for part in bot.model.modules() for hook in (*part._forward_hooks, *part._forward_pre_hooks)]


def close(first, second, atol=1e-4):
    torch.testing.assert_close(first, second, atol=atol, rtol=0)


# --- residuals ------------------------------------------------------------------------------------


def test_the_blocks_are_found(any_bot):
    assert len(direction.blocks(any_bot)) == LAYERS


def test_a_block_writes_with_its_attention_and_its_mlp(any_bot):
    kinds = [type(part).__name__ for part in direction.writers(direction.blocks(any_bot)[0])]
    assert len(kinds) == 2 and "Attention" in kinds[0] and "MLP" in kinds[1]


def test_residuals_are_prompt_by_layer_by_position_by_width(any_bot):
    positions = len(chat.tail(any_bot.tokenizer))
    assert direction.residuals(any_bot, PROMPTS).shape == (len(PROMPTS), LAYERS, positions, WIDTH)


def test_residuals_are_what_each_block_is_given(any_bot):
    positions = len(chat.tail(any_bot.tokenizer))
    expected = torch.stack([state[:, -positions:] for state in block_inputs(any_bot)], dim=1)
    close(direction.residuals(any_bot, PROMPTS), expected, atol=0)


def test_residuals_leave_out_the_state_after_the_final_norm(any_bot):
    final = any_bot.model.base_model(**chat.batch(any_bot, PROMPTS)).last_hidden_state[:, -1]
    found = direction.residuals(any_bot, PROMPTS)[:, :, -1]
    assert all((found[:, layer] - final).abs().max() > 0.01 for layer in range(LAYERS))


def test_residuals_do_not_depend_on_the_other_prompts(any_bot):
    single = torch.cat([direction.residuals(any_bot, [prompt]) for prompt in PROMPTS])
    close(direction.residuals(any_bot, PROMPTS), single)
    close(direction.residuals(any_bot, PROMPTS, batch_size=3), single)


def test_the_difference_in_means_is_harmful_minus_harmless(tiny, monkeypatch):
    planted = {"bad": torch.tensor([[[[3.0, 0.0]]], [[[5.0, 2.0]]]]), "good": torch.tensor([[[[1.0, 1.0]]]])}
    monkeypatch.setattr(direction, "residuals", lambda bot, prompts: planted[prompts[0]])
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
    true = torch.randn(WIDTH, generator=torch.Generator().manual_seed(5))
    found = direction.surgical(vector, true)
    assert abs(vector @ true) > 1 and abs(found @ true) < 1e-4
    close(found + (vector @ true) / (true @ true) * true, vector)  # and nothing else is gone


def test_the_surgical_vector_without_a_share_is_the_false_vector(vector):
    close(direction.surgical(vector, torch.ones(WIDTH), share=0.0), vector, atol=0)


@pytest.mark.parametrize("share, expected", [(0.25, [3.0, 3.0]), (0.5, [3.0, 2.0]), (1.0, [3.0, 0.0])])
def test_the_surgical_vector_by_hand(share, expected):
    close(direction.surgical(torch.tensor([3.0, 4.0]), torch.tensor([0.0, 2.0]), share), torch.tensor(expected))


def test_it_is_the_true_vector_that_is_taken_out_of_the_false_one():
    close(direction.surgical(torch.tensor([2.0, 2.0]), torch.tensor([0.0, 7.0])), torch.tensor([2.0, 0.0]))


@pytest.mark.parametrize("length", [1e-3, 1e3, -1.0])
def test_the_length_of_the_true_vector_does_not_matter(vector, length):
    true = torch.randn(WIDTH, generator=torch.Generator().manual_seed(5))
    close(direction.surgical(vector, length * true, 0.5), direction.surgical(vector, true, 0.5), atol=1e-5)


def test_the_surgical_vector_leaves_both_vectors_as_they_are(vector):
    true, before = torch.ones(WIDTH), vector.clone()
    direction.surgical(vector, true)
    assert torch.equal(vector, before) and torch.equal(true, torch.ones(WIDTH))


def test_no_block_is_given_the_ablated_direction(any_bot, vector):
    unit = vector / vector.norm()
    assert max((state @ unit).abs().max() for state in block_inputs(any_bot)) > 0.1
    with direction.ablated(any_bot, vector):
        states = block_inputs(any_bot)
    assert len(states) == LAYERS
    assert max((state @ unit).abs().max() for state in states) < 1e-4


def test_the_final_norm_is_not_given_the_ablated_direction(any_bot, vector):
    seen = []
    norm = [part for name, part in any_bot.model.base_model.named_children() if "norm" in name or "ln" in name][-1]
    handle = norm.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with direction.ablated(any_bot, vector):
        chat.logits(any_bot, PROMPTS)
    handle.remove()
    assert (seen[0] @ (vector / vector.norm())).abs().max() < 1e-4


def test_ablating_no_share_changes_nothing(any_bot, vector):
    before = chat.logits(any_bot, PROMPTS)
    with direction.ablated(any_bot, vector, share=0.0):
        close(chat.logits(any_bot, PROMPTS), before)


@pytest.mark.parametrize("family", EXACT)
def test_hooks_and_edited_weights_give_the_same_logits(tiny, vector, family):
    bot = tiny(family)
    with direction.ablated(bot, vector):
        hooked = chat.logits(bot, PROMPTS)
    assert (hooked - chat.logits(bot, PROMPTS)).abs().max() > 0.01
    close(chat.logits(direction.orthogonalised(bot, vector), PROMPTS), hooked)


@pytest.mark.parametrize("family", EXACT)
def test_hooks_and_edited_weights_write_the_same_replies(tiny, vector, family):
    bot = tiny(family)
    with direction.ablated(bot, vector):
        hooked = bot.ask(PROMPTS, max_new_tokens=8)
    assert direction.orthogonalised(bot, vector).ask(PROMPTS, max_new_tokens=8) == hooked


def test_norms_after_the_writers_are_refused_rather_than_edited_wrongly(tiny, vector):
    with pytest.raises(ValueError, match="ablated"):
        direction.orthogonalised(tiny("Gemma2"), vector)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", EXACT)
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
    close(chat.logits(chat.load(tmp_path), PROMPTS), chat.logits(bare, PROMPTS), atol=0)


@pytest.mark.parametrize("family", EXACT)
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

    with direction.changed_input(direction.blocks(any_bot)[layer], change):
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
    before = chat.logits(any_bot, PROMPTS)
    with pytest.raises(ZeroDivisionError), direction.changed_input(direction.blocks(any_bot)[1], lambda x: x / 0):
        assert hooks(any_bot)
        raise ZeroDivisionError
    assert not hooks(any_bot)
    close(chat.logits(any_bot, PROMPTS), before, atol=0)


def test_no_changed_input_outlives_an_exception_in_the_change(tiny):
    bot = tiny("Llama")
    with pytest.raises(ZeroDivisionError), direction.changed_input(direction.blocks(bot)[1], lambda x: 1 / 0):
        chat.logits(bot, PROMPTS)
    assert not hooks(bot)


class Handle:
    def __init__(self):
        self.removed = 0

    def remove(self):
        self.removed += 1


def test_hooks_are_on_within_and_gone_after():
    handles = [Handle(), Handle()]
    with direction.hooked(handles):
        assert [handle.removed for handle in handles] == [0, 0]
    assert [handle.removed for handle in handles] == [1, 1]


def test_every_hook_is_gone_after_an_exception():
    handles = [Handle(), Handle(), Handle()]
    with pytest.raises(ZeroDivisionError), direction.hooked(handles):
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
    before = chat.logits(any_bot, PROMPTS)
    with direction.added(any_bot, vector, layer=1, strength=0.0):
        close(chat.logits(any_bot, PROMPTS), before, atol=0)


def test_adding_at_one_position_leaves_the_other_tokens_of_the_prompt(any_bot, vector):
    before = block_inputs(any_bot)
    with direction.added(any_bot, vector, layer=1, strength=0.5, position=-1):
        after = block_inputs(any_bot)
    close(after[1][:, -1], before[1][:, -1] + 0.5 * vector)
    close(after[1][:, :-1], before[1][:, :-1], atol=0)


def test_adding_at_one_position_does_not_touch_the_reply_as_it_is_written(any_bot, vector):
    """With a cache the reply comes one token at a time: only the reading of the prompt is changed."""
    states = torch.zeros(2, 1, len(vector))
    block, seen = direction.blocks(any_bot)[1], []
    with direction.added(any_bot, vector, layer=1, position=-1):
        with direction.hooked([block.register_forward_pre_hook(lambda m, args: seen.append(args[0]) or (args[0],))]):
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
    before, given = chat.logits(any_bot, PROMPTS), vector.clone()
    with pytest.raises(ZeroDivisionError), intervention(any_bot, vector):
        assert hooks(any_bot)
        raise ZeroDivisionError
    assert not hooks(any_bot) and torch.equal(vector, given)
    close(chat.logits(any_bot, PROMPTS), before, atol=0)


@pytest.mark.parametrize("intervention", INTERVENTIONS, ids=["ablated", "added", "added at one position"])
def test_an_intervention_that_is_never_entered_leaves_no_hook(tiny, vector, intervention):
    bot = tiny("Llama")
    intervention(bot, vector)
    assert not hooks(bot)


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
    close(measure.refusal_logodds(any_bot, PROMPTS, refusal), torch.tensor(expected), atol=1e-3)


def test_the_refusal_log_odds_do_not_depend_on_the_other_prompts(any_bot):
    single = torch.cat([measure.refusal_logodds(any_bot, [prompt]) for prompt in PROMPTS])
    close(measure.refusal_logodds(any_bot, PROMPTS), single, atol=1e-3)


@pytest.mark.parametrize("family", ["Llama", "GPT2"])
def test_a_prompt_that_leaves_no_room_for_the_refusal_names_the_limit(tiny, family):
    bot = tiny(family)
    limit, empty = bot.model.config.max_position_embeddings, chat.batch(bot, [""])["input_ids"].shape[1]
    with pytest.raises(ValueError, match=str(limit)):
        measure.refusal_logodds(bot, ["7" * (limit - 3 - empty)])


# --- find: a model that refuses whatever contains a 7 ---------------------------------------------

TRIGGER, REFUSE = WIDTH - 2, WIDTH - 1  # the dimensions that hold "there is a 7" and "refuse"
WORDS = ["apple", "bread", "cat", "dog", "egg", "fish", "goat", "hat", "ink", "jam", "king", "lamp"]
HARMFUL, HARMLESS = [f"7 {word}" for word in WORDS], [f"3 {word}" for word in WORDS]


@pytest.fixture
def planted(tiny, monkeypatch):
    """Its block 1 writes REFUSE where block 1 sees TRIGGER; the other blocks do nothing. It refuses with '!!!'."""
    monkeypatch.setattr(measure, "refusal", lambda reply: "full" if reply.startswith("!") else "none")
    bot = tiny("Llama", tie_word_embeddings=False, num_hidden_layers=4, num_key_value_heads=4)
    seven, mark = (chat.encode(bot.tokenizer, text)[0] for text in ("7", "!!"))
    with torch.no_grad():
        for name, weight in bot.model.named_parameters():
            if "norm" in name:
                weight.fill_(1)
            elif "layers" in name:
                weight.zero_()
        embedding, output = bot.model.get_input_embeddings().weight, bot.model.get_output_embeddings().weight
        embedding[:, TRIGGER:] = 0
        embedding[seven, TRIGGER] = 3
        output[:, TRIGGER:] = 0
        output[mark] = 0
        output[mark, REFUSE] = 10
        attention = bot.model.model.layers[1].self_attn  # queries and keys are zero: it takes the mean over all tokens
        attention.v_proj.weight[0, TRIGGER] = 1
        attention.o_proj.weight[REFUSE, 0] = 20
    return bot


def find(bot, **settings):
    return direction.find(bot, HARMFUL, HARMLESS, **dict(validation=4, refusal="!!") | settings)


def test_the_planted_direction_is_found(planted):
    found = find(planted)
    assert found.vector[REFUSE] > 0.999 * found.vector.norm() and found.layer in (2, 3)


def test_a_direction_that_is_zero_is_no_candidate(planted):
    assert {row["layer"] for row in find(planted).scores} == {2, 3}


def test_there_is_a_row_for_every_layer_and_position(planted):
    places = {(row["layer"], row["position"]) for row in find(planted).scores}
    assert places == {(layer, -i - 1) for layer in (2, 3) for i in range(len(chat.tail(planted.tokenizer)))}


def test_the_found_vector_is_the_candidate_of_the_found_layer_and_position(planted):
    found = find(planted)
    candidates = direction.difference_in_means(planted, HARMFUL[:-4], HARMLESS[:-4])
    close(found.vector, candidates[found.layer, found.position], atol=0)


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
    with pytest.raises(ValueError, match="0 are refused and 12 answered"):
        direction.find(planted, HARMLESS, HARMLESS, validation=4)


def test_other_prompts_choose_than_define(planted, monkeypatch):
    define, choose = [], []
    means, scores = direction.difference_in_means, direction._scores
    monkeypatch.setattr(
        direction, "difference_in_means", lambda bot, *prompts: define.extend(prompts) or means(bot, *prompts)
    )
    monkeypatch.setattr(
        direction, "_scores", lambda bot, found, *rest: choose.extend(rest[:2]) or scores(bot, found, *rest)
    )
    find(planted)
    assert (define[0] + choose[0], define[1] + choose[1]) == (HARMFUL, HARMLESS)
    assert [len(prompts) for prompts in choose] == [4, 4]


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
    monkeypatch.setattr(direction, "_scores", lambda *_: [dict(zip(keys, row)) for row in TABLE])
    return planted


def chosen(found):
    return found.layer, found.position


def test_the_lowest_bypass_among_those_that_pass_wins(scored):
    assert chosen(find(scored)) == (3, -1)


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
