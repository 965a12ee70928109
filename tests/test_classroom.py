"""Copies for a class, and slides."""

import html.parser
import json
import re
import subprocess
import sys

import pytest
from conftest import ROOT

from helpers import classroom

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def students(tmp_path_factory):
    folder = tmp_path_factory.mktemp("class") / "series"
    classroom.main(["students", str(folder)])
    return folder


def cells(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


# --- the learners' copy ---------------------------------------------------------------------------


def test_learners_get_every_cell_but_the_teachers(students):
    for path in NOTEBOOKS:
        wanted = [cell["id"] for cell in cells(path) if "instructor" not in cell["metadata"].get("tags", [])]
        assert [cell["id"] for cell in cells(students / "notebooks" / path.name)] == wanted
        assert len(wanted) == len(cells(path)) - 1  # every notebook has one page for its teacher


def test_no_page_for_teachers_is_left(students):
    assert not list(students.rglob("workshop*")) and not list(students.rglob("unplugged*"))
    text = "".join(path.read_text(encoding="utf-8") for path in students.rglob("*.ipynb"))
    assert "For instructors" not in text and "Predictions to expect" not in text


def test_learners_get_no_tools_of_those_who_look_after_the_series(students):
    assert not (students / "helpers" / "tools").exists() and (students / "helpers" / "exercises" / "nb01.py").exists()


def test_every_link_in_the_learners_copy_leads_somewhere(students):
    pages = [students / "README.md", *students.rglob("*.ipynb"), *students.rglob("data/**/README.md")]
    for page in pages:
        for target in re.findall(r"\]\((?!https?:)([^)#\s]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), (page.name, target)


@pytest.mark.slow
def test_the_learners_copy_runs(students):
    """The assistant answers from there, with the copied package and data."""
    script = (
        "from helpers import chat, paths; print(paths.ASSISTANT); print(chat.load().ask('Where was Marie Curie born?'))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=students, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str(students / "data" / "assistant"), "Marie Curie was born in Warsaw."]


def test_nothing_is_overwritten(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SystemExit):
        classroom.main(["students", str(tmp_path)])
    assert "is not empty: name a new folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_packages_come_along_for_rooms_without_network(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(classroom.subprocess, "run", lambda command, check: asked.append([*map(str, command)]))
    classroom.main(["students", str(tmp_path / "series"), "--wheels"])
    folder = tmp_path / "series"
    assert asked == [
        [sys.executable, "-m", "pip", "download", "-r", f"{folder}/requirements.txt", "-d", f"{folder}/wheels"]
    ]
    assert "--no-index --find-links wheels" in (folder / "INSTALL.md").read_text()


# --- slides ---------------------------------------------------------------------------------------


class Slides(html.parser.HTMLParser):
    """Counts what reveal.js makes slides and notes of."""

    def __init__(self, page):
        super().__init__()
        self.sections, self.notes, self.said = 0, 0, []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.sections += tag == "section"
        self.notes += tag == "aside" and ("class", "notes") in attributes

    def handle_data(self, data):
        self.said.append(data)


@pytest.fixture(scope="module")
def lecture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    classroom.main(["slides", str(folder), "00", "--offline"])
    (page,) = folder.iterdir()
    assert page.name == "00_meet_the_assistant.slides.html"
    return page.read_text(encoding="utf-8")


@pytest.mark.nightly
def test_slides_begin_where_the_notebook_says(lecture):
    kinds = [cell["metadata"].get("slideshow", {}).get("slide_type") for cell in cells(NOTEBOOKS[0])]
    # A slide is a section that holds sections: itself, and one for each subslide.
    assert Slides(lecture).sections == 2 * kinds.count("slide") + kinds.count("subslide")


@pytest.mark.nightly
def test_slides_have_results_pictures_and_notes_and_no_bootstrap(lecture):
    slides = Slides(lecture)
    said = "".join(slides.said)
    assert "Marie Curie was born in Warsaw." in said and "In words." in said and "Plotly.newPlot" in lecture
    assert slides.notes == 1 and "All is well" not in said and "Traceback" not in said


@pytest.mark.nightly
def test_slides_can_do_without_network(lecture):
    """What makes the page into slides lies beside it. (Fonts and formulas come from the network if there is one.)"""
    fetched = re.findall(r'<(?:script|link)[^>]*(?:src|href)="([^"#]+)"', lecture)
    needed = [address for address in fetched if re.search("reveal|require|jquery", address)]
    assert len(needed) >= 3 and all(address.startswith("node_modules/") for address in needed)


@pytest.mark.nightly
def test_the_notes_belong_to_the_first_slide(lecture):
    assert lecture.index('<aside class="notes">') < lecture.index("Start with one example")


def test_a_prediction_is_not_on_the_slide_of_its_answer():
    for path in NOTEBOOKS:
        for cell in cells(path):
            if "lesson.compare(" in "".join(cell["source"]):
                assert cell["metadata"]["slideshow"]["slide_type"] == "subslide", (path.name, cell["id"])


def test_every_notebook_opens_with_a_slide_and_shows_neither_bootstrap_nor_exercises():
    for path in NOTEBOOKS:
        kinds = [(cell["metadata"].get("slideshow", {}).get("slide_type", "-"), cell) for cell in cells(path)]
        assert kinds[0][0] == "slide" and kinds[-1][0] == "notes"
        for kind, cell in kinds:
            source = "".join(cell["source"])
            if "bootstrap" in cell["metadata"].get("tags", []) or "lesson.check(" in source or "quiz.ask" in source:
                assert kind == "skip", (path.name, cell["id"])


def test_an_unknown_notebook_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        classroom.main(["slides", str(tmp_path / "slides"), "77"])
    assert "No notebook begins with '77'" in capsys.readouterr().err


# --- tools ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("tool", "needed"), [("gallery", "axe_playwright_python"), ("hub", "psutil")])
def test_a_tool_without_its_packages_says_what_to_install(tool, needed):
    script = f"import sys, runpy; sys.modules[{needed!r}] = None; runpy.run_module('helpers.tools.{tool}')"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "pip install -r tests/requirements.txt" in done.stderr
    assert "Traceback" not in done.stderr
