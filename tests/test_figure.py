import subprocess
import sys

import nbformat
import plotly.graph_objects as go
import pytest
from conftest import ROOT
from nbclient import NotebookClient
from traitlets.config import Config

from helpers import figure, plot

EVIL = """<script>alert("it's me")</script>"""
SAFE = "&lt;script&gt;alert(&quot;it&#x27;s me&quot;)&lt;/script&gt;"


def test_a_figure_comes_with_a_sentence_and_its_numbers(shown):
    given = go.Figure(go.Scatter(y=[3, 4]))
    found = figure.show(given, f"It rises. {EVIL}", [{"x": 1, "y": 42}])
    assert shown[0] is found and found.data == given.data
    assert f"<b>In words.</b> It rises. {SAFE}" in shown[1].data
    assert "The same numbers" in shown[1].data and ">42</td>" in shown[1].data


@pytest.mark.parametrize("n, folded", [(12, False), (13, True)])
def test_a_long_table_is_folded_away_and_still_there(n, folded, shown):
    figure.show(go.Figure(), "words", [{"row": f"number {i}"} for i in range(n)])
    assert ("<details><summary>The same numbers, in 13 rows" in shown[1].data) == folded
    assert f"number {n - 1}" in shown[1].data and "In words.</b> words" in shown[1].data


@pytest.mark.parametrize("n, count, expected", [(1, 6, [0]), (3, 6, [0, 1, 2]), (101, 6, [0, 20, 40, 60, 80, 100])])
def test_spread_includes_both_ends(n, count, expected):
    assert figure.spread(n, count) == expected


# --- shown once -----------------------------------------------------------------------------------


def test_before_the_first_figure_no_grammar_is_compiled_and_whoever_needs_it_still_can():
    script = (
        "import sys, helpers.figure, plotly.io._renderers; print('nbformat' in sys.modules, 'lark' in sys.modules);"
    )
    script += "import rfc3987_syntax; print(rfc3987_syntax.is_valid_syntax('iri', 'http://[broken'))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False", "False"], done.stderr[-2000:]


@pytest.mark.slow
def test_a_figure_is_shown_once_by_its_cell_and_again_by_another():
    """As the last line of a cell its value would be shown a second time."""
    cells = [
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom helpers import plot\nfig = plot.losses([2.0, 1.0])\nfig",
        "fig",
        "fig.update_layout(height=99)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    config = Config({"KernelManager": {"transport_encryption": "auto"}})
    NotebookClient(notebook, timeout=60, kernel_name="python3", config=config).execute()
    figures = [
        sum("application/vnd.plotly.v1+json" in out.get("data", {}) for out in cell.outputs) for cell in notebook.cells
    ]
    assert figures == [1, 1, 1]


def test_a_figure_that_is_given_back_can_be_changed(shown):
    fig = plot.losses([2.0, 1.0])
    assert isinstance(fig, go.Figure) and fig.update_layout(title="Mine").layout.title.text == "Mine"
