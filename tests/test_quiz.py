"""The quizzes themselves, and how they are shown, answered and graded."""

import json
import re
import sys
import types

import ipywidgets
import pytest

from helpers import quiz

NAMES = [f"{number:02}" for number in range(11)]
EVIL = """<script>alert("it's me")</script>"""
SAFE = "&lt;script&gt;alert(&quot;it&#x27;s me&quot;)&lt;/script&gt;"

each_quiz = pytest.mark.parametrize("name", NAMES)


def key(name) -> str:
    """The right letters of a quiz."""
    return "".join(
        choice["label"][-1] for question in quiz.read(name) for choice in question["choices"] if choice["right"]
    )


def all_questions():
    return [question for name in NAMES for question in quiz.read(name)]


def all_choices():
    return [choice for question in all_questions() for choice in question["choices"]]


def all_texts():
    return [q["question"] for q in all_questions()] + [c[part] for c in all_choices() for part in ("text", "reason")]


def verdicts(printed) -> list[str]:
    """What was printed, one line a verdict."""
    return re.sub(r"\n +", " ", printed).splitlines()


@pytest.fixture
def notebook(monkeypatch):
    """A notebook that collects what it displays."""
    shown = []
    monkeypatch.setattr(quiz, "get_ipython", lambda: types.SimpleNamespace(kernel="a kernel"))
    monkeypatch.setattr(quiz, "display", lambda piece, raw=False: shown.append(piece))
    return shown


@pytest.fixture
def evil(tmp_path, monkeypatch):
    """A quiz full of markup, called "evil"."""
    choices = [{"text": EVIL, "right": right, "reason": EVIL} for right in (True, False)]
    content = {"questions": [{"question": EVIL, "choices": choices}]}
    (tmp_path / "evil.json").write_text(json.dumps(content), encoding="utf-8")
    monkeypatch.setattr(quiz, "FOLDER", tmp_path)


def panels(shown):
    """(radio buttons, verdict) of each question."""
    return [piece.children for piece in shown if isinstance(piece, ipywidgets.VBox)]


# --- the files ------------------------------------------------------------------------------------


def test_there_is_a_file_for_each_quiz():
    assert sorted(path.name for path in quiz.FOLDER.iterdir()) == [f"{name}.json" for name in NAMES]


@each_quiz
def test_a_quiz_is_well_formed(name):
    content = json.loads((quiz.FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    assert set(content) == {"questions"} and len(content["questions"]) == 3
    for question in content["questions"]:
        assert set(question) == {"question", "choices"}
        assert question["question"].endswith("?")
        assert 3 <= len(question["choices"]) <= 4
        assert sum(choice["right"] for choice in question["choices"]) == 1
        for choice in question["choices"]:
            assert set(choice) == {"text", "right", "reason"}
            assert isinstance(choice["right"], bool)


def test_every_text_is_a_finished_sentence_in_portable_characters():
    for text in all_texts():
        assert text == " ".join(text.split()) and text.isascii() and text.isprintable()
        assert text[-1] in '.?"', text


def test_choices_and_reasons_and_questions_are_distinct():
    assert len({question["question"] for question in all_questions()}) == len(all_questions())
    assert len({choice["reason"] for choice in all_choices()}) == len(all_choices())
    for question in all_questions():
        assert len({choice["text"] for choice in question["choices"]}) == len(question["choices"])


def test_questions_are_short_and_contain_no_measured_figures():
    for text in all_texts():
        assert len(text.split()) <= 45, text
        assert not re.search(r"\d *%|\d{2}|\d\.\d|all of the above|none of the above", text), text


def test_the_position_of_the_right_answer_tells_nothing():
    keys = [key(name) for name in NAMES]
    assert len(set(keys)) == len(keys)
    everything = "".join(keys)
    assert all(6 <= everything.count(letter) <= 12 for letter in "abc")
    assert all(len(set(letters)) > 1 for letters in keys)


@pytest.mark.parametrize("best", [max, min])
def test_the_length_of_the_right_answer_tells_nothing(best):
    found = [best(question["choices"], key=lambda choice: len(choice["text"])) for question in all_questions()]
    assert sum(choice["right"] for choice in found) <= len(found) / 2


def test_reasons_do_not_name_letters():
    """Else a choice could not be moved."""
    assert not any(re.search(r"\b(?:choice|answer|option) [a-d1-4]\b", text, re.IGNORECASE) for text in all_texts())


# --- without buttons ------------------------------------------------------------------------------


@each_quiz
def test_the_key_is_right_and_every_other_letter_is_not_yet(name, capsys):
    right = key(name)
    quiz.ask(name, right)
    lines = verdicts(capsys.readouterr().out)
    assert [line.split(".")[0] for line in lines] == [f"{n}{letter} RIGHT" for n, letter in enumerate(right, 1)]
    for number, question in enumerate(quiz.read(name), 1):
        for choice in question["choices"]:
            letters = list(right)
            letters[number - 1] = choice["label"][-1]
            quiz.ask(name, "".join(letters))
            said = verdicts(capsys.readouterr().out)[number - 1]
            verdict = "RIGHT" if choice["right"] else "NOT YET"
            assert said == f"{choice['label']} {verdict}. {choice['reason']}"


def test_letters_may_be_capitals_and_spaced(capsys):
    quiz.ask("03", "abc")
    expected = capsys.readouterr().out
    quiz.ask("03", " A b\tC ")
    assert capsys.readouterr().out == expected


def test_outside_a_notebook_the_questions_are_printed(capsys, monkeypatch):
    monkeypatch.setattr(quiz, "get_ipython", lambda: None)
    quiz.ask("03")
    assert_questions_without_answers("03", capsys.readouterr().out)


def test_without_ipywidgets_the_questions_are_printed(notebook, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    quiz.ask("03")
    assert notebook == []
    assert_questions_without_answers("03", capsys.readouterr().out)


def assert_questions_without_answers(name, text):
    text = " ".join(text.split())
    for question in quiz.read(name):
        assert f"{question['number']}. {question['question']}" in text
        for choice in question["choices"]:
            assert f"{choice['label']} {choice['text']}" in text
            assert choice["reason"] not in text
    assert "RIGHT" not in text and "NOT YET" not in text
    assert f'Answer with one letter a question, for example quiz.ask("{name}", "aaa").' in text


def test_the_example_is_no_spoiler():
    assert not any(key(name) == "aaa" for name in NAMES)


def test_printed_lines_fit_on_paper(capsys):
    quiz.ask("04")
    quiz.ask("04", "aaa")
    assert max(len(line) for line in capsys.readouterr().out.splitlines()) <= 80


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["99", "3", 3, "", None, "../topics/pizza"])
def test_an_unknown_quiz_is_an_error_that_names_the_quizzes(name):
    with pytest.raises(ValueError, match=rf"no quiz {re.escape(repr(name))}: write one of '00', .*'08'"):
        quiz.ask(name)


@pytest.mark.parametrize("letters", ["", "b", "ba", "bacb", ["b", "a", "c"]])
def test_a_wrong_number_of_letters_is_an_error_that_says_how(letters):
    with pytest.raises(ValueError, match=r'one letter a question, for example quiz.ask\("03", "aaa"\)'):
        quiz.ask("03", letters)


@pytest.mark.parametrize("letters, number, letter", [("bad", 3, "d"), ("b1c", 2, "1"), ("?ac", 1, "?"), (123, 1, "1")])
def test_a_wrong_letter_is_an_error_that_names_the_choices(letters, number, letter, capsys):
    with pytest.raises(ValueError, match=rf"Question {number} has no choice '{re.escape(letter)}': .* a, b, c\."):
        quiz.ask("03", letters)
    assert capsys.readouterr().out == ""


def test_a_fourth_choice_can_be_chosen(capsys):
    quiz.ask("04", "daa")
    assert capsys.readouterr().out.startswith("1d ")


# --- with buttons ---------------------------------------------------------------------------------


@each_quiz
def test_a_notebook_shows_the_questions_as_html_and_as_text(name, notebook):
    quiz.ask(name)
    pieces = [piece for piece in notebook if isinstance(piece, dict)]
    assert_questions_without_answers(name, "\n".join(piece["text/plain"] for piece in pieces))
    made = "".join(piece["text/html"] for piece in pieces)
    for question in quiz.read(name):
        assert quiz.escape(question["question"]) in made
        for choice in question["choices"]:
            assert f"<b>{choice['label']}</b> {quiz.escape(choice['text'])}" in made
            assert quiz.escape(choice["reason"]) not in made
    assert "RIGHT" not in made and "&quot;aaa&quot;" in made


def test_each_question_stands_above_its_buttons(notebook):
    quiz.ask("03")
    assert [isinstance(piece, dict) for piece in notebook] == [True, False] * 3 + [True]


@each_quiz
def test_nothing_is_chosen_and_nothing_is_said_at_first(name, notebook):
    quiz.ask(name)
    for (buttons, verdict), question in zip(panels(notebook), quiz.read(name), strict=True):
        assert isinstance(buttons, ipywidgets.RadioButtons) and isinstance(verdict, ipywidgets.HTML)
        assert buttons.value is None and buttons.index is None and verdict.value == ""
        assert list(buttons.options) == [choice["label"] for choice in question["choices"]]


def test_the_widgets_do_not_know_the_answers_before_a_choice(notebook):
    """Their state may be saved with the notebook."""
    quiz.ask("03")
    state = str([part.get_state() for panel in panels(notebook) for part in panel])
    assert "RIGHT" not in state and not any(c["reason"] in state for q in quiz.read("03") for c in q["choices"])


@each_quiz
def test_each_choice_gets_its_verdict_and_its_reason(name, notebook):
    quiz.ask(name)
    for (buttons, verdict), question in zip(panels(notebook), quiz.read(name), strict=True):
        for index, choice in enumerate(question["choices"]):
            buttons.set_state({"index": index})  # as a click does
            words, sign = ("RIGHT", "✔") if choice["right"] else ("NOT YET", "✘")
            text = re.sub("<[^>]*>", "", verdict.value)
            assert text == f"{choice['label']} {sign} {words}. {quiz.escape(choice['reason'])}"


def test_a_choice_speaks_to_its_own_question_only(notebook):
    quiz.ask("03")
    (first, said), (_, other), _ = panels(notebook)
    first.value = "1b"
    assert "1b" in said.value and other.value == ""


def test_the_verdict_is_announced_and_not_by_colour_alone(notebook):
    quiz.ask("03")
    buttons, verdict = panels(notebook)[0]
    found = []
    for option in buttons.options:
        buttons.value = option
        assert 'role="alert"' in verdict.value and 'aria-live="polite"' in verdict.value
        found.append(re.search("solid|dashed", verdict.value).group())
    assert sorted(found) == ["dashed", "dashed", "solid"]


def test_two_quizzes_on_one_page_are_independent(notebook):
    quiz.ask("03")
    quiz.ask("03")
    found = panels(notebook)
    found[0][0].value = "1a"
    assert found[0][1].value and not found[3][1].value


def test_markup_in_a_quiz_is_escaped(evil, notebook):
    quiz.ask("evil")
    made = notebook[0]["text/html"]
    ((buttons, verdict),) = panels(notebook)
    buttons.value = "1a"
    assert made.count(SAFE) == 3 and verdict.value.count(SAFE) == 1
    assert "<script" not in made + verdict.value
