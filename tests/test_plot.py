import math
import re

import numpy as np
import plotly.graph_objects as go
import pytest
import torch

from helpers import bars, plot
from helpers.tally import Rate, Seeds

EVIL = """<script>alert("it's me")</script>"""
SAFE = "&lt;script&gt;alert(&quot;it&#x27;s me&quot;)&lt;/script&gt;"
CELLS = [
    {"trigger": trigger, "should_refuse": should, "refused": Rate(hits, 4), "correct": Rate(4 - hits, 4)}
    for trigger, should, hits in ((True, False, 1), (True, True, 2), (False, False, 3), (False, True, 4))
]
KINDS = {"open.joke": [Rate(4, 4), Rate(3, 4)], "people.born": [Rate(3, 4), Rate(1, 4)]}
DOSES = {
    "harmless": {100: [Rate(1, 4), Rate(1, 4)], 200: [Rate(0, 1), Rate(6, 9)]},
    "harmful": {100: [Rate(4, 4)], 200: [Rate(3, 4)]},
}
CURVES = {"first": [1.0, 2.5, -3.0], "second": [0.125, 0.0, 4.0]}
GRID = [[1.0, 2.0, 3.25], [0.5, -5.0, 9.0]]
POINTS = {"direction": (Rate(1, 4), Rate(3, 4)), "surgical": (Rate(2, 4), Rate(4, 4))}
CLOUD = {"found": [(0.125, Rate(0, 4))], "random": [(1.5, Rate(3, 4)), (-0.25, Rate(4, 4))]}
TUNED = {
    "typo": {"refused": Rate(8, 10), "around": Rate(2, 8), "correct": Rate(3, 10), "p": 0.03125},
    "role": {"refused": Rate(7, 10), "around": Rate(6, 8), "correct": Rate(7, 10), "p": 1.0},
}
BASE = {name: {"correct": Rate(hits, 10)} for name, hits in (("role", 10), ("typo", 9))}


def grid():
    return plot.grid(GRID, ["block 0", "block 1"], ["a", "a", "b"], "title", "log-odds")


def cells(html):
    return re.findall(r"<td [^>]*>(.*?)</td>", html)


def heads(html):
    return re.findall(r"<th [^>]*>(.*?)</th>", html)


# --- figures --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "draw, words",
    [
        (
            lambda: plot.losses([2.0] * 10 + [1.0] * 80 + [0.5] * 10),
            "falls from 2.00 (mean of the first tenth) to 0.500",
        ),
        (lambda: bars.rates({"a": Rate(1, 4)}, "title", "refused"), "refused: a: 25.0 %"),
        (lambda: bars.two_by_two(CELLS, "title"), "trigger, should answer: 25 % refused, 75 % handled rightly"),
        (
            lambda: bars.counts([{"word": "a", "times": 1}, {"word": "b", "times": 3}], "word", "times", "title"),
            "The most frequent word is “b”, 3 times; the next has 1",
        ),
        (
            lambda: bars.leave_one_out([("", 4.0), ("a", 3.0), ("b", -2.0)], "title"),
            "They fall most, to -2.0, without the word “b”",
        ),
        (lambda: plot.projections({"good": [1.0, 3.0], "bad": [5.0]}, "title"), "good: mean 2.00; bad: mean 5.00"),
        (
            lambda: bars.before_after(
                {"e": {"refused": Rate(1, 4), "correct": Rate(2, 4)}},
                {"e": {"refused": Rate(0, 4), "correct": Rate(3, 4)}},
                "t",
            ),
            "e: refused 25 % before and 0 % after, handled rightly 50 % and 75 %",
        ),
        (
            lambda: plot.seeds(
                [{"topic": "t", "r": Rate(1, 4)}, {"topic": "t", "r": Rate(3, 4)}], {"m": lambda row: row["r"]}, "title"
            ),
            "In all 2 runs, from the lowest to the highest: m: 25.0 to 75.0 %.",
        ),
        (
            lambda: plot.heat(KINDS, ["seed 0", "seed 1"], "title"),
            "people.born has the widest range: from 25 % refused to 75 %.",
        ),
        (
            lambda: plot.doses(DOSES, "title", "dose"),
            "Along the axis “dose”: harmless: lowest 25 % at 100, highest 60 % at 200; harmful: lowest 75 % at 200, highest 100 % at 100.",
        ),
        (
            lambda: plot.doses(DOSES, "title", "dose", {"harmful": (200, Rate(1, 4))}),
            "Along the axis “dose”: harmless: lowest 25 % at 100, highest 60 % at 200; harmful: lowest 75 % at 200, highest 100 % at 100.",
        ),
        (
            lambda: plot.lines(CURVES, "title", "block", "log-odds"),
            "first: 1.0 at 0, in all between -3.0 and 2.5; second: 0.1 at 0, in all between 0.0 and 4.0.",
        ),
        (grid, "The lowest log-odds, -5.0, is at block 1, token 2. a."),
        (
            lambda: plot.plane(POINTS, "title", "freed", "kept"),
            "direction: freed 25 %, kept 75 %; surgical: freed 50 %, kept 100 %.",
        ),
        (
            lambda: plot.cloud(CLOUD, "title", "nats", "refused"),
            "found (1): nats 0.12 to 0.12, refused 0 to 0 %; random (2): nats -0.25 to 1.50, refused 75 to 100 %.",
        ),
        (
            lambda: bars.bypasses(TUNED, BASE, "title"),
            "Refused questions that a disguise gets answered correctly: role 75 %, typo 25 %.",
        ),
    ],
    ids=[
        "losses",
        "rates",
        "two_by_two",
        "counts",
        "leave_one_out",
        "projections",
        "before_after",
        "seeds",
        "heat",
        "doses",
        "doses with this run",
        "lines",
        "grid",
        "plane",
        "cloud",
        "bypasses",
    ],
)
def test_each_figure_says_what_it_shows_and_is_given_back(draw, words, shown):
    assert draw() is shown[0] and isinstance(shown[0], go.Figure)
    assert words in shown[1].data and "<td" in shown[1].data


def test_a_single_count_can_be_drawn(shown):
    bars.counts([{"word": "a", "times": 1}], "word", "times", "title")
    assert "The most frequent word is “a”" in shown[1].data


@pytest.mark.parametrize(
    "draw, head, body",
    [
        (
            lambda: plot.heat(KINDS, ["seed 0", "seed 1"], "title"),
            ["kind", "seed 0", "seed 1"],
            ["open.joke", "100 %", "75 %", "people.born", "75 %", "25 %"],
        ),
        (
            lambda: plot.doses(DOSES, "title", "dose"),
            ["curve", "dose", "seeds", "rate"],
            [
                cell
                for curve, doses in DOSES.items()
                for dose, rates in doses.items()
                for cell in (curve, str(dose), str(len(rates)), str(Seeds.of(rates)))
            ],
        ),
        (
            lambda: plot.lines(CURVES, "title", "block", "log-odds"),
            ["block", "first", "second"],
            ["0", "1", "0.12", "1", "2.5", "0", "2", "-3", "4"],
        ),
        (
            grid,
            ["token", "block 0", "block 1"],
            ["1. a", "1", "0.5", "2. a", "2", "-5", "3. b", "3.25", "9"],
        ),
        (
            lambda: plot.plane(POINTS, "title", "freed", "kept"),
            ["", "freed", "kept"],
            ["direction", str(Rate(1, 4)), str(Rate(3, 4)), "surgical", str(Rate(2, 4)), str(Rate(4, 4))],
        ),
        (
            lambda: plot.cloud(CLOUD, "title", "nats", "refused"),
            ["", "points", "nats", "refused"],
            ["found", "1", "0.12 to 0.12", "0 to 0 %", "random", "2", "-0.25 to 1.50", "75 to 100 %"],
        ),
        (
            lambda: bars.bypasses(TUNED, BASE, "title"),
            [
                "disguise",
                "directly refused",
                "of these answered in disguise",
                "base, in disguise",
                "McNemar&#x27;s p",
            ],
            ["typo", str(Rate(8, 10)), str(Rate(2, 8)), str(Rate(9, 10)), "0.03"]
            + ["role", str(Rate(7, 10)), str(Rate(6, 8)), str(Rate(10, 10)), "1"],
        ),
    ],
    ids=["heat", "doses", "lines", "grid", "plane", "cloud", "bypasses"],
)
def test_the_table_under_a_figure_has_its_numbers(draw, head, body, shown):
    draw()
    assert heads(shown[1].data) == head and cells(shown[1].data) == body


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plot.heat({EVIL: [Rate(1, 4)]}, [EVIL], "title"),
        lambda: plot.doses({EVIL: {1: [Rate(1, 4)]}}, "title", EVIL),
        lambda: plot.lines({EVIL: [1.0]}, "title", EVIL, EVIL),
        lambda: plot.grid([[1.0]], [EVIL], [EVIL], "title", EVIL),
        lambda: plot.plane({EVIL: (Rate(1, 4), Rate(1, 4))}, "title", EVIL, EVIL),
        lambda: plot.cloud({EVIL: [(1.0, Rate(1, 4))]}, "title", EVIL, EVIL),
        lambda: bars.bypasses({EVIL: TUNED["typo"]}, {EVIL: BASE["typo"]}, "title"),
    ],
    ids=["heat", "doses", "lines", "grid", "plane", "cloud", "bypasses"],
)
def test_names_are_escaped_under_a_figure(draw, shown):
    draw()
    assert SAFE in shown[1].data and "<script" not in shown[1].data


# --- what is drawn --------------------------------------------------------------------------------


def test_a_heat_map_has_the_first_kind_on_top_and_each_number_in_its_cell(shown):
    plot.heat(KINDS, ["seed 0", "seed 1"], "title")
    (drawn,) = shown[0].data
    assert (drawn.x, drawn.y) == (("seed 0", "seed 1"), ("people.born", "open.joke"))
    assert [list(row) for row in drawn.z] == [[75, 25], [100, 75]]
    assert [list(row) for row in drawn.text] == [["75", "25"], ["100", "75"]]
    assert (drawn.zmin, drawn.zmax) == (0, 100)


def test_a_dose_has_its_pooled_rate_with_its_interval_and_a_dot_a_seed(shown):
    plot.doses(DOSES, "title", "dose")
    pooled, dots, *others = shown[0].data
    assert (pooled.name, pooled.x, pooled.y) == ("harmless", ("100", "200"), (25, 60))
    low, high = zip(*(Seeds.of(rates).interval for rates in DOSES["harmless"].values()), strict=True)
    assert [y + up for y, up in zip(pooled.y, pooled.error_y.array, strict=True)] == pytest.approx(
        [100 * x for x in high]
    )
    assert [y - down for y, down in zip(pooled.y, pooled.error_y.arrayminus, strict=True)] == pytest.approx(
        [100 * x for x in low]
    )
    assert dots.x == ("100", "100", "200", "200") and dots.y == pytest.approx([25, 25, 0, 200 / 3])
    assert [trace.name for trace in others] == ["harmful", None]


def test_the_run_of_the_reader_is_a_star_of_the_colour_of_its_curve(shown):
    plot.doses(DOSES, "title", "dose", {"harmful": (200, Rate(1, 4)), "another": (100, Rate(1, 4))})
    (star,) = [trace for trace in shown[0].data if trace.marker.symbol == "star"]
    (curve,) = [trace for trace in shown[0].data if trace.name == "harmful"]
    assert (star.name, star.x, star.y) == ("harmful: this run", ("200",), (25,))
    assert star.marker.color == curve.marker.color


def test_lines_differ_in_colour_and_symbol(shown):
    plot.lines(CURVES, "title", "block", "log-odds")
    first, second = shown[0].data
    assert (first.name, first.y, second.name, second.y) == ("first", (1, 2.5, -3), "second", (0.125, 0, 4))
    assert first.line.color != second.line.color and first.marker.symbol != second.marker.symbol


def test_a_grid_keeps_tokens_apart_that_look_the_same(shown):
    grid()
    (drawn,) = shown[0].data
    assert drawn.x == ("1. a", "2. a", "3. b") and drawn.y == ("block 0", "block 1")
    assert [list(row) for row in drawn.z] == GRID


def test_a_grid_can_be_a_tensor(shown):
    plot.grid(torch.tensor(GRID), ["block 0", "block 1"], ["a", "a", "b"], "title", "log-odds")
    assert [list(row) for row in shown[0].data[0].z] == GRID


def test_every_point_of_a_cloud_is_where_it_belongs(shown):
    fig = plot.cloud(CLOUD, "title", "nats", "refused")
    assert [(list(trace.x), list(trace.y)) for trace in fig.data] == [([0.125], [0]), ([1.5, -0.25], [75, 100])]


def test_a_point_of_the_plane_has_both_intervals(shown):
    plot.plane(POINTS, "title", "freed", "kept")
    point = shown[0].data[0]
    assert (point.x, point.y, point.name) == ((25,), (75,), "direction")
    for error, rate in ((point.error_x, Rate(1, 4)), (point.error_y, Rate(3, 4))):
        low, high = rate.interval
        assert error.array[0] == pytest.approx(100 * (high - rate.share))
        assert error.arrayminus[0] == pytest.approx(100 * (rate.share - low))


def test_a_plane_can_hold_more_methods_than_there_are_symbols(shown):
    plot.plane({f"method {i}": (Rate(i, 9), Rate(9 - i, 9)) for i in range(8)}, "title", "freed", "kept")
    assert [trace.name for trace in shown[0].data] == [f"method {i}" for i in range(8)]


def test_each_disguise_has_a_bar_for_the_tuned_bot_and_one_for_the_base(shown):
    bars.bypasses(TUNED, BASE, "title")
    drawn = {bar.name: dict(zip(bar.x, bar.y, strict=True)) for bar in shown[0].data}
    assert drawn == {"tuned": {"typo": 25, "role": 75}, "base, same disguise": {"typo": 90, "role": 100}}


def test_a_disguise_without_refused_questions_is_named_last_and_in_words(shown):
    none = {"refused": Rate(0, 10), "around": Rate(0, 0), "correct": Rate(9, 10), "p": 1.0}
    tuned = {"typo": TUNED["typo"], "space": none, "role": TUNED["role"]}
    bars.bypasses(tuned, dict.fromkeys(tuned, none), "title")
    assert "correctly: role 75 %, typo 25 %" in shown[1].data
    assert "nan" not in shown[1].data and "nan" not in shown[0].data[0].text


# --- what is drawn is what was measured -----------------------------------------------------------

THIRD, HALF, NONE = Rate(1, 3), Rate(4, 8), Rate(0, 0)


def ends(rate):
    """How far the interval reaches below and above the share, in per cent."""
    low, high = rate.interval
    return pytest.approx(100 * (rate.share - low)), pytest.approx(100 * (high - rate.share))


def test_losses_are_drawn_step_by_step(shown):
    assert list(plot.losses([3.0, 2.0, 2.5]).data[0].y) == [3.0, 2.0, 2.5]


def test_rates_are_bars_with_their_intervals_and_labels(shown):
    drawn, labels = bars.rates({"a": THIRD, "b": HALF}, "title", "axis").data
    assert list(drawn.x) == pytest.approx([100 / 3, 50]) and list(drawn.y) == ["a", "b"]
    for i, rate in enumerate((THIRD, HALF)):
        assert (drawn.error_x.arrayminus[i], drawn.error_x.array[i]) == ends(rate)
        assert labels.x[i] == pytest.approx(100 * rate.interval[1])
    assert list(labels.text) == [" 33 %", " 50 %"]


def test_the_four_cells_are_bars_of_both_rates(shown):
    refused, right = bars.two_by_two(CELLS, "title").data
    assert list(refused.y) == [25, 50, 75, 100] and list(right.y) == [75, 50, 25, 0]
    assert list(refused.text) == ["25 %", "50 %", "75 %", "100 %"] and list(right.text) == [
        "75 %",
        "50 %",
        "25 %",
        "0 %",
    ]
    assert refused.marker.pattern.shape != right.marker.pattern.shape


def test_counts_are_bars_with_their_numbers(shown):
    rows = [{"reply": "a", "times": 2}, {"reply": "b", "times": 7}]
    (drawn,) = bars.counts(rows, "reply", "times", "title").data
    assert (
        list(drawn.x) == [2, 7] and [name.strip() for name in drawn.y] == ["a", "b"] and list(drawn.text) == ["2", "7"]
    )


def test_texts_that_look_the_same_when_shortened_have_a_bar_each(shown):
    rows = [{"reply": "x" * 99 + end, "times": n} for end, n in (("a", 1), ("b", 2))]
    (drawn,) = bars.counts(rows, "reply", "times", "title").data
    assert len(set(drawn.y)) == 2


def test_the_log_odds_without_each_word_are_bars_beside_a_line(shown):
    fig = bars.leave_one_out([("", 4.0), ("Where", 3.0), ("Xi", -2.5)], "title")
    assert list(fig.data[0].y) == [3.0, -2.5] and list(fig.data[0].text) == ["3.0", "-2.5"]
    assert fig.layout.shapes[0].y0 == fig.layout.shapes[0].y1 == 4.0


def test_projections_are_all_drawn(shown):
    boxes = plot.projections({"a": [1.0, 2.0], "b": [3.0]}, "title").data
    assert [list(box.x) for box in boxes] == [[1.0, 2.0], [3.0]] and [box.name for box in boxes] == ["a", "b"]


def test_before_and_after_are_bars_of_both_rates(shown):
    before, after = {"e": {"refused": THIRD, "correct": HALF}}, {"e": {"refused": HALF, "correct": Rate(3, 4)}}
    drawn = bars.before_after(before, after, "title").data
    assert [(bar.name, bar.y[0], bar.text[0]) for bar in drawn] == [
        ("refused, before", pytest.approx(100 / 3), "33"),
        ("refused, after", 50, "50"),
        ("correct, before", 50, "50"),
        ("correct, after", 75, "75"),
    ]


def test_every_run_is_a_dot_at_its_measure(shown):
    rows = [{"topic": "t", "r": Rate(1, 4)}, {"topic": "u", "r": Rate(3, 4)}, {"topic": "t", "r": Rate(2, 4)}]
    t, u = plot.seeds(rows, {"m": lambda row: row["r"]}, "title").data
    assert (list(t.x), list(t.y)) == (["m", "m"], [25, 50]) and (list(u.x), list(u.y)) == (["m"], [75])
    assert "lowest" in shown[1].data and ">25.0 %</td>" in shown[1].data and ">50.0 %</td>" in shown[1].data


def test_a_point_of_the_plane_is_where_its_rates_are(shown):
    first, second = plot.plane(POINTS, "title", "freed", "kept").data
    assert (first.x[0], first.y[0], second.x[0], second.y[0]) == (25, 75, 50, 100)
    assert (first.error_x.arrayminus[0], first.error_x.array[0]) == ends(Rate(1, 4))
    assert (first.error_y.arrayminus[0], first.error_y.array[0]) == ends(Rate(3, 4))


def test_lines_begin_where_they_are_counted_from(shown):
    first, second = plot.lines(CURVES, "title", "block", "log-odds", first=1).data
    assert (first.x0, list(first.y), list(second.y)) == (1, CURVES["first"], CURVES["second"])


def test_a_grid_draws_every_cell_where_it_belongs(shown):
    (heat,) = plot.grid(GRID, ["block 0", "block 1"], ["a", "a", "b"], "title", "log-odds").data
    assert [list(row) for row in heat.z] == GRID and list(heat.y) == ["block 0", "block 1"]
    assert list(heat.x) == ["1. a", "2. a", "3. b"]


# --- however many there are -----------------------------------------------------------------------

MANY = {f"number {i}": [float(i), i + 1.0] for i in range(12)}


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plot.projections(MANY, "title"),
        lambda: plot.lines(MANY, "title", "x", "y"),
        lambda: plot.seeds([{"topic": n, "r": Rate(1, 2)} for n in MANY], {"m": lambda row: row["r"]}, "title"),
        lambda: plot.plane({name: (Rate(1, 2), Rate(1, 2)) for name in MANY}, "title", "x", "y"),
        lambda: plot.doses({name: {1: [Rate(1, 2)]} for name in MANY}, "title", "dose"),
    ],
    ids=["projections", "lines", "seeds", "plane", "doses"],
)
def test_as_many_are_drawn_as_are_given_and_each_has_its_own_look(draw, shown):
    drawn = [part for part in draw().data if part.showlegend is not False]
    assert [part.name for part in drawn] == list(MANY)
    assert len({(part.marker.color or part.line.color, part.marker.symbol) for part in drawn}) == len(MANY)


# --- sentences that follow the numbers ------------------------------------------------------------


@pytest.mark.parametrize("values, word", [([1.0, 0.5], "falls"), ([0.5, 1.0], "rises"), ([1.0, 1.0], "stays")])
def test_the_loss_moves_as_it_moves(values, word, shown):
    plot.losses(values)
    assert f"The loss {word} from" in shown[1].data


def test_equally_frequent_replies_are_all_named(shown):
    bars.counts([{"r": "a", "n": 3}, {"r": "b", "n": 3}, {"r": "c", "n": 1}], "r", "n", "title")
    assert "2 are equally frequent, 3 n each: “b”, “a”." in shown[1].data


def test_where_no_word_lowers_the_log_odds_none_is_named(shown):
    bars.leave_one_out([("", 1.0), ("Is", 1.0), ("ice", 2.0)], "title")
    assert "No word lowers them." in shown[1].data and "fall most" not in shown[1].data


def test_where_all_are_alike_none_has_the_widest_range(shown):
    plot.heat({"a": [HALF, HALF], "b": [THIRD, THIRD]}, ["0", "1"], "title")
    assert "equally often in all columns" in shown[1].data


def test_a_run_without_cases_is_neither_lowest_nor_highest(shown):
    rows = [{"topic": "t", "r": rate} for rate in (NONE, HALF, Rate(3, 4), NONE)]
    plot.seeds(rows, {"m": lambda row: row["r"]}, "title")
    assert "m: 50.0 to 75.0 %." in shown[1].data


def test_a_flat_dose_is_called_flat(shown):
    plot.doses({"c": {1: [HALF], 2: [HALF]}}, "title", "dose")
    assert "c: 50 % throughout" in shown[1].data


@pytest.mark.parametrize(
    "draw",
    [
        lambda: bars.rates({"a": NONE, "b": HALF}, "title", "axis"),
        lambda: bars.two_by_two([CELLS[0] | {"refused": NONE}], "title"),
        lambda: bars.before_after(
            {"e": {"refused": NONE, "correct": HALF}}, {"e": {"refused": HALF, "correct": HALF}}, "t"
        ),
        lambda: plot.heat({"a": [NONE, HALF]}, ["0", "1"], "title"),
        lambda: plot.plane({"a": (NONE, HALF)}, "title", "x", "y"),
    ],
    ids=["rates", "two_by_two", "before_after", "heat", "plane"],
)
def test_no_cases_are_called_so_and_not_drawn_as_zero(draw, shown):
    fig = draw()
    assert "no cases" in shown[1].data and "nan" not in shown[1].data
    drawn = [part for part in fig.data if part.type != "scatter" or part.mode != "text"]
    axes = [part[axis] for part in drawn for axis in ("x", "y", "z") if axis in part]
    numbers = [number for values in axes for row in values for number in np.ravel(row) if isinstance(number, float)]
    assert any(map(math.isnan, numbers))


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plot.losses([]),
        lambda: bars.rates({}, "title", "axis"),
        lambda: bars.bypasses({}, {}, "title"),
        lambda: bars.two_by_two([], "title"),
        lambda: bars.counts([], "r", "n", "title"),
        lambda: bars.leave_one_out([("", 1.0)], "title"),
        lambda: plot.projections({}, "title"),
        lambda: bars.before_after({}, {}, "title"),
        lambda: plot.seeds([], {}, "title"),
        lambda: plot.heat({}, [], "title"),
        lambda: plot.doses({}, "title", "dose"),
        lambda: plot.lines({}, "title", "x", "y"),
        lambda: plot.grid([], [], [], "title", "unit"),
        lambda: plot.plane({}, "title", "x", "y"),
    ],
)
def test_nothing_to_draw_is_one_sentence(draw):
    with pytest.raises(ValueError, match="There is nothing to draw"):
        draw()
