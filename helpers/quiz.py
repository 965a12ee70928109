"""Three questions at the end of a notebook, and a reason for every choice.

Notable:
- The questions live in `data/quizzes/<number>.json`, so that no notebook contains a right answer.
- Questions are shown as HTML and as text and so survive printing; the buttons come below them.
- The buttons carry labels like 1a, not sentences: ipywidgets gives a radio button one line of fixed height.
- A verdict speaks of the choice that was made and of no other: whoever is wrong can think again.
"""

import json
import textwrap
from html import escape

from IPython import get_ipython
from IPython.display import display

from .paths import ROOT

FOLDER = ROOT / "data" / "quizzes"


def ask(quiz: str, letters: str | None = None) -> None:
    """Show a quiz, `ask("03")`, or grade one letter a question, `ask("03", "aaa")`.

    Raises ValueError, saying what to write instead, if there is no such quiz or the letters do not fit its questions.
    """
    questions = read(quiz)
    how = f'Answer with one letter a question, for example quiz.ask("{quiz}", "{"a" * len(questions)}").'
    widgets = _widgets()
    if letters is not None:
        print(_graded(questions, letters, how))
    elif widgets is None:
        print("\n\n".join([*map(_as_text, questions), how]))
    else:
        for question in questions:
            display({"text/html": _as_html(question), "text/plain": _as_text(question)}, raw=True)
            display(_panel(widgets, question))
        display({"text/html": f"<p>No buttons? {escape(how)}</p>", "text/plain": how}, raw=True)


def read(quiz: str) -> list[dict]:
    """The questions of a quiz, each choice with its label: 1a, 1b, ... Raises ValueError if there is no such quiz."""
    names = sorted(path.stem for path in FOLDER.glob("*.json"))
    if quiz not in names:
        raise ValueError(f"There is no quiz {quiz!r}: write one of {', '.join(map(repr, names))}, with its quotes.")
    questions = json.loads((FOLDER / f"{quiz}.json").read_text(encoding="utf-8"))["questions"]
    for number, question in enumerate(questions, 1):
        question["number"] = number
        for letter, choice in zip("abcd", question["choices"], strict=False):
            choice["label"] = f"{number}{letter}"
    return questions


def _as_text(question):
    choices = [_line(f"   {choice['label']}", choice["text"]) for choice in question["choices"]]
    return "\n".join([_line(f"{question['number']}.", question["question"]), *choices])


def _graded(questions, letters, how):
    letters = "".join(str(letters).lower().split())
    if len(letters) != len(questions):
        raise ValueError(how)
    lines = []
    for question, letter in zip(questions, letters, strict=True):
        choices = {choice["label"][-1]: choice for choice in question["choices"]}
        if letter not in choices:
            raise ValueError(
                f"Question {question['number']} has no choice {letter!r}: write one of {', '.join(choices)}."
            )
        lines.append(_line(choices[letter]["label"], f"{_verdict(choices[letter])} {choices[letter]['reason']}"))
    return "\n".join(lines)


def _verdict(choice):
    return "RIGHT." if choice["right"] else "NOT YET."


def _line(head, text):
    return textwrap.fill(f"{head} {text}", 80, subsequent_indent=" " * (len(head) + 1), break_on_hyphens=False)


def _widgets():
    """ipywidgets, if it is there and a notebook can show it; else None."""
    try:
        import ipywidgets
    except ImportError:
        return None
    return ipywidgets if hasattr(get_ipython(), "kernel") else None


def _as_html(question):
    rows = "".join(f"<li><b>{choice['label']}</b> {escape(choice['text'])}</li>" for choice in question["choices"])
    title = f"<p><b>Question {question['number']}.</b> {escape(question['question'])}</p>"
    return f'{title}<ul style="list-style:none">{rows}</ul>'


def _panel(widgets, question):
    """Radio buttons, none of them chosen, above an area that says the verdict as soon as one is."""
    choices = {choice["label"]: choice for choice in question["choices"]}
    buttons = widgets.RadioButtons(options=list(choices), value=None, layout={"width": "auto"})
    verdict = widgets.HTML(layout={"width": "auto"})

    def tell(change):
        verdict.value = _verdict_html(choices[change["new"]])

    buttons.observe(tell, names="value")
    return widgets.VBox([buttons, verdict])


def _verdict_html(choice):
    # The widget replaces its content, and screen readers announce a new element only if its role is alert.
    sign, line = ("✔", "solid #009E73") if choice["right"] else ("✘", "dashed #D55E00")
    said = f'{choice["label"]} <span aria-hidden="true">{sign}</span> {_verdict(choice)}'
    style = f"border-left:4px {line};padding-left:8px;line-height:1.5"
    return f'<div role="alert" aria-live="polite" style="{style}"><b>{said}</b> {escape(choice["reason"])}</div>'
