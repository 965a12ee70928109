"""Doors whose state is known by construction: what is drawn, said and listed."""

import re

import pytest

from helpers import maze
from helpers.tally import Rate, Seeds

# What walks around: most, a part, hardly any, none; what the base reads: all of it, but for one.
AROUND = {
    "open one": (9, 10),
    "half": (5, 10),
    "a tenth": (1, 10),
    "shut <b>": (0, 10),
    "unread": (9, 10),
    "no wall": (0, 0),
}
READ = dict.fromkeys(AROUND, (10, 10)) | {"half": (5, 10), "unread": (4, 10)}
STATES = ["open", "open", "ajar", "shut", "boarded up", "not needed"]


def model(around=AROUND, read=READ):
    found = {name: {"refused": Rate(rate[1], 10), "around": Rate(*rate)} for name, rate in around.items()}
    return found, {name: {"correct": Rate(*rate)} for name, rate in read.items()}


def doors(html) -> list[str]:
    return re.findall(r"<figure>.*?</figure>", html)


def leaf(door) -> list[tuple[float, float]]:
    """The four corners of a door's leaf; none if there is no leaf."""
    found = re.search(r'<polygon points="([^"]*)"', door)
    return [tuple(map(float, corner.split(","))) for corner in found[1].split()] if found else []


def test_every_door_says_what_it_is():
    html = maze.draw_html({"naive": model()}, "title")
    captions = [re.sub("<[^>]*>", "|", door.split("<figcaption>")[1]) for door in doors(html)]
    assert [caption.split("|")[2] for caption in captions] == STATES
    assert [caption.split("|")[4] for caption in captions] == ["90 %", "50 %", "10 %", "0 %", "90 %", "–"]
    assert "naive</b>: 2 of 6 doors open" in html
    assert "naive, 2 of 6 doors open: open one open, half open, a tenth ajar," in html


def test_a_door_is_as_far_open_as_questions_are_freed():
    """Its free edge, from shut at the far side of the frame to open near the hinge; a boarded one is shut."""
    edges = [leaf(door)[1][0] for door in doors(maze.draw_html({"naive": model()}, "title")) if leaf(door)]
    wide_open, half, tenth, shut, boarded = edges
    assert 10 < wide_open < half < tenth < shut == boarded == 70
    assert leaf(doors(maze.draw_html({"naive": model({"no wall": (0, 0)})}, "title"))[0]) == []


def test_only_what_the_base_cannot_read_is_boarded_up():
    planks = [door.count("<polyline") > 0 for door in doors(maze.draw_html({"naive": model()}, "title"))]
    assert planks == [state == "boarded up" for state in STATES]


@pytest.mark.parametrize(
    "refused, around, read, said",
    [
        ((10, 100), (5, 10), (50, 100), "open"),
        ((100, 100), (49, 100), (50, 100), "ajar"),
        ((100, 100), (10, 100), (50, 100), "ajar"),
        ((100, 100), (9, 100), (50, 100), "shut"),
        ((100, 100), (100, 100), (49, 100), "boarded up"),
        ((9, 100), (0, 9), (100, 100), "not needed"),
        ((0, 0), (0, 0), (0, 100), "not needed"),
    ],
)
def test_where_one_state_ends_and_the_next_begins(refused, around, read, said):
    assert maze.state(Rate(*refused), Rate(*around), Rate(*read)) == said


def test_where_nothing_is_refused_no_door_is_needed():
    html = maze.draw_html(
        {"freed": model({"no wall": (0, 0), "nor here": (0, 0)}, dict.fromkeys(["no wall", "nor here"], (10, 10)))},
        "title",
    )
    assert "freed</b>: no door is needed" in html and "doors open" not in html


def test_several_seeds_are_one_door():
    refused, around = Seeds.of([Rate(10, 10)] * 2), Seeds.of([Rate(0, 10), Rate(10, 10)])
    found = {"typo": {"refused": refused, "around": around}}, {"typo": {"correct": Seeds.of([Rate(10, 10)])}}
    html = maze.draw_html({"two": found}, "title")
    assert "50 %" in html and "1 of 1 doors open" in html and "2 seeds, n = 20" in html


def test_the_table_has_a_row_for_each_door_of_each_model_and_names_are_escaped():
    html = maze.draw_html({"naive": model(), "<i>other": model()}, "<i>title")
    cells = re.findall(r"<td [^>]*>(.*?)</td>", html)
    assert (
        len(cells) == 6 * 12
        and cells[:3] == ["naive", "open one", "open"]
        and cells[42:44] == ["&lt;i&gt;other", "half"]
    )
    assert "<i>" not in html and "shut <b>" not in html and "shut &lt;b&gt;" in html


def test_pictures_are_no_news_to_a_screen_reader_and_small():
    html = maze.draw_html({str(i): model() for i in range(3)}, "title")
    assert html.count('aria-hidden="true"') == html.count("<svg") == 18
    assert len(html) < 60_000


def test_no_model_is_an_error_that_says_what_to_do():
    with pytest.raises(ValueError, match="give at least one model"):
        maze.draw_html({}, "title")
