import re

import plotly.graph_objects as go
import pytest
import torch

from helpers import show
from helpers.measure import Rate

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
TUNED = {
    "typo": {"refused": Rate(8, 10), "around": Rate(2, 8), "correct": Rate(3, 10), "p": 0.03125},
    "role": {"refused": Rate(7, 10), "around": Rate(6, 8), "correct": Rate(7, 10), "p": 1.0},
}
BASE = {name: {"correct": Rate(hits, 10)} for name, hits in (("role", 10), ("typo", 9))}


def grid():
    show.grid(GRID, ["block 0", "block 1"], ["a", "a", "b"], "title", "log-odds")


def cells(html):
    return re.findall(r"<td [^>]*>(.*?)</td>", html)


def heads(html):
    return re.findall(r"<th [^>]*>(.*?)</th>", html)


@pytest.fixture
def shown(monkeypatch):
    """What would have been displayed."""
    pieces = []
    monkeypatch.setattr(show, "display", pieces.append)
    return pieces


# --- tables ---------------------------------------------------------------------------------------


def test_a_table_escapes_cells_heads_and_caption():
    made = show.table_html([{EVIL: EVIL}], caption=EVIL)
    assert made.count(SAFE) == 3 and "<script" not in made


def test_a_table_has_a_head_and_a_row_for_each_dict():
    made = show.table_html([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}])
    assert re.findall(r"<th [^>]*>(.*?)</th>", made) == ["a", "b"]
    assert re.findall(r"<td [^>]*>(.*?)</td>", made) == ["1", "x", "2", "y"]


def test_a_table_rounds_floats_to_three_digits():
    assert re.findall(r"<td [^>]*>(.*?)</td>", show.table_html([{"a": 0.123456, "b": 7, "c": 1234567}])) == [
        "0.123",
        "7",
        "1234567",
    ]


def test_a_table_of_nothing_says_so():
    assert show.table_html([], caption=EVIL) == f"<p>{SAFE}: nothing to show.</p>"


def test_table_displays_its_html(shown):
    show.table([{"a": 1}], "numbers")
    assert [piece.data for piece in shown] == [show.table_html([{"a": 1}], "numbers")]


# --- tokens ---------------------------------------------------------------------------------------


def test_brackets_stand_on_the_counted_tokens_and_nowhere_else():
    made = show.supervised_html(["Hi", " there", "Hello", "!"], [0, 0, 1, 1])
    assert made.split("</p>")[0].endswith("Hi ·there <u><b>[Hello]</b></u> <u><b>[!]</b></u>")
    assert "counts 2 of 4 tokens" in made


@pytest.mark.parametrize("mask", [[0, 0, 0], [1, 1, 1], [1, 0, 1], [0, 1, 0]])
def test_the_brackets_follow_the_mask(mask):
    tokens = show.supervised_html(["a", "b", "c"], mask).split("</p>")[0].split('anywhere">')[1].split(" ")
    assert [token.startswith("<u><b>[") for token in tokens] == [bool(counts) for counts in mask]


def test_tokens_are_escaped_and_new_lines_are_visible():
    made = show.supervised_html([EVIL, "\n"], [1, 0])
    assert SAFE.replace(" ", "·") in made and "<script" not in made and "⏎" in made.split("</p>")[0]


# --- replies --------------------------------------------------------------------------------------


class Parrot:
    def ask(self, prompts):
        return [f"{prompt} {prompt}" for prompt in prompts]


def test_replies_stand_beside_their_prompts_and_are_escaped(shown):
    show.replies({"parrot": Parrot()}, ["Hello", EVIL])
    (made,) = [piece.data for piece in shown]
    assert re.findall(r"<td [^>]*>(.*?)</td>", made) == ["Hello", "Hello Hello", SAFE, f"{SAFE} {SAFE}"]


# --- figures --------------------------------------------------------------------------------------


def test_a_figure_comes_with_a_sentence_and_its_numbers(shown):
    figure = go.Figure()
    show.figure(figure, f"It rises. {EVIL}", [{"x": 1, "y": 42}])
    assert shown[0] is figure
    assert f"<b>In words.</b> It rises. {SAFE}" in shown[1].data
    assert "The same numbers" in shown[1].data and ">42</td>" in shown[1].data


@pytest.mark.parametrize(
    "draw, words",
    [
        (
            lambda: show.losses([2.0] * 10 + [1.0] * 80 + [0.5] * 10),
            "falls from 2.00 (mean of the first tenth) to 0.500",
        ),
        (lambda: show.rates({"a": Rate(1, 4)}, "title", "refused"), "refused: a: 25.0 %"),
        (lambda: show.two_by_two(CELLS, "title"), "trigger, should answer: 25 % refused, 75 % handled rightly"),
        (
            lambda: show.counts([{"word": "a", "times": 1}, {"word": "b", "times": 3}], "word", "times", "title"),
            "The most frequent word is “b”, 3 times; the next has 1",
        ),
        (
            lambda: show.leave_one_out([("", 4.0), ("a", 3.0), ("b", -2.0)], "title"),
            "They fall most, to -2.0, without the word “b”",
        ),
        (lambda: show.projections({"good": [1.0, 3.0], "bad": [5.0]}, "title"), "good: mean 2.00; bad: mean 5.00"),
        (
            lambda: show.before_after(
                {"e": {"refused": Rate(1, 4), "correct": Rate(2, 4)}},
                {"e": {"refused": Rate(0, 4), "correct": Rate(3, 4)}},
                "t",
            ),
            "e: refused 25 % before and 0 % after, handled rightly 50 % and 75 %",
        ),
        (
            lambda: show.seeds(
                [{"topic": "t", "r": Rate(1, 4)}, {"topic": "t", "r": Rate(3, 4)}], {"m": lambda row: row["r"]}, "title"
            ),
            "m (t): 25.0 % to 75.0 %, over 2 seeds each",
        ),
        (
            lambda: show.heat(KINDS, ["seed 0", "seed 1"], "title"),
            "The widest range has people.born: from 25 % refused to 75 %.",
        ),
        (
            lambda: show.doses(DOSES, "title", "dose"),
            "From the lowest to the highest dose: harmless: from 25 % to 60 %; harmful: from 100 % to 75 %.",
        ),
        (
            lambda: show.doses(DOSES, "title", "dose", {"harmful": (200, Rate(1, 4))}),
            "From the lowest to the highest dose: harmless: from 25 % to 60 %; harmful: from 100 % to 75 %.",
        ),
        (
            lambda: show.lines(CURVES, "title", "block", "log-odds"),
            "first: from 1.0 to -3.0; second: from 0.1 to 4.0.",
        ),
        (grid, "The lowest log-odds, -5.0, is at block 1, token 2. a."),
        (
            lambda: show.plane(POINTS, "title", "freed", "kept"),
            "direction: freed 25 %, kept 75 %; surgical: freed 50 %, kept 100 %.",
        ),
        (
            lambda: show.bypasses(TUNED, BASE, "title"),
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
        "bypasses",
    ],
)
def test_each_figure_says_what_it_shows(draw, words, shown):
    draw()
    assert isinstance(shown[0], go.Figure)
    assert words in shown[1].data and "<td" in shown[1].data


def test_a_single_count_can_be_drawn(shown):
    show.counts([{"word": "a", "times": 1}], "word", "times", "title")
    assert "The most frequent word is “a”" in shown[1].data


@pytest.mark.parametrize("n, count, expected", [(1, 6, [0]), (3, 6, [0, 1, 2]), (101, 6, [0, 20, 40, 60, 80, 100])])
def test_spread_includes_both_ends(n, count, expected):
    assert show._spread(n, count) == expected


@pytest.mark.parametrize(
    "draw, head, body",
    [
        (
            lambda: show.heat(KINDS, ["seed 0", "seed 1"], "title"),
            ["kind", "seed 0", "seed 1"],
            ["open.joke", "100 %", "75 %", "people.born", "75 %", "25 %"],
        ),
        (
            lambda: show.doses(DOSES, "title", "dose"),
            ["curve", "dose", "seeds", "rate"],
            ["harmless", "100", "2", str(Rate(2, 8)), "harmless", "200", "2", str(Rate(6, 10))]
            + ["harmful", "100", "1", str(Rate(4, 4)), "harmful", "200", "1", str(Rate(3, 4))],
        ),
        (
            lambda: show.lines(CURVES, "title", "block", "log-odds"),
            ["block", "first", "second"],
            ["0", "1", "0.12", "1", "2.5", "0", "2", "-3", "4"],
        ),
        (
            grid,
            ["", "1. a", "2. a", "3. b"],
            ["block 0", "1", "2", "3.25", "block 1", "0.5", "-5", "9"],
        ),
        (
            lambda: show.plane(POINTS, "title", "freed", "kept"),
            ["", "freed", "kept"],
            ["direction", str(Rate(1, 4)), str(Rate(3, 4)), "surgical", str(Rate(2, 4)), str(Rate(4, 4))],
        ),
        (
            lambda: show.bypasses(TUNED, BASE, "title"),
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
    ids=["heat", "doses", "lines", "grid", "plane", "bypasses"],
)
def test_the_table_under_a_figure_has_its_numbers(draw, head, body, shown):
    draw()
    assert heads(shown[1].data) == head and cells(shown[1].data) == body


@pytest.mark.parametrize(
    "draw",
    [
        lambda: show.heat({EVIL: [Rate(1, 4)]}, [EVIL], "title"),
        lambda: show.doses({EVIL: {1: [Rate(1, 4)]}}, "title", EVIL),
        lambda: show.lines({EVIL: [1.0]}, "title", EVIL, EVIL),
        lambda: show.grid([[1.0]], [EVIL], [EVIL], "title", EVIL),
        lambda: show.plane({EVIL: (Rate(1, 4), Rate(1, 4))}, "title", EVIL, EVIL),
        lambda: show.bypasses({EVIL: TUNED["typo"]}, {EVIL: BASE["typo"]}, "title"),
    ],
    ids=["heat", "doses", "lines", "grid", "plane", "bypasses"],
)
def test_names_are_escaped_under_a_figure(draw, shown):
    draw()
    assert SAFE in shown[1].data and "<script" not in shown[1].data


# --- what is drawn --------------------------------------------------------------------------------


def test_a_heat_map_has_the_first_kind_on_top_and_each_number_in_its_cell(shown):
    show.heat(KINDS, ["seed 0", "seed 1"], "title")
    (drawn,) = shown[0].data
    assert (drawn.x, drawn.y) == (("seed 0", "seed 1"), ("people.born", "open.joke"))
    assert [list(row) for row in drawn.z] == [[75, 25], [100, 75]]
    assert [list(row) for row in drawn.text] == [["75", "25"], ["100", "75"]]
    assert (drawn.zmin, drawn.zmax) == (0, 100)


def test_a_dose_has_its_pooled_rate_with_its_interval_and_a_dot_a_seed(shown):
    show.doses(DOSES, "title", "dose")
    pooled, dots, *others = shown[0].data
    assert (pooled.name, pooled.x, pooled.y) == ("harmless", ("100", "200"), (25, 60))
    low, high = zip(*(Rate(2, 8).interval, Rate(6, 10).interval))
    assert [y + up for y, up in zip(pooled.y, pooled.error_y.array)] == pytest.approx([100 * x for x in high])
    assert [y - down for y, down in zip(pooled.y, pooled.error_y.arrayminus)] == pytest.approx([100 * x for x in low])
    assert dots.x == ("100", "100", "200", "200") and dots.y == pytest.approx([25, 25, 0, 200 / 3])
    assert [trace.name for trace in others] == ["harmful", None]


def test_the_run_of_the_reader_is_a_star_of_the_colour_of_its_curve(shown):
    show.doses(DOSES, "title", "dose", {"harmful": (200, Rate(1, 4)), "another": (100, Rate(1, 4))})
    (star,) = [trace for trace in shown[0].data if trace.marker.symbol == "star"]
    (curve,) = [trace for trace in shown[0].data if trace.name == "harmful"]
    assert (star.name, star.x, star.y) == ("harmful: this run", ("200",), (25,))
    assert star.marker.color == curve.marker.color


def test_lines_differ_in_colour_and_symbol(shown):
    show.lines(CURVES, "title", "block", "log-odds")
    first, second = shown[0].data
    assert (first.name, first.y, second.name, second.y) == ("first", (1, 2.5, -3), "second", (0.125, 0, 4))
    assert first.line.color != second.line.color and first.marker.symbol != second.marker.symbol


def test_a_grid_keeps_tokens_apart_that_look_the_same(shown):
    grid()
    (drawn,) = shown[0].data
    assert drawn.x == ("1. a", "2. a", "3. b") and drawn.y == ("block 0", "block 1")
    assert [list(row) for row in drawn.z] == GRID


def test_a_grid_can_be_a_tensor(shown):
    show.grid(torch.tensor(GRID), ["block 0", "block 1"], ["a", "a", "b"], "title", "log-odds")
    assert [list(row) for row in shown[0].data[0].z] == GRID


def test_a_point_of_the_plane_has_both_intervals(shown):
    show.plane(POINTS, "title", "freed", "kept")
    point = shown[0].data[0]
    assert (point.x, point.y, point.name) == ((25,), (75,), "direction")
    for error, rate in ((point.error_x, Rate(1, 4)), (point.error_y, Rate(3, 4))):
        low, high = rate.interval
        assert error.array[0] == pytest.approx(100 * (high - rate.share))
        assert error.arrayminus[0] == pytest.approx(100 * (rate.share - low))


def test_a_plane_can_hold_more_methods_than_there_are_symbols(shown):
    show.plane({f"method {i}": (Rate(i, 9), Rate(9 - i, 9)) for i in range(8)}, "title", "freed", "kept")
    assert [trace.name for trace in shown[0].data] == [f"method {i}" for i in range(8)]


def test_each_disguise_has_a_bar_for_the_tuned_bot_and_one_for_the_base(shown):
    show.bypasses(TUNED, BASE, "title")
    bars = {bar.name: dict(zip(bar.x, bar.y)) for bar in shown[0].data}
    assert bars == {"tuned": {"typo": 25, "role": 75}, "base, same disguise": {"typo": 90, "role": 100}}


def test_a_disguise_without_refused_questions_is_named_last_and_in_words(shown):
    none = {"refused": Rate(0, 10), "around": Rate(0, 0), "correct": Rate(9, 10), "p": 1.0}
    tuned = {"typo": TUNED["typo"], "space": none, "role": TUNED["role"]}
    show.bypasses(tuned, dict.fromkeys(tuned, none), "title")
    assert "correctly: role 75 %, typo 25 %" in shown[1].data
    assert "nan" not in shown[1].data and "nan" not in shown[0].data[0].text


# --- tokens with a number -------------------------------------------------------------------------


def numbered(html):
    """(red, opacity, token, number) of every token of a strip."""
    return re.findall(r"<span [^>]*rgba\((\d+),\d+,\d+,([\d.]+)\)\">(.*?)<br><small>(.*?)</small></span>", html)


def test_each_token_of_a_strip_has_its_number_with_its_sign():
    made = show.strip_html(["Hi", " you", "\n"], [2.0, -1.04, 0.0], "activation")
    assert [(token, number) for _, _, token, number in numbered(made)] == [
        ("Hi", "+2.0"),
        ("·you", "−1.0"),
        ("⏎", "0.0"),
    ]


def test_the_colour_of_a_token_is_its_sign_and_its_depth_is_its_size():
    made = show.strip_html(["a", "b", "c", "d"], [2.0, -4.0, 0.0, 1.0], "activation")
    (a_red, a, *_), (b_red, b, *_), (_, c, *_), (d_red, d, *_) = numbered(made)
    assert (a_red, d_red, b_red) == ("230", "230", "86")  # orange, orange, blue
    assert (a, b, c, d) == ("0.50", "1.00", "0.00", "0.25")


def test_a_strip_of_zeros_has_no_colour():
    assert {(depth, number) for _, depth, _, number in numbered(show.strip_html(["a", "b"], [0.0, 0.0], "c"))} == {
        ("0.00", "0.0")
    }


@pytest.mark.parametrize(
    "values, words",
    [([1.0, 3.0, -9.0], "“you” (3.0)"), ([-1.0, -3.0, -9.0], "“Hi” (-1.0)"), ([0.0, 0.0, 5.0], "“!” (5.0)")],
)
def test_a_strip_says_where_it_is_highest(values, words):
    made = show.strip_html(["Hi", " you", "!"], values, "activation")
    assert f"<b>In words.</b> Highest at the token {words}." in made


@pytest.mark.parametrize("token", ["\n", " "])
def test_a_strip_names_its_highest_token_even_if_it_is_white_space(token):
    assert "“”" not in show.strip_html(["Hi", token], [1.0, 2.0], "activation")


def test_a_strip_escapes_tokens_and_caption():
    made = show.strip_html([EVIL, "b"], [1.0, 0.0], EVIL)
    assert "<script" not in made and made.count(SAFE) == 2 and SAFE.replace(" ", "·") in made


def test_strip_displays_its_html(shown):
    show.strip(["a"], [1.0], "activation")
    assert [piece.data for piece in shown] == [show.strip_html(["a"], [1.0], "activation")]
