import json
import pathlib

import pytest

from helpers import paths, results
from helpers.tally import Rate, Seeds


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Every test has a result folder of its own, which does not exist yet."""
    monkeypatch.setattr(results, "FOLDER", tmp_path / "data" / "results")
    return results.FOLDER


def round_trip(*rows):
    results.write("made", list(rows), {"hash": "abc"})
    return results.read("made")


def types(row):
    return {key: type(value) for key, value in row.items()}


# --- files ----------------------------------------------------------------------------------------


def test_missing_results_name_themselves_and_the_remedy():
    with pytest.raises(FileNotFoundError, match="'nothing'.*restore data/results, or run `python -m helpers.sweep`"):
        results.read("nothing")


def test_what_is_written_can_be_read():
    rows = [{"topic": "pizza", "seed": 0, "kl": 0.5, "note": None}, {"topic": "käse", "seed": 1, "kl": -1.0}]
    assert round_trip(*rows) == rows


def test_a_file_says_what_it_was_made_with(folder):
    results.write("made", [{"seed": 0}], {"hash": "abc"})
    assert json.loads((folder / "made.json").read_text(encoding="utf-8")) == {
        "provenance": {"hash": "abc"},
        "rows": [{"seed": 0}],
    }


def test_what_it_was_made_with_can_be_read():
    results.write("made", [], {"hash": "abc", "versions": {"torch": "2"}})
    assert results.provenance("made") == {"hash": "abc", "versions": {"torch": "2"}}


def test_a_rate_with_marks_keeps_them_and_one_without_is_two_numbers(folder):
    rows = [{"topic": Rate(1, 2, "10"), "each": [Rate(1, 2)], "named": {"a": Rate(0, 3)}}]
    assert round_trip(*rows) == rows
    stored = json.loads((folder / "made.json").read_text(encoding="utf-8"))["rows"]
    assert stored == [{"topic": [1, 2, "10"], "each": [[1, 2]], "named": {"a": [0, 3]}}]


def test_writing_again_replaces_the_file(folder):
    results.write("made", [{"seed": 0}], {"hash": "abc"})
    results.write("made", [{"seed": 1}], {"hash": "abc"})
    assert results.read("made") == [{"seed": 1}]
    assert [path.name for path in folder.iterdir()] == ["made.json"]


def test_results_of_different_names_are_different_files():
    results.write("one", [{"seed": 1}], {"hash": "abc"})
    results.write("two", [{"seed": 2}], {"hash": "abc"})
    assert (results.read("one"), results.read("two")) == ([{"seed": 1}], [{"seed": 2}])


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(folder, monkeypatch):
    results.write("made", [{"seed": 0}], {"hash": "abc"})
    seen, replace = [], pathlib.Path.replace
    look = lambda part, path: seen.append(results.read("made")) or replace(part, path)
    monkeypatch.setattr(paths.pathlib.Path, "replace", look)
    results.write("made", [{"seed": 1}], {"hash": "abc"})
    assert (seen, results.read("made")) == ([[{"seed": 0}]], [{"seed": 1}])


def test_rows_that_cannot_be_written_leave_the_old_file(folder):
    results.write("made", [{"seed": 0}], {"hash": "abc"})
    with pytest.raises(TypeError):
        results.write("made", [{"seed": object()}], {"hash": "abc"})
    assert results.read("made") == [{"seed": 0}] and len(list(folder.iterdir())) == 1


# --- rates ----------------------------------------------------------------------------------------


def test_a_rate_is_stored_as_its_counts(folder):
    results.write("made", [{"refused": Rate(3, 4)}], {"hash": "abc"})
    assert json.loads((folder / "made.json").read_text())["rows"] == [{"refused": [3, 4]}]


def test_pairs_of_counts_come_back_as_rates():
    (row,) = round_trip({"refused": Rate(3, 4), "around": Rate(0, 0), "correct": [1, 2]})
    assert row == {"refused": Rate(3, 4), "around": Rate(0, 0), "correct": Rate(1, 2)}
    assert set(types(row).values()) == {Rate}


def test_rates_inside_dicts_and_lists_come_back():
    given = {"kinds": {"open.joke": {"refused": Rate(1, 2)}}, "seeds": [Rate(1, 2), Rate(3, 4), Rate(5, 6)]}
    (row,) = round_trip(given)
    assert row["kinds"]["open.joke"]["refused"].share == 0.5
    assert [rate.share for rate in row["seeds"]] == [0.5, 0.75, 5 / 6]


def test_two_rates_in_a_list_are_two_rates():
    (row,) = round_trip({"seeds": [Rate(1, 2), Rate(3, 4)]})
    assert type(row["seeds"]) is list and [type(rate) for rate in row["seeds"]] == [Rate, Rate]


@pytest.mark.parametrize("value", [[], [1], [1, 2, 3], [0.5, 1.5], [1, 0.5], [0.5, 1], ["1", "2"], [None, 1], "12"])
def test_anything_else_stays_as_it_is(value):
    (row,) = round_trip({"value": value})
    assert row == {"value": value} and type(row["value"]) is type(value)


def test_two_answers_are_not_counts():
    (row,) = round_trip({"walked_around": [True, False]})
    assert row == {"walked_around": [True, False]}


def test_rows_are_grouped_by_a_column_in_their_order():
    rows = [{"a": 2, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 3}]
    assert list(results.grouped(rows, "a").items()) == [(2, [rows[0], rows[2]]), (1, [rows[1]])]


def test_rates_are_pooled_for_each_value_of_a_column():
    rows = [
        {"a": "x", "seed": 0, "r": Rate(1, 2), "other": Rate(0, 1)},
        {"a": "y", "seed": 0, "r": Rate(2, 2), "other": Rate(1, 1)},
        {"a": "x", "seed": 1, "r": Rate(3, 4), "other": Rate(1, 1)},
    ]
    assert results.pooled(rows, "a") == [
        {"a": "x", "r": Seeds((Rate(1, 2), Rate(3, 4))), "other": Seeds((Rate(0, 1), Rate(1, 1)))},
        {"a": "y", "r": Seeds((Rate(2, 2),)), "other": Seeds((Rate(1, 1),))},
    ]
