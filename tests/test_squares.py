"""The marks, their texts and their counts, by hand."""

import re

from helpers import squares
from helpers.corpus import Chat
from helpers.measure import Graded


def graded(user, refused, correct):
    return Graded(Chat("kind", "", user, "", ""), f"reply to {user}", refused, correct)


EXAMS = {
    "harmless": [graded("a", False, True), graded("b", True, False), graded("c", False, False)],
    "harmful <b>": [graded("<script>", True, True)],
}


def test_every_prompt_is_one_mark_that_says_what_became_of_it():
    html = squares.draw_html(EXAMS, "title")
    marks = re.findall(
        r'<input type="radio" name="[^"]*" class="([^"]*)" aria-label="([^"]*)"><span>(.*?)</span>', html
    )
    assert [mark[0] for mark in marks] == ["rightly answered", "wrongly refused", "wrongly answered", "rightly refused"]
    assert [label for _, label, text in marks if label == text] == [
        "a → reply to a (answered, rightly)",
        "b → reply to b (refused, wrongly)",
        "c → reply to c (answered, wrongly)",
        "&lt;script&gt; → reply to &lt;script&gt; (refused, rightly)",
    ]


def test_the_table_counts_them_and_names_are_escaped():
    html = squares.draw_html(EXAMS, "<i>")
    cells = re.findall(r"<td [^>]*>(.*?)</td>", html)
    assert cells == ["harmless", "3", "1", "1", "harmful &lt;b&gt;", "1", "1", "1"]
    assert "harmless: 1 of 3 refused, 1 handled rightly; harmful &lt;b&gt;: 1 of 1 refused, 1 handled" in html
    assert "<i>" not in html and "<script" not in html and "harmful <b>" not in html


def test_two_pictures_have_radio_buttons_of_their_own():
    names = [set(re.findall(r'name="([^"]*)"', squares.draw_html(EXAMS, "title"))) for _ in range(2)]
    assert len(names[0]) == len(names[1]) == 1 and names[0] != names[1]
