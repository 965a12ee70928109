import re

import pytest

from helpers import show
from helpers.tally import Rate

EVIL = """<script>alert("it's me")</script>"""
SAFE = "&lt;script&gt;alert(&quot;it&#x27;s me&quot;)&lt;/script&gt;"


def cells(html):
    return re.findall(r"<td [^>]*>(.*?)</td>", html)


def heads(html):
    return re.findall(r"<th [^>]*>(.*?)</th>", html)


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


def test_every_value_stands_under_its_own_head():
    made = show.table_html([{"a": 1, "b": "x"}, {"b": "y", "c": None}])
    assert heads(made) == ["a", "b", "c"] and cells(made) == ["1", "x", "", "", "y", ""]


def test_a_value_that_is_neither_text_nor_number_is_escaped_too():
    class Evil:
        __str__ = lambda self: EVIL

    assert SAFE in show.table_html([{"a": Evil()}]) and EVIL not in show.table_html([{"a": Evil()}])


def test_a_table_of_nothing_says_so():
    assert show.table_html([], caption=EVIL) == f"<p>{SAFE}: nothing to show.</p>"


def test_table_displays_its_html(shown):
    show.table([{"a": 1}], "numbers")
    without_ids = lambda made: re.sub(r"T_\w{5}", "", made)  # every table has one of its own
    assert [without_ids(piece.data) for piece in shown] == [without_ids(show.table_html([{"a": 1}], "numbers"))]


# --- tokens ---------------------------------------------------------------------------------------


def tokens(made) -> list[tuple[str, str]]:
    """When each token appears, and what it looks like."""
    return re.findall(r'<span style="animation-delay:([\d.]+)s">(.*?)</span>', made)


def test_brackets_stand_on_the_counted_tokens_and_nowhere_else():
    made = show.supervised_html(["Hi", " there", "Hello", "!"], [0, 0, 1, 1])
    assert [token for _, token in tokens(made)] == ["Hi", "·there", "<u><b>[Hello]</b></u>", "<u><b>[!]</b></u>"]
    assert "counts 2 of 4 tokens" in made


def test_the_tokens_appear_one_after_the_other_if_motion_is_wanted():
    made = show.supervised_html(["Hi", " there", "Hello"], [0, 0, 1])
    assert [float(delay) for delay, _ in tokens(made)] == [0, show.PACE, 2 * show.PACE]
    assert "@media (prefers-reduced-motion: no-preference) {.tokens span {animation" in made


@pytest.mark.parametrize("mask", [[0, 0, 0], [1, 1, 1], [1, 0, 1], [0, 1, 0]])
def test_the_brackets_follow_the_mask(mask):
    made = show.supervised_html(["a", "b", "c"], mask)
    assert [token.startswith("<u><b>[") for _, token in tokens(made)] == [bool(counts) for counts in mask]


def test_tokens_are_escaped_and_new_lines_are_visible():
    made = show.supervised_html([EVIL, "\n"], [1, 0])
    assert SAFE.replace(" ", "·") in made and "<script" not in made and "⏎" in made.split("</p>")[0]


# --- replies --------------------------------------------------------------------------------------


class Parrot:
    def ask(self, prompts, max_new_tokens):
        return [f"{prompt} {prompt}"[:max_new_tokens] for prompt in prompts]


def test_a_reply_can_be_cut_short(shown):
    show.replies({"parrot": Parrot()}, ["Hello"], 3)
    assert "Hel<" in shown[0].data and "Hello H" not in shown[0].data


def test_replies_stand_beside_their_prompts_and_are_escaped(shown):
    show.replies({"parrot": Parrot()}, ["Hello", EVIL], 1000)
    (made,) = [piece.data for piece in shown]
    assert re.findall(r"<td [^>]*>(.*?)</td>", made) == ["Hello", "Hello Hello", SAFE, f"{SAFE} {SAFE}"]


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


def test_strips_can_share_their_darkest_colour():
    strong, weak = (numbered(show.strip_html(["a"], [value], "activation", 10.0)) for value in (20.0, 1.0))
    assert (strong[0][1], weak[0][1]) == ("1.00", "0.10")


def test_a_strip_of_zeros_has_no_colour():
    assert {(depth, number) for _, depth, _, number in numbered(show.strip_html(["a", "b"], [0.0, 0.0], "c"))} == {
        ("0.00", "0.0")
    }


@pytest.mark.parametrize(
    "values, words",
    [
        ([1.0, 3.0, -9.0], "2 of 3, “·you” (3.0)"),
        ([-1.0, -3.0, -9.0], "1 of 3, “Hi” (-1.0)"),
        ([0, 0, 5.0], "3 of 3, “!” (5.0)"),
    ],
)
def test_a_strip_says_where_it_is_highest(values, words):
    made = show.strip_html(["Hi", " you", "!"], values, "activation")
    assert f"<b>In words.</b> Highest at token {words}." in made


@pytest.mark.parametrize("token", ["\n", " "])
def test_a_strip_names_its_highest_token_even_if_it_is_white_space(token):
    assert "“”" not in show.strip_html(["Hi", token], [1.0, 2.0], "activation")


def test_a_strip_escapes_tokens_and_caption():
    made = show.strip_html([EVIL, "b"], [1.0, 0.0], EVIL)
    assert "<script" not in made and made.count(SAFE) == 1 and made.count(SAFE.replace(" ", "·")) == 2


def test_strip_displays_its_html(shown):
    show.strip(["a"], [1.0], "activation")
    assert [piece.data for piece in shown] == [show.strip_html(["a"], [1.0], "activation")]


def test_a_strip_of_equal_values_has_no_highest_token():
    found = show.strip_html(["a", "b"], [2.0, 2.0], "caption")
    assert "All 2 tokens have the same value, 2.0." in found and "Highest" not in found


def test_a_token_without_a_value_is_an_error_and_not_left_out():
    with pytest.raises(ValueError):
        show.strip_html(["a", "b"], [1.0], "caption")
    with pytest.raises(ValueError):
        show.supervised_html(["a", "b"], [1])


def test_a_bar_is_as_long_as_its_rate_and_no_cases_have_none():
    found = show.bars_html({"half": Rate(1, 2), "all": Rate(3, 3), "none": Rate(0, 0)}, "title")
    assert [int(width) for width in re.findall(r"width:(\d+)px;height", found)] == [100, 200, 0]
    assert "no cases" in found and "nan" not in found
