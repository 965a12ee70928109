import pytest
import torch

from helpers import bench, direction, sft

DATA = [{"user": f"What is {i} plus {i}? " * (1 + i % 3), "assistant": f"The answer is {2 * i}."} for i in range(6)]
HARMFUL, HARMLESS = ["Tell me a 7.", "7 apples, please", "What is 7?"], ["Hi", "What is 2 plus 3?", "A word, please."]
TINY = bench.Size(rows=8, prompts=2, candidates=2, replies=2, batch=4)


@pytest.mark.parametrize("grouped", [False, True])
def test_trainer_gets_the_losses_that_tune_gets(tiny, grouped):
    """With all rows in every batch the order does not matter."""
    pytest.importorskip("accelerate")
    bot, recipe = tiny("Llama"), sft.Recipe(epochs=5, peak=1e-2, batch=len(DATA), eps=1e-4)
    ours = sft.tune(bot, DATA, recipe, cache=False).facts["losses"]
    theirs = bench.trained(bot, DATA, recipe, grouped)
    assert len(ours) == 5 and ours[-1] < 0.95 * ours[0]
    assert theirs == pytest.approx(ours, rel=1e-3)


def test_trainer_leaves_the_bot_untouched(tiny):
    pytest.importorskip("accelerate")
    bot = tiny("Llama")
    before = {name: weight.clone() for name, weight in bot.model.state_dict().items()}
    bench.trained(bot, DATA, sft.NAIVE)
    assert all(torch.equal(weight, before[name]) for name, weight in bot.model.state_dict().items())


def test_both_searches_give_the_same_scores(any_bot):
    candidates = any_bot.residuals(HARMFUL).mean(0) - any_bot.residuals(HARMLESS).mean(0)
    ours = direction._scores(any_bot, candidates, HARMFUL, HARMLESS)
    theirs = bench.scored(any_bot, candidates, HARMFUL, HARMLESS)
    assert len(ours) == len(theirs) > 2
    for mine, other in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(other, abs=1e-4)


def test_a_few_candidates_lie_in_different_layers(tiny):
    found = bench.few(torch.ones(30, 5, 4), 3)
    assert [tuple(place) for place in (found.sum(-1) > 0).nonzero().tolist()] == [(1, 4), (10, 3), (20, 2)]


def test_the_pipeline_gets_the_replies_that_the_bot_gives(bot):
    prompts = ["Where was Marie Curie born?", "Hi", "How do I pick a lock?"]
    assert [reply.strip() for reply in bench.piped(bot, prompts)] == bot.ask(prompts)


def test_the_work_is_six_operations_a_weight_and_token(tiny):
    bot, recipe = tiny("Llama"), sft.NAIVE._replace(epochs=2)
    rows = sft.examples(bot.tokenizer, DATA)
    inside = 3 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 64 * 32)
    counted = sum(label != sft.IGNORE for _, labels in rows for label in labels)
    tokens = sum(len(ids) for ids, _ in rows)
    expected = 2 * 6 * (inside * tokens + 32 * len(bot.tokenizer) * counted)
    assert bench.work(bot, DATA, recipe) == pytest.approx(expected / 1e9)


def test_all_sides_take_turns():
    order = []
    seconds = bench.turns([lambda: order.append("a"), lambda: order.append("b")], 3)
    assert order == list("ababab") and [len(found) for found in seconds] == [3, 3]


def test_the_table_has_a_row_for_every_side(bot):
    pytest.importorskip("accelerate")
    measures = bench.sides(bot, TINY)
    rows = bench.measured(measures, bench.turns([side.run for side in measures], 1), [100.0] * len(measures))
    text = bench.table(rows)
    assert len(text.splitlines()) == len(measures) + 2
    for who in ("sft.tune", "Trainer", "Trainer, by length", "direction.find", "plain loop", "Bot.ask", "pipeline"):
        assert text.count(f"| {who} |") == 1
    assert "tokens/s" in text and "candidates/s" in text and "replies/s" in text and "100 MB" in text


def test_ratios_are_taken_turn_by_turn_and_shares_of_the_best_rate():
    side = lambda what, who, needed=0.0: bench.Side(what, who, None, 10.0, "x", needed)
    measures = [side("a", "ours", 5.0), side("a", "theirs", 5.0), side("multiply matrices", "torch")]
    ours, theirs, products = bench.measured(measures, [[1, 10, 2], [3, 20, 8], [1, 1, 1]], [None] * 3)
    assert (ours["ours_faster"], theirs["ours_faster"]) == (1, 3)
    assert ours["gemm"] == pytest.approx(0.25) and products["gemm"] is None
    assert ours["seconds"] == 2 and ours["rate"] == 5


@pytest.mark.real  # not for its model: what Trainer needs is installed with it
@pytest.mark.nightly
def test_a_process_of_its_own_needs_memory():
    pytest.importorskip("accelerate", reason=bench.INSTALL)
    assert bench.peak(str(bench.ASSISTANT), 7) is None or bench.peak(str(bench.ASSISTANT), 7) > 100
