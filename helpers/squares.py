"""Every prompt of some exams as one small mark: click one, or move with the arrow keys, to read it.

Notable:
- A square was handled rightly, a circle wrongly, a cross was refused: colour is never the only sign.
- The marks are radio buttons, so that the keyboard reaches them, and CSS shows the text: it survives export.
"""

import secrets

from IPython.display import HTML, display

from .figure import RED
from .measure import Graded
from .show import BLUE, escape, table_html

STYLE = """<style>
.squares {position: relative; padding-bottom: 7em}
.squares div {display: inline-block; vertical-align: top; width: 20em; margin: 0 1em 1em 0}
.squares input {appearance: none; position: relative; width: 1.25em; height: 1.25em; margin: 1px; cursor: pointer}
.squares input.rightly {background: RIGHTLY}
.squares input.wrongly {background: WRONGLY; border-radius: 50%}
.squares input.refused::after {content: "✕"; position: absolute; inset: 0; color: white; text-align: center}
.squares input:checked, .squares input:focus-visible {outline: 3px solid currentColor}
.squares span {display: none; position: absolute; left: 0; bottom: 0; height: 6em; overflow: auto}
.squares input:checked + span {display: block}
</style>""".replace("RIGHTLY", BLUE).replace("WRONGLY", RED)
LEGEND = "Square: handled rightly. Circle: wrongly. ✕: refused. Click one to read it; the arrow keys go on to the next."


def draw(graded: dict[str, list[Graded]], title: str) -> None:
    """The name of each exam -> what became of its prompts."""
    display(HTML(draw_html(graded, title)))


def draw_html(graded: dict[str, list[Graded]], title: str) -> str:
    group = f"squares-{secrets.token_hex(8)}"  # several notebooks may be open on one page
    exams = "".join(
        f"<div><b>{escape(name)}</b><br>{''.join(_mark(group, one) for one in found)}</div>"
        for name, found in graded.items()
    )
    counts = {
        name: (len(found), sum(one.refused for one in found), sum(one.correct for one in found))
        for name, found in graded.items()
    }
    rows = [
        {"prompts": name, "n": n, "refused": refused, "handled rightly": right}
        for name, (n, refused, right) in counts.items()
    ]
    words = "; ".join(
        f"{name}: {refused} of {n} refused, {right} handled rightly" for name, (n, refused, right) in counts.items()
    )
    heading = f"<p><b>{escape(title)}</b><br>{LEGEND}</p>"
    below = f"<p><b>In words.</b> {escape(words)}.</p>{table_html(rows, 'The same numbers')}"
    return f'{STYLE}{heading}<div class="squares">{exams}</div>{below}'


def _mark(group, one: Graded):
    handled, done = "rightly" if one.correct else "wrongly", "refused" if one.refused else "answered"
    text = escape(f"{one.chat.user} → {one.reply} ({done}, {handled})")
    return f'<input type="radio" name="{group}" class="{handled} {done}" aria-label="{text}"><span>{text}</span>'
