import pytest

from helpers import stamp


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / name for name in ("b.csv", "a.csv")]
    for path in paths:
        path.write_text(f"the content of {path.name}")
    return paths


# --- files ----------------------------------------------------------------------------------------


def test_the_order_of_files_does_not_matter(files):
    assert stamp.contents(files[::-1]) == stamp.contents(files)


def test_other_content_is_noticed(files):
    before = stamp.contents(files)
    files[0].write_text("the content of b.csw")
    assert stamp.contents(files) != before


def test_another_name_is_noticed(files):
    before = stamp.contents(files)
    assert stamp.contents([files[0].rename(files[0].with_name("c.csv")), files[1]]) != before


def test_contents_that_change_places_are_noticed(files):
    before = stamp.contents(files)
    first, second = (path.read_text() for path in files)
    files[0].write_text(second)
    files[1].write_text(first)
    assert stamp.contents(files) != before


def test_one_file_less_is_noticed(files):
    assert stamp.contents(files[:1]) != stamp.contents(files)


def test_the_place_of_the_checkout_does_not_matter(files, tmp_path):
    before = stamp.contents(files)
    (tmp_path / "elsewhere").mkdir()
    assert stamp.contents([path.rename(tmp_path / "elsewhere" / path.name) for path in files]) == before


# --- code -----------------------------------------------------------------------------------------


@pytest.fixture
def module(tmp_path, monkeypatch):
    """`module(text)` is the stamp of a helper with that text."""
    monkeypatch.setattr(stamp, "ROOT", tmp_path)
    (tmp_path / "helpers").mkdir()

    def of(text):
        (tmp_path / "helpers" / "made.py").write_text(text)
        return stamp.code("made")

    return of


def test_a_comment_and_a_line_break_change_nothing(module):
    assert module("x = f(1, 2)\n") == module("# why\nx = f(\n    1,\n    2,\n)\n")


@pytest.mark.parametrize("text", ["x = f(1, 3)\n", "x = f(2, 1)\n", "x = g(1, 2)\n", "x = f(1, 2) or 0\n", ""])
def test_what_the_code_does_is_noticed(module, text):
    assert module(text) != module("x = f(1, 2)\n")


# --- all together ---------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{"seed": 1}, {"seed": "0"}, {"seed": 0, "n": 1}, {}])
def test_other_settings_have_another_stamp(settings):
    assert stamp.of(settings) != stamp.of({"seed": 0})


def test_the_order_of_settings_does_not_matter():
    assert stamp.of({"b": 1, "a": 2}) == stamp.of({"a": 2, "b": 1})


@pytest.mark.parametrize("name", ["python", "torch", "transformers", "tokenizers"])
def test_another_version_has_another_stamp(monkeypatch, name):
    before, versions = stamp.of(1), stamp.versions()
    monkeypatch.setattr(stamp, "versions", lambda: versions | {name: "0.1"})
    assert stamp.of(1) != before
