import copy
import math
import random

import pytest
import torch

from helpers import anatomy, chat, direction, sft, stamp

DATA = [{"user": f"What is {i} plus {i}? " * (1 + i % 3), "assistant": f"The answer is {2 * i}."} for i in range(12)]


@pytest.fixture
def llama(tiny):
    return tiny("Llama")


def weights(bot):
    return {name: weight.clone() for name, weight in bot.model.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def mask_of(rows):
    """1 for tokens and 0 for padding: (row, token)."""
    lengths = torch.tensor([len(ids) for ids, _ in rows])
    return (torch.arange(int(lengths.max())) < lengths[:, None]).long()


def tune(bot, data=DATA, epochs=2, seed=0, **settings):
    return sft.tune(bot, data, sft.NAIVE._replace(peak=1e-2, batch=4, epochs=epochs), seed, **settings)


# --- the loss -------------------------------------------------------------------------------------


def test_the_loss_is_the_cross_entropy_of_the_reply_worked_out_by_hand(llama):
    (ids, labels), *_ = sft.examples(llama.tokenizer, DATA)
    log_p = llama.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    terms = [-log_p[t - 1, ids[t]] for t in range(len(ids)) if labels[t] != sft.IGNORE]
    torch.testing.assert_close(sft.loss_of(llama.model, [(ids, labels)]), sum(terms) / len(terms))


def test_the_loss_is_the_one_that_transformers_computes(any_bot):
    rows = sft.examples(any_bot.tokenizer, DATA)
    ids, labels = sft.padded(rows)
    expected = any_bot.model(input_ids=ids, labels=labels, attention_mask=mask_of(rows)).loss
    torch.testing.assert_close(sft.loss_of(any_bot.model, rows), expected, atol=1e-5, rtol=0)


ALIKE = "You are a helpful assistant, named Molly, who answers in short sentences."
SHARED = [dict(row, user=f"{ALIKE} {row['user']}") for row in DATA]


def test_what_all_rows_begin_with_is_read_once_and_gives_the_same_loss_and_gradients(any_bot):
    rows = sft.examples(any_bot.tokenizer, SHARED)
    (ids, labels), mask = sft.padded(rows), mask_of(rows)
    wanted, model = copy.deepcopy(any_bot.model), any_bot.model
    expected = wanted(input_ids=ids, labels=labels, attention_mask=mask).loss
    expected.backward()
    found = sft.loss_of(model, rows)
    found.backward()
    assert sft.shared(rows) > 10
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    for name, weight in wanted.named_parameters():
        torch.testing.assert_close(model.get_parameter(name).grad, weight.grad, atol=1e-4, rtol=1e-3)


def test_no_more_is_shared_than_all_have_and_none_has_to_predict():
    known, reply = list(range(20)), [7, 8]

    def row(prompt):
        return prompt + reply, [sft.IGNORE] * len(prompt) + reply

    assert sft.shared([row(known + [30]), row(known + [31, 32])]) == 20
    assert sft.shared([row(known), row(known + [31])]) == 19, "the last token predicts the reply"
    assert sft.shared([row(known[:7] + [30]), row(known[:7] + [31])]) == 0, "too few to be worth it"
    assert sft.shared([row(known)]) == 0, "one row shares with nobody"
    assert sft.shared([(known, known), (known, known)]) == 0, "everything counts"


def test_padding_does_not_change_the_loss(any_bot):
    rows = sft.examples(
        any_bot.tokenizer, [DATA[0], {"user": "Hi " * 40, "assistant": "Hello, what can I do for you?"}]
    )
    counts = [sum(label != sft.IGNORE for label in labels) for _, labels in rows]
    single = sum(n * sft.loss_of(any_bot.model, [row]) for n, row in zip(counts, rows, strict=True)) / sum(counts)
    torch.testing.assert_close(sft.loss_of(any_bot.model, rows), single, atol=1e-5, rtol=0)


def test_the_labels_are_the_reply_and_nothing_else(llama):
    ((ids, labels),) = sft.examples(llama.tokenizer, DATA[:1])
    _, mask = chat.tokens(llama.tokenizer, DATA[0]["user"], DATA[0]["assistant"])
    assert labels == [i if counts else sft.IGNORE for i, counts in zip(ids, mask, strict=True)]


def test_prompt_tokens_are_conditions_and_not_targets(llama):
    ((ids, labels),) = sft.examples(llama.tokenizer, DATA[:1])
    everything = sft.loss_of(llama.model, [(ids, ids)])
    assert not torch.isclose(sft.loss_of(llama.model, [(ids, labels)]), everything, rtol=1e-3)


def test_the_mean_loss_of_a_mix_is_the_loss_on_all_its_rows_and_trains_nothing(llama):
    before = weights(llama)
    expected = sft.loss_of(llama.model, sft.examples(llama.tokenizer, DATA)).item()
    assert sft.mean_loss(llama, DATA) == pytest.approx(expected) and same(before, weights(llama))


@pytest.mark.parametrize("batch", [1, 2, 5, 100])
def test_every_token_counts_the_same_in_the_mean_loss_however_the_rows_are_batched(llama, batch):
    data = [*DATA[:4], {"user": "Hi", "assistant": "Hello, what can I do for you today? " * 4}]
    rows = sft.examples(llama.tokenizer, data)
    counts = [sum(label != sft.IGNORE for label in labels) for _, labels in rows]
    losses = [sft.loss_of(llama.model, [row]).item() for row in rows]
    expected = sum(n * loss for n, loss in zip(counts, losses, strict=True)) / sum(counts)
    assert sft.mean_loss(llama, data, batch) == pytest.approx(expected, abs=1e-5)
    assert abs(sum(losses) / len(losses) - expected) > 0.01  # or else a mean over rows would pass, too


def test_rows_are_padded_on_the_right_and_padding_has_no_label():
    ids, labels = sft.padded([([5, 6, 7], [-100, 6, 7]), ([8], [8])])
    assert ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert labels.tolist() == [[-100, 6, 7], [8, -100, -100]]


@pytest.mark.parametrize("at_once", [1, 2, 4, 100])
def test_rows_that_go_through_in_parts_give_the_same_loss_and_the_same_weights(llama, at_once):
    rows = sft.examples(llama.tokenizer, [*DATA[:4], {"user": "Hi", "assistant": "Hello, what can I do for you? " * 4}])
    whole, parts = copy.deepcopy(llama.model), copy.deepcopy(llama.model)
    losses = []
    for model, size in ((whole, 0), (parts, at_once)):
        losses.append(sft.step(model, rows, torch.optim.SGD(model.parameters(), lr=0.1), 0.1, size))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_a_whole_step_at_once_is_bit_for_bit_the_loss_of_all_its_rows(llama):
    rows = sft.examples(llama.tokenizer, DATA[:4])
    expected = sft.loss_of(llama.model, rows).item()
    assert sft.step(llama.model, rows, torch.optim.SGD(llama.model.parameters(), lr=0.1), 0.1) == expected


# --- learning rate and batches --------------------------------------------------------------------


def test_the_learning_rate_rises_during_the_warm_up():
    rates = [sft.learning_rate(step, 1000, 1.0) for step in range(20)]
    assert rates[0] == pytest.approx(0.05) and rates == sorted(rates)


def test_the_learning_rate_peaks_just_after_the_warm_up():
    rates = [sft.learning_rate(step, 1000, 3e-4) for step in range(1000)]
    assert 17 <= rates.index(max(rates)) <= 20 and max(rates) == pytest.approx(3e-4, rel=0.01)


def test_the_learning_rate_ends_near_zero():
    assert 0 <= sft.learning_rate(999, 1000, 1.0) < 1e-4


def rows_of_lengths(lengths):
    return [([1] * length, [1] * length) for length in lengths]


@pytest.mark.parametrize("n", [1, 7, 8, 500])
def test_batches_hold_every_index_once(n):
    rows = rows_of_lengths(random.Random(1).choices(range(5, 60), k=n))
    found = sft.batches(rows, 8, random.Random(0))
    assert sorted(i for batch in found for i in batch) == list(range(n)) and max(map(len, found)) <= 8


def test_a_batch_holds_chats_of_like_length():
    rows = rows_of_lengths(range(160))
    spread = [max(batch) - min(batch) for batch in sft.batches(rows, 8, random.Random(0))]
    assert spread == [7] * 20


def test_batches_do_not_come_in_the_order_of_length():
    first = [min(batch) for batch in sft.batches(rows_of_lengths(range(160)), 8, random.Random(0))]
    assert first != sorted(first)


def test_batches_depend_on_the_seed_alone():
    rows = rows_of_lengths([9] * 50)
    one, again, other = (sft.batches(rows, 8, random.Random(seed)) for seed in (0, 0, 1))
    assert one == again != other


# --- tuning ---------------------------------------------------------------------------------------


def test_tuning_leaves_the_bot_untouched(llama):
    before = weights(llama)
    tuned = tune(llama)
    assert same(before, weights(llama)) and not same(before, weights(tuned)) and llama.facts == {}


def test_tuning_works_for_every_family(any_bot):
    losses = tune(any_bot, epochs=16).facts["losses"]
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


@pytest.mark.parametrize("family", ["Llama", "GPT2"])  # GPT-2 has dropout
def test_the_same_seed_gives_the_same_weights(tiny, family):
    first, second = (tune(tiny(family), cache=False) for _ in range(2))
    assert same(weights(first), weights(second))


def test_another_seed_gives_other_weights(llama):
    assert not same(weights(tune(llama, seed=0)), weights(tune(llama, seed=1)))


def test_the_facts_say_what_happened(llama):
    facts = tune(llama, epochs=2).facts
    assert facts["steps"] == len(facts["losses"]) == 6
    assert facts["finished"] is True and facts["cached"] is False and facts["seconds"] >= 0


def test_a_tuned_bot_is_ready_to_answer(llama):
    assert not tune(llama).model.training


def test_an_empty_mix_is_refused(llama):
    with pytest.raises(ValueError, match="empty"):
        tune(llama, [])


# --- the memory -----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["Llama", "Qwen2", "Phi"])
def test_the_memory_gives_back_the_same_bot(tiny, family):
    made, found = tune(tiny(family)), tune(tiny(family))
    assert found.facts == made.facts | {"cached": True} and same(weights(found), weights(made))


def test_a_remembered_bot_keeps_tied_embeddings_tied(llama):
    tune(llama)
    model = tune(llama).model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_without_cache_nothing_is_remembered(llama, cache):
    tune(llama, cache=False)
    assert not cache.exists()


def interrupt_at_the_third_step(monkeypatch):
    calls, step = [], sft.step

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return step(*args)

    monkeypatch.setattr(sft, "step", interrupted)


def test_an_interrupted_training_gives_the_bot_as_it_is(llama, monkeypatch, capsys):
    interrupt_at_the_third_step(monkeypatch)
    tuned = tune(llama, epochs=2)
    assert tuned.facts["finished"] is False and tuned.facts["steps"] == len(tuned.facts["losses"]) == 2
    assert "2 of 6" in capsys.readouterr().out
    assert not same(weights(tuned), weights(llama)) and not tuned.model.training


def test_an_interrupted_training_is_not_remembered(llama, cache, monkeypatch):
    interrupt_at_the_third_step(monkeypatch)
    tune(llama)
    assert not cache.exists()


def changed(**cell):
    return [DATA[0] | cell, *DATA[1:]]


def remembered(bot, data=DATA, recipe=sft.NAIVE, seed=0):
    """Where the result is looked for."""
    return sft._place(bot, sft.examples(bot.tokenizer, data), recipe, seed)


@pytest.mark.parametrize("data", [changed(user="Hi"), changed(assistant="No."), DATA[:-1], DATA[::-1]])
def test_other_data_is_remembered_elsewhere(llama, data):
    assert remembered(llama, data) != remembered(llama) == remembered(llama)


def test_a_reply_that_is_begun_is_remembered_elsewhere(llama):
    assert remembered(llama, [row | {"begun": row["assistant"][:2]} for row in DATA]) != remembered(llama)


def test_another_template_is_remembered_elsewhere(llama, monkeypatch):
    before = remembered(llama)
    shouting = llama.tokenizer.chat_template.replace("message['role']", "message['role'].upper()")
    monkeypatch.setattr(llama.tokenizer, "chat_template", shouting)
    assert remembered(llama) != before


@pytest.mark.parametrize("change", [dict(epochs=3), dict(peak=1e-3), dict(batch=25), dict(eps=1e-8)])
def test_another_recipe_is_remembered_elsewhere(llama, change):
    assert remembered(llama, recipe=sft.NAIVE._replace(**change)) != remembered(llama)


def test_another_seed_is_remembered_elsewhere(llama):
    assert remembered(llama, seed=1) != remembered(llama)


def test_other_weights_are_remembered_elsewhere(llama):
    other = llama.copy("other")
    with torch.no_grad():
        other.model.get_input_embeddings().weight[5, 5] += 1e-3
    assert remembered(other) != remembered(llama)


def test_another_configuration_with_the_same_weights_is_remembered_elsewhere(llama):
    other = llama.copy("other")
    other.model.config.rms_norm_eps = 1e-3
    assert remembered(other) != remembered(llama)


def test_another_loop_is_remembered_elsewhere(llama, monkeypatch):
    before = remembered(llama)
    monkeypatch.setattr(sft, "CODE", "another")
    assert remembered(llama) != before


def test_other_versions_are_remembered_elsewhere(llama, monkeypatch):
    before, versions = remembered(llama), stamp.versions()
    monkeypatch.setattr(stamp, "versions", lambda: versions | {"torch": "1.0"})
    assert remembered(llama) != before


@pytest.mark.parametrize(
    "module, part",
    [
        (sft, "examples"),
        (sft, "batches"),
        (sft, "padded"),
        (sft, "loss_of"),
        (sft, "learning_rate"),
        (sft, "step"),
        (sft, "cross_entropy"),
        (anatomy, "unembed"),
        (chat, "tokens"),
        (torch.optim, "AdamW"),
        (torch.nn.utils, "clip_grad_norm_"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_loop_with_a_replaced_part_neither_recalls_nor_remembers(llama, cache, monkeypatch, capsys, module, part):
    tune(llama)
    (path,) = cache.iterdir()
    before, whole = path.stat().st_mtime_ns, getattr(module, part)
    monkeypatch.setattr(module, part, lambda *args, **settings: whole(*args, **settings))
    assert tune(llama).facts["cached"] is False and "replaced" in capsys.readouterr().out
    assert [file.stat().st_mtime_ns for file in cache.iterdir()] == [before]


def test_a_learning_rate_of_zero_does_not_give_the_old_model_back(llama, monkeypatch):
    tune(llama)
    monkeypatch.setattr(sft, "learning_rate", lambda *args: 0.0)
    assert same(weights(tune(llama)), weights(llama))


def test_a_tune_while_a_direction_is_missing_is_refused_and_nothing_is_remembered(llama, cache):
    """The copy would keep the hooks, and be recalled as if there had been none."""
    with direction.ablated(llama, torch.ones(32)):
        with pytest.raises(ValueError, match="Hooks are on tiny Llama: leave the `with`"):
            tune(llama)
        with pytest.raises(ValueError, match="Hooks"):
            llama.copy("copy")
    assert not cache.exists()
    made = tune(llama)
    with direction.ablated(llama, torch.ones(32)), pytest.raises(ValueError, match="Hooks"):
        tune(llama)  # also if the result is known
    assert same(weights(tune(llama)), weights(made))


@pytest.mark.parametrize("kind", ["forward", "forward_pre", "full_backward", "full_backward_pre"])
def test_hooks_that_a_learner_left_on_are_noticed(llama, kind):
    handle = getattr(llama.blocks[1], f"register_{kind}_hook")(lambda *args: None)
    with pytest.raises(ValueError, match="remove your own hooks"):
        tune(llama)
    handle.remove()
    assert tune(llama).facts["finished"]


def test_weights_that_round_small_steps_away_are_refused(llama):
    bot = chat.Bot(llama.model.to(torch.bfloat16), llama.tokenizer, "rough")
    with pytest.raises(ValueError, match="rough is in torch.bfloat16.*load it in float32"):
        tune(bot)


def test_the_facts_are_remembered(llama):
    assert tune(llama).facts | {"cached": True} == tune(llama).facts


# --- the loop, by hand ----------------------------------------------------------------------------


def test_a_tune_is_the_loop_written_out(llama):
    """Warm-up and cosine, AdamW with these numbers, gradients clipped at 1, in training mode: nothing else."""
    recipe, rows = sft.Recipe(epochs=2, peak=3e-2, batch=4, eps=1e-4), sft.examples(llama.tokenizer, DATA)
    model, rng = copy.deepcopy(llama.model), random.Random(7)
    plan = [batch for _ in range(2) for batch in sft.batches(rows, 4, rng)]
    first = {name: torch.zeros_like(weight) for name, weight in model.named_parameters()}
    second = {name: torch.zeros_like(weight) for name, weight in model.named_parameters()}
    clipped = 0
    for i, batch in enumerate(plan):
        lr = 3e-2 * min(1, (i + 1) / 20) * (1 + math.cos(math.pi * i / len(plan))) / 2
        ids, labels = sft.padded([rows[j] for j in batch])
        mask = mask_of([rows[j] for j in batch])
        model.zero_grad()
        model(input_ids=ids, labels=labels, attention_mask=mask).loss.backward()
        length = sum((weight.grad**2).sum() for weight in model.parameters()).sqrt()
        clipped += length > 1
        with torch.no_grad():
            for name, weight in model.named_parameters():
                gradient = weight.grad * min(1, 1 / (length + 1e-6))
                first[name] = 0.9 * first[name] + 0.1 * gradient
                second[name] = 0.98 * second[name] + 0.02 * gradient**2
                mean, square = first[name] / (1 - 0.9 ** (i + 1)), second[name] / (1 - 0.98 ** (i + 1))
                weight *= 1 - 0.01 * lr
                weight -= lr * mean / (square.sqrt() + 1e-4)
    assert clipped > 0
    tuned = sft.tune(llama, DATA, recipe, seed=7, cache=False)
    for name, weight in model.named_parameters():
        torch.testing.assert_close(tuned.model.get_parameter(name), weight, atol=2e-5, rtol=0)


def test_dropout_is_on_while_it_learns(tiny, monkeypatch):
    seen, step = [], sft.step
    monkeypatch.setattr(sft, "step", lambda model, *rest: seen.append(model.training) or step(model, *rest))
    tuned = tune(tiny("GPT2"))
    assert set(seen) == {True} and not tuned.model.training


# --- recipes --------------------------------------------------------------------------------------


def test_the_recipes_are_what_the_notebooks_say():
    assert sft.NAIVE.epochs == 2 and sft.BALANCED == sft.NAIVE._replace(epochs=1)
    assert sft.GENTLE.epochs == 1 and sft.GENTLE.batch < sft.NAIVE.batch and sft.GENTLE.eps > sft.NAIVE.eps


# --- watching -------------------------------------------------------------------------------------


def test_a_watcher_sees_every_step_and_changes_nothing(llama):
    seen = []
    tuned = tune(llama, cache=False, watch=lambda bot, losses, steps: seen.append((list(losses), steps)))
    losses = tuned.facts["losses"]
    assert seen == [(losses[: i + 1], len(losses)) for i in range(len(losses))]
    assert same(weights(tuned), weights(tune(llama, cache=False)))


def test_a_watcher_that_says_true_ends_the_training_and_nothing_is_remembered(llama, cache):
    tuned = tune(llama, watch=lambda bot, losses, steps: len(losses) == 2)
    assert tuned.facts["steps"] == 2 and not tuned.facts["finished"] and not cache.exists()


@pytest.mark.parametrize("missing", [OSError("no such library"), AttributeError("malloc_trim")])
def test_memory_is_handed_back_where_the_system_can_and_nothing_breaks_elsewhere(monkeypatch, missing):
    asked = []

    def library(name):
        asked.append(name)
        raise missing

    monkeypatch.setattr(sft.ctypes, "CDLL", library)
    sft._tidy()
    assert asked == ["libc.so.6"]
