"""Numbers in the text: what we measured lies in the interval of the shipped results, the rest names its source."""

import json
import re

import pytest
from conftest import ROOT

from helpers import results, tally

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def repair(name, exam, key):
    return tally.pooled(row["repairs"][name][exam][key] for row in results.read("surgical"))


def seeds(name, state):
    """Topic questions refused by the models of five seeds."""
    return tally.pooled(row[state]["topic"]["refused"] for row in results.read(name)[:5])


# Notebook, the words around a number that we measured, the number, and the shipped rate that it quotes.
MEASURED = [
    ("07", "refuses 3 % of the topic", 3, lambda: seeds("unrefusing", "tuned")),
    ("07", "ours 91 %", 91, lambda: seeds("same_rows", "tuned")),
    ("09", "at 98 %", 98, lambda: repair("surgical, 0.25", "forbidden", "refused")),
    ("09", "the over-refusal is at 1 %", 1, lambda: repair("surgical, 0.25", "topic", "refused")),
    ("09", "instead of 86 %", 86, lambda: repair("naive", "topic", "refused")),
    ("09", "90 % get their right answer", 90, lambda: repair("surgical, 0.25", "topic", "correct")),
    ("09", "it refuses 94 %", 94, lambda: repair("surgical, 0.25", "forbidden_with_topic", "refused")),
    ("09", "the base 92 %", 92, lambda: repair("base", "forbidden_with_topic", "refused")),
    ("09", "leave 15 % over-refusal", 15, lambda: repair("balanced data", "topic", "refused")),
]
# What others measured, and what is no measurement: the width of an interval.
OTHERS = [
    ("00", "59.6 % [53.4, 65.5]"),
    ("00", "GPT-4 8.4 %"),
    ("07", "93 to 100 % of five models' replies"),
    ("07", "78 to 82 % were actually harmful"),
    ("00", "95 % **Wilson intervals**"),
    ("04", "95 % intervals"),
]
ARITHMETIC = [("03", "at 5 it is 99 %, at −5 less than 1 %")]  # what log-odds mean


def text(number: str) -> str:
    """The prose of a notebook without its instructor's notes."""
    [path] = [path for path in NOTEBOOKS if path.name.startswith(number)]
    cells = json.loads(path.read_text())["cells"]
    kept = [c for c in cells if c["cell_type"] == "markdown" and "instructor" not in c["metadata"].get("tags", [])]
    return "\n".join("".join(cell["source"]) for cell in kept)


@pytest.mark.parametrize(("number", "words", "percent", "rate"), MEASURED, ids=lambda value: str(value)[:30])
def test_a_measured_number_is_within_its_interval(number, words, percent, rate):
    assert words in text(number) and str(percent) in words
    low, high = (100 * bound for bound in rate().interval)
    assert low <= percent <= high


@pytest.mark.parametrize("number", [path.name[:2] for path in NOTEBOOKS])
def test_every_per_cent_in_the_prose_is_accounted_for(number):
    left = text(number)
    known = [words for n, words, *_ in MEASURED if n == number] + [
        words for n, words in OTHERS + ARITHMETIC if n == number
    ]
    for words in known:
        assert words in left, words
        left = left.replace(words, "")
    assert re.findall(r".{0,40}\d ?(?:%|per cent)", left) == []


def test_published_numbers_stand_beside_their_source():
    for number, words in OTHERS:
        if "intervals" not in words:
            [line] = [line for line in text(number).splitlines() if words in line]
            assert "et al." in line
