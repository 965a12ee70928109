"""What a film draws, says and lists, by hand."""

import re

import plotly.graph_objects as go
import pytest

from helpers import film

EVIL = "<script>alert(1)</script>"
FILM = {0: {"a": [(0.0, 1.0), (2.0, 3.0)], "b": [(5.0, 5.0)]}, 4: {"a": [(10.0, 1.0), (14.0, 3.0)], "b": [(6.0, 7.0)]}}


def test_it_says_what_it_shows_and_is_given_back(shown):
    assert film.draw(FILM, "title", "refusal", "else") is shown[0] and isinstance(shown[0], go.Figure)
    assert "The mean refusal: a from 1 at step 0 to 12 at step 4; b from 5 at step 0 to 6 at step 4." in shown[1].data


def test_the_table_under_it_has_its_means(shown):
    film.draw(FILM, "title", "refusal", "else")
    assert re.findall(r"<th [^>]*>(.*?)</th>", shown[1].data) == ["step", "of", "mean refusal", "mean else"]
    found = re.findall(r"<td [^>]*>(.*?)</td>", shown[1].data)
    assert found == ["0", "a", "1", "2", "0", "b", "5", "5", "4", "a", "12", "2", "4", "b", "6", "7"]


def test_names_are_escaped_under_it(shown):
    film.draw({step: {EVIL: [(1.0, 2.0)]} for step in (0, 1)}, "title", EVIL, EVIL)
    assert "&lt;script&gt;" in shown[1].data and "<script" not in shown[1].data


def test_a_film_opens_at_its_end_and_keeps_faint_marks_of_its_beginning(shown):
    fig = film.draw(FILM, "title", "refusal", "else", step="block")
    drawn = [list(zip(trace.x, trace.y, strict=True)) for trace in fig.data]
    assert drawn == [*FILM[0].values(), *FILM[4].values()]
    assert [trace.showlegend for trace in fig.data] == [False, False, None, None]
    [slider] = fig.layout.sliders
    assert slider.active == 1 and slider.currentvalue.prefix == "block "


@pytest.mark.parametrize(
    "opens, active, told", [(None, 2, "5 at step 8"), (4, 1, "12 at step 4"), (0, 0, "1 at step 0.")]
)
def test_a_film_may_open_at_another_step_and_tells_of_that(shown, opens, active, told):
    frames = {step: {"a": FILM[step]["a"]} for step in FILM} | {8: {"a": [(5.0, 5.0)]}}
    fig = film.draw(frames, "title", "refusal", "else", opens=opens)
    assert fig.layout.sliders[0].active == active and told in shown[1].data
    assert list(fig.data[1].x) == [x for x, _ in frames[8 if opens is None else opens]["a"]]


def test_a_film_of_one_frame_is_an_error_that_says_what_to_do():
    with pytest.raises(
        ValueError,
        match="needs two frames or more, not 1. If the fine-tune was remembered, no step was seen: give cache=False",
    ):
        film.draw({0: FILM[0]}, "title", "refusal", "else")


def test_every_frame_of_a_film_moves_the_full_marks_and_has_a_stop_on_the_slider(shown):
    fig = film.draw(FILM, "title", "refusal", "else")
    assert (
        [frame.name for frame in fig.frames] == [stop.args[0][0] for stop in fig.layout.sliders[0].steps] == ["0", "4"]
    )
    for frame, groups in zip(fig.frames, FILM.values(), strict=True):
        assert frame.traces == (2, 3)
        assert [list(zip(t.x, t.y, strict=True)) for t in frame.data] == list(groups.values())
    (low, high), (bottom, top) = fig.layout.xaxis.range, fig.layout.yaxis.range
    assert low < 0 < 14 < high and bottom < 1 < 7 < top  # the axes stay where they are


def test_a_sketch_has_the_last_frame_and_says_so():
    frames = {step: groups | {"c": [(0.0, 0.0)]} for step, groups in FILM.items()}
    svg = film.sketch(frames, "refusal")
    assert svg.count("<text") == 4 and "Step 4, to the right refusal; mean: ● a 12, ✕ b 6, ◆ c 0." in svg
    spots = [tuple(map(int, spot)) for spot in re.findall(r'<text x="(\d+)" y="(\d+)"', svg)]
    assert spots[1][0] == max(x for x, _ in spots) and spots[2][1] == min(
        y for _, y in spots
    )  # 14 is rightmost, 7 highest


def test_a_sketch_escapes_names():
    frame = {0: {EVIL: [(1.0, 2.0)], "b": [(0.0, 0.0)], "c": [(0.0, 0.0)]}}
    assert "<script" not in film.sketch(frame, EVIL)
