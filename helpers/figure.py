"""What every figure has: one look, a sentence that says what it shows, and its numbers as a table below it.

Notable:
- Nobody needs to see a figure to follow: the sentence and the table are made from the same numbers.
- Colour is never the only sign: curves differ in their symbols, bars in their patterns, and all carry numbers.
- What is shown is also given back, for whoever wants to change it.
"""

import sys

import plotly.graph_objects as go
from IPython import get_ipython
from IPython.display import HTML, display

from .show import BLUE, escape, table_html
from .tally import Rate

# Before it shows its first figure, plotly asks for nbformat, and that for a checker of web addresses. To compile its
# grammar takes seconds in a kernel, and nobody here needs it: for a moment it passes as not installed.
CHECKER = "rfc3987_syntax"
if CHECKER not in sys.modules:
    sys.modules[CHECKER] = None
    import plotly.io._renderers  # noqa: F401

    del sys.modules[CHECKER]

# Okabe & Ito's palette (2008): safe for the common kinds of colour blindness.
ORANGE, GREEN, RED, GREY = "#E69F00", "#009E73", "#D55E00", "#999999"
PALETTE = (BLUE, RED, ORANGE, GREEN, GREY)
LONG = 12  # rows; a longer table is folded away
SYMBOLS = ("circle", "x", "diamond", "square", "triangle-up", "star", "cross", "triangle-down", "pentagon")


class Shown(go.Figure):
    """A figure that its cell has shown: as the last line of that cell it does not appear a second time."""

    _cell = None

    def _ipython_display_(self):
        if self._cell is None or self._cell != _this_cell():
            super()._ipython_display_()


def _this_cell() -> int | None:
    """The number of the cell that is running; None outside a notebook."""
    shell = get_ipython()
    return shell and shell.execution_count


def show(fig: go.Figure, alt: str, rows: list[dict]) -> go.Figure:
    """A figure, then what it shows in one sentence and in numbers: nobody needs to see it to follow."""
    fig = Shown(fig)
    fig.update_layout(template="simple_white", font_size=14, margin=dict(t=60, l=70, r=20, b=60))
    fig.update_layout(paper_bgcolor="white", plot_bgcolor="white")
    table = table_html(rows, "The same numbers")
    if len(rows) > LONG:
        table = f"<details><summary>The same numbers, in {len(rows)} rows</summary>{table}</details>"
    display(fig)
    display(HTML(f"<p><b>In words.</b> {escape(alt)}</p>{table}"))
    fig._cell = _this_cell()
    return fig


def styled(series: dict):
    """(name, values, colour, symbol) for each series: 45 pairs of colour and symbol before one comes again."""
    for i, (name, values) in enumerate(series.items()):
        yield name, values, PALETTE[i % len(PALETTE)], SYMBOLS[i % len(SYMBOLS)]


def spread(n: int, count: int) -> list[int]:
    """`count` indices spread evenly over range(n), the first and the last included."""
    return sorted({round(i * (n - 1) / (count - 1)) for i in range(count)})


def something(series) -> None:
    """Raises ValueError if there is nothing to draw."""
    if not series:
        raise ValueError("There is nothing to draw: give at least one.")


def per_cent(rate: Rate) -> str:
    return f"{100 * rate.share:.0f} %" if rate.n else "no cases"


def label_of(rate: Rate) -> str:
    return f"{100 * rate.share:.0f}" if rate.n else "no cases"
