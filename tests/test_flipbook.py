"""The flip book, on a bot that refuses whatever holds the word “bear”, the more the shorter it is."""

import pytest
import torch

from helpers import flipbook, show


class Fake:
    def ask(self, prompt):
        return "No." if "bear" in prompt.split() else f"You said: {prompt}"

    def refused(self, reply):
        return reply == "No."

    def refusal_logodds(self, prompts):
        return torch.tensor([(1 if "bear" in p.split() else -1) * 12.0 / len(p.split()) for p in prompts])


@pytest.fixture
def book():
    return flipbook.FlipBook(Fake(), "Where does the bear live?")


@pytest.mark.parametrize(
    "before, after, count",
    [
        ("a b c", "a b c", 0),
        ("a b c", "a x c", 1),
        ("a b c", "a c", 1),
        ("a b c", "b c", 1),
        ("a b c", "a b", 1),
        ("a c", "a b c", 1),
        ("a b", "x a b", 1),
        ("a a", "a", 1),
        ("a", "a a a", 2),
        ("a b c", "x b y", 3),
        ("a b", "b a", 2),
        ("a b c", "z", 3),
        ("", "a", 1),
    ],
)
def test_how_many_words_were_changed(before, after, count):
    assert flipbook.changed(before, after) == flipbook.changed(after, before) == count


def test_a_page_keeps_what_the_bot_said_and_how_far_it_leaned(book):
    book.turn("Where does the bear")
    assert book.pages[1] == ("Where does the bear", "No.", True, 3.0)
    book.turn("Where does the cat")
    assert book.pages[2] == ("Where does the cat", "You said: Where does the cat", False, -3.0)


def test_two_words_at_a_time_are_one_too_many_and_nothing_is_lost(book):
    with pytest.raises(ValueError, match="between the page before and this one 2 differ"):
        book.turn("Where does a cat live?")
    assert len(book.pages) == 1
    book.turn("Where does a bear live?")  # compared with the last page that was turned to
    assert len(book.pages) == 2


def test_the_same_words_make_no_new_page(book):
    book.turn("  Where does the bear   live? ")
    assert len(book.pages) == 1


def test_nothing_is_no_page(book):
    with pytest.raises(ValueError, match="No word is left"):
        book.turn("  ")


def test_the_shortest_is_the_first_of_the_fewest_words_among_the_refused():
    book = flipbook.FlipBook(Fake(), "Is it cold?")
    assert book.shortest is None
    for prompt in ("Is it bear", "Is bear", "A bear", "A cat", "cat"):
        book.turn(prompt)
    assert book.shortest.prompt == "Is bear"


@pytest.mark.parametrize("value, place", [(0, 50), (5, 75), (-5, 25), (10, 100), (99, 100), (-99, 0)])
def test_the_needle_stays_on_its_scale_and_the_number_beside_it(value, place):
    html = show.gauge_html(value)
    assert f"left:{place}%;width:4px" in html and f"{value:+.1f}" in html
