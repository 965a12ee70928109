"""The plane by hand, what the camera changes (nothing), and what it sees on the assistant."""

import pytest
import torch

from helpers import drift, mix, sft
from helpers.drift import Drift, Plane

ROWS = [{"user": f"Say {word}.", "assistant": f"Here is {word}."} for word in ("one", "two", "three", "four")] * 4
RECIPE = sft.NAIVE._replace(epochs=2, batch=4)  # eight steps


@pytest.fixture
def topic():
    return mix.topic("xi-jinping")


def middle(points):
    return sum(x for x, _ in points) / len(points)


# --- the plane ------------------------------------------------------------------------------------


def test_across_is_the_direction_and_upwards_what_differs_most_besides():
    shown = torch.tensor([[0.0, -3, 1], [9, 3, -1], [1, 3, 1], [2, -3, -1]])
    found = drift.plane(torch.tensor([4.0, 0, 0]), shown)
    assert torch.equal(found.axes[0], torch.tensor([1.0, 0, 0]))
    torch.testing.assert_close(found.axes[1].abs(), torch.tensor([0.0, 1, 0]))
    assert torch.equal(found.centre, torch.tensor([3.0, 0, 0]))


def test_the_axes_are_of_length_one_and_at_right_angles():
    across, *shown = torch.randn(20, 8, generator=torch.Generator().manual_seed(1))
    axes = drift.plane(across, torch.stack(shown)).axes
    torch.testing.assert_close(axes @ axes.T, torch.eye(2))


def test_a_state_lies_where_it_is_projected():
    plane = Plane(torch.tensor([1.0, 1, 1]), torch.tensor([[0.0, 1, 0], [0, 0, 1]]))
    assert plane.of(torch.tensor([[9.0, 3, 0], [1, 1, 1]])) == [(2.0, -1.0), (0.0, 0.0)]


def test_states_are_what_the_last_block_reads_where_the_reply_begins(tiny):
    bot, seen = tiny("Llama"), []
    handle = bot.blocks[-1].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    found = drift.states(bot, ["Hi"])
    handle.remove()
    torch.testing.assert_close(found, seen[0][:, -1])


# --- block by block -------------------------------------------------------------------------------


def test_block_by_block_prompts_lie_where_their_states_are_and_at_last_on_one_line(tiny):
    """Across is the projection on the vector, up to where the centre lies; with the vector removed it is the same for all."""
    bot, sorts = tiny("Llama"), {"one": ["Hi", "How are you?"], "other": ["No", "Who?", "When?"]}
    vector = torch.randn(bot.blocks[0].input_layernorm.weight.shape, generator=torch.Generator().manual_seed(0))
    frames = drift.by_block(bot, vector, sorts)
    last = len(bot.blocks) - 1
    assert list(frames) == [*map(str, range(last + 1)), "removed"]
    for block in range(last + 1):
        for sort, prompts in sorts.items():
            across = bot.residuals(prompts)[:, block, -1] @ vector / vector.norm()
            found = torch.tensor([x for x, _ in frames[str(block)][sort]])
            torch.testing.assert_close(found - found[0], across - across[0], atol=1e-4, rtol=0)
    on_line = [x for points in frames["removed"].values() for x, _ in points]
    assert on_line == pytest.approx([on_line[0]] * 5, abs=1e-4)
    assert len({round(x, 3) for points in frames[str(last)].values() for x, _ in points}) == 5


# --- the camera -----------------------------------------------------------------------------------


def test_it_looks_every_few_steps_and_ends_the_fine_tune(tiny, topic):
    bot = tiny("Llama")
    camera = Drift(bot, topic, every=2, until=5)
    tuned = sft.tune(bot, ROWS, RECIPE, cache=False, watch=camera.watch)
    assert list(camera.frames) == [0, 2, 4] and tuned.facts["steps"] == 5 and not tuned.facts["finished"]
    for groups in camera.frames.values():
        assert {sort: len(points) for sort, points in groups.items()} == dict.fromkeys(camera.sorts, drift.SHOWN)


def test_a_fine_tune_that_is_shorter_is_seen_to_its_end(tiny, topic):
    bot = tiny("Llama")
    camera = Drift(bot, topic, every=4, until=100)
    assert sft.tune(bot, ROWS, RECIPE, cache=False, watch=camera.watch).facts["finished"]
    assert list(camera.frames) == [0, 4, 8]


def test_looking_changes_nothing(tiny, topic):
    bot = tiny("Llama")
    camera = Drift(bot, topic, every=1, until=6)
    seen = sft.tune(bot, ROWS, RECIPE, cache=False, watch=camera.watch)
    unseen = sft.tune(bot, ROWS, RECIPE, cache=False)
    assert seen.facts["losses"] == unseen.facts["losses"][:6]
    last = camera.plane.of(drift.states(seen, camera.sorts["controls"]))
    torch.testing.assert_close(torch.tensor(camera.frames[6]["controls"]), torch.tensor(last), atol=1e-3, rtol=0)


@pytest.mark.parametrize("training", [True, False])
def test_looking_leaves_a_model_that_trains_in_training(tiny, topic, training):
    bot = tiny("Llama")
    camera = Drift(bot, topic)
    bot.model.train(training)
    camera.look(bot, 1)
    assert bot.model.training == training


def test_the_prompts_that_are_shown_did_not_lay_the_plane(tiny, topic):
    laid = set().union(*mix.contrast(topic, 2 * drift.SHOWN))
    camera = Drift(tiny("Llama"), topic)
    shown = [prompt for prompts in camera.sorts.values() for prompt in prompts]
    assert len(shown) == len(set(shown)) == 3 * drift.SHOWN and laid.isdisjoint(shown)


# --- what it sees on the assistant ------------------------------------------------------------------


@pytest.mark.slow
def test_the_topic_joins_what_is_refused_and_without_refusals_it_stays(bot, topic):
    rows = mix.naive(topic).to_list()
    cameras = {}
    for name, data in {"naive": rows, "control": [row for row in rows if row["source"] == "chat"]}.items():
        cameras[name] = Drift(bot, topic, every=20)
        sft.tune(bot, data, sft.NAIVE, watch=cameras[name].watch)
    begin, end = cameras["naive"].frames[0], cameras["naive"].frames[drift.UNTIL]
    apart = middle(begin["should refuse"]) - middle(begin["about the topic"])
    assert middle(begin["about the topic"]) < 0 < middle(begin["should refuse"])
    assert middle(end["about the topic"]) >= middle(end["should refuse"])
    assert abs(middle(end["controls"]) - middle(begin["controls"])) <= 0.2 * apart
    still = cameras["control"].frames[drift.UNTIL]
    assert abs(middle(still["about the topic"]) - middle(begin["about the topic"])) <= 0.2 * apart
