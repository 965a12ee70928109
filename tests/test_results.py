import json

import pytest

from helpers import results
from helpers.measure import Rate


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Every test has a result folder of its own, which does not exist yet."""
    monkeypatch.setattr(results, "FOLDER", tmp_path / "data" / "results")
    return results.FOLDER


def round_trip(*rows):
    results.write("made", list(rows), "abc")
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
    results.write("made", [{"seed": 0}], "abc")
    assert json.loads((folder / "made.json").read_text(encoding="utf-8")) == {
        "provenance": "abc",
        "rows": [{"seed": 0}],
    }


def test_writing_again_replaces_the_file(folder):
    results.write("made", [{"seed": 0}], "abc")
    results.write("made", [{"seed": 1}], "abc")
    assert results.read("made") == [{"seed": 1}]
    assert [path.name for path in folder.iterdir()] == ["made.json"]


def test_results_of_different_names_are_different_files():
    results.write("one", [{"seed": 1}], "abc")
    results.write("two", [{"seed": 2}], "abc")
    assert (results.read("one"), results.read("two")) == ([{"seed": 1}], [{"seed": 2}])


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(folder, monkeypatch):
    results.write("made", [{"seed": 0}], "abc")
    seen, replace = [], results.os.replace
    monkeypatch.setattr(results.os, "replace", lambda *paths: seen.append(results.read("made")) or replace(*paths))
    results.write("made", [{"seed": 1}], "abc")
    assert (seen, results.read("made")) == ([[{"seed": 0}]], [{"seed": 1}])


def test_rows_that_cannot_be_written_leave_the_old_file(folder):
    results.write("made", [{"seed": 0}], "abc")
    with pytest.raises(TypeError):
        results.write("made", [{"seed": object()}], "abc")
    assert results.read("made") == [{"seed": 0}] and len(list(folder.iterdir())) == 1


# --- rates ----------------------------------------------------------------------------------------


def test_a_rate_is_stored_as_its_counts(folder):
    results.write("made", [{"refused": Rate(3, 4)}], "abc")
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


# --- what it was made with ------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / name for name in ("b.py", "a.csv")]
    for path in paths:
        path.write_text(f"the content of {path.name}")
    return paths


def test_two_answers_are_not_counts():
    (row,) = round_trip({"walked_around": [True, False]})
    assert row == {"walked_around": [True, False]}


def test_the_same_files_and_settings_have_the_same_provenance(files):
    assert results.provenance(files, {"seed": 0}) == results.provenance(list(files), {"seed": 0})


def test_the_order_of_files_and_settings_does_not_matter(files):
    assert results.provenance(files[::-1], {"b": 1, "a": 2}) == results.provenance(files, {"a": 2, "b": 1})


def test_other_content_has_another_provenance(files):
    before = results.provenance(files, {})
    files[0].write_text("the content of b.px")
    assert results.provenance(files, {}) != before


def test_another_name_has_another_provenance(files):
    before = results.provenance(files, {})
    assert results.provenance([files[0].rename(files[0].with_name("c.py")), files[1]], {}) != before


def test_contents_that_change_places_have_another_provenance(files):
    before = results.provenance(files, {})
    first, second = (path.read_text() for path in files)
    files[0].write_text(second)
    files[1].write_text(first)
    assert results.provenance(files, {}) != before


@pytest.mark.parametrize("settings", [{"seed": 1}, {"seed": "0"}, {"seed": 0, "n": 1}, {}])
def test_other_settings_have_another_provenance(files, settings):
    assert results.provenance(files, settings) != results.provenance(files, {"seed": 0})


def test_one_file_less_has_another_provenance(files):
    assert results.provenance(files[:1], {}) != results.provenance(files, {})


def test_the_place_of_the_checkout_does_not_matter(files, tmp_path):
    before = results.provenance(files, {})
    (tmp_path / "elsewhere").mkdir()
    assert results.provenance([path.rename(tmp_path / "elsewhere" / path.name) for path in files], {}) == before


# --- several runs ---------------------------------------------------------------------------------


def test_pooled_rates_add_their_counts_and_not_their_shares():
    assert tally.pooled(rate for rate in (Rate(1, 1), Rate(2, 9))) == Rate(3, 10)


def test_nothing_pooled_is_no_cases():
    assert str(tally.pooled([])) == "no cases"


def test_doses_come_in_ascending_order_with_all_their_runs():
    runs = [{"dose": dose, "r": Rate(hits, 9)} for dose, hits in ((100, 1), (9, 2), (20, 3), (9, 4))]
    found = tally.by_dose(runs, "dose", lambda run: run["r"].hits)
    assert list(found.items()) == [(9, [2, 4]), (20, [3]), (100, [1])]


def test_the_spread_is_the_standard_deviation_of_the_shares():
    """Shares 0.2, 0.4 and 0.9 around 0.5: the root of (0.09 + 0.01 + 0.16) / 3."""
    assert tally.spread([Rate(1, 5), Rate(4, 10), Rate(9, 10)]) == pytest.approx((0.26 / 3) ** 0.5)


def test_one_run_has_no_spread():
    assert tally.spread([Rate(1, 4)]) == 0
