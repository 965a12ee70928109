import re

import plotly.graph_objects as go
import pytest

from helpers import show
from helpers.measure import Rate

EVIL = """<script>alert("it's me")</script>"""
SAFE = "&lt;script&gt;alert(&quot;it&#x27;s me&quot;)&lt;/script&gt;"
CELLS = [
    {"trigger": trigger, "should_refuse": should, "refused": Rate(hits, 4), "correct": Rate(4 - hits, 4)}
    for trigger, should, hits in ((True, False, 1), (True, True, 2), (False, False, 3), (False, True, 4))
]


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
    ],
    ids=["losses", "rates", "two_by_two", "counts", "leave_one_out", "projections", "before_after", "seeds"],
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
