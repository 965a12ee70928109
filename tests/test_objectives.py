"""The page of objectives says what the notebooks say, and every exercise and quiz question measures one."""

import re

import nbformat
import pytest
from conftest import ROOT

from helpers import exercises

PAGE = (ROOT / "notebooks" / "objectives.md").read_text(encoding="utf-8")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ROWS = re.findall(r"^\| \[(\d\d)\]\((\S+)\) \| (.+) \| (.+) \|$", PAGE, re.MULTILINE)

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def rows_of(path) -> list[tuple[str, str]]:
    """(objective, what shows it) of one notebook."""
    return [(goal, shown) for number, name, goal, shown in ROWS if number == path.name[:2] and name == path.name]


def text(path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def test_every_row_is_of_a_notebook():
    assert sum(len(rows_of(path)) for path in NOTEBOOKS) == len(ROWS)


@each_notebook
def test_the_objectives_are_those_of_the_notebook(path):
    listed = re.search(r"\*\*You will be able to\*\*\n\n((?:\d\. .+\n)+)", text(path))[1]
    goals = [re.sub(r"^\d\. ", "", line).rstrip(",.") for line in listed.splitlines()]
    opened = re.findall(r"^## Exercise 3, open: (.+)$", text(path), re.MULTILINE)
    assert [goal for goal, _ in rows_of(path)] == goals + ["go on alone"] * len(opened)
    assert [shown for goal, shown in rows_of(path) if goal == "go on alone"] == [f"open: {title}" for title in opened]


@each_notebook
def test_every_exercise_and_every_question_shows_an_objective(path):
    shown = " ".join(shown for _, shown in rows_of(path))
    named = [name for name, exercise in exercises.found().items() if exercise.notebook == path.name[:2]]
    assert sorted(re.findall(r"`(\w+)`", shown)) == sorted(named)
    assert sorted(re.findall(r"quiz (\d)", shown)) == ["1", "2", "3"]


def test_every_notebook_is_discussed():
    asked = " ".join(re.findall(r"^- ([\d, ]+):", PAGE, re.MULTILINE))
    assert set(re.findall(r"\d\d", asked)) == {path.name[:2] for path in NOTEBOOKS[1:]}
