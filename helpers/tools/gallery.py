"""Rebuild the README's gallery: `python -m helpers.tools.gallery` (needs Chromium).

One picture a notebook, of the cell tagged `gallery`: its figure, its squares, or its coloured tokens. The alternative
text is the sentence that the notebook itself prints below, so the two never differ.
"""

import html
import pathlib
import re
import tempfile

import nbformat

from ..paths import ROOT
from .lab import CHROMIUM, QUIET, Lab, copy_of_the_series, jupyterlab

PICTURES = ROOT / "data" / "gallery"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MARKS = "<!-- gallery -->", "<!-- end of gallery -->"


def signature(path: pathlib.Path) -> int:
    """The place of the tagged cell among all cells."""
    cells = nbformat.read(path, as_version=4).cells
    (place,) = (i for i, cell in enumerate(cells) if "gallery" in cell["metadata"].get("tags", []))
    return place


def title(path: pathlib.Path) -> str:
    return nbformat.read(path, as_version=4).cells[0].source.splitlines()[0].removeprefix("# ")


def picture(page, place: int, path: pathlib.Path) -> str:
    """Save what the cell shows as a picture, and return its sentence in words."""
    cell = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook .jp-Cell").nth(place)
    figure = cell.locator(".js-plotly-plot, .squares, .mazes, .jp-OutputArea-output p[style*=monospace]").first
    figure.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    figure.screenshot(path=path)
    sentence = cell.locator("p", has_text=re.compile("^(In words|The loss counts)")).first.inner_text()
    return sentence.removeprefix("In words.").strip()


def section(alts: dict[pathlib.Path, str]) -> str:
    """The gallery as two columns of HTML, which GitHub and JupyterLab show."""
    cells = [
        f'<td><a href="notebooks/{path.name}"><img src="data/gallery/{path.stem}.png" width="400" '
        f'alt="{html.escape(alt)}"></a><br>{path.stem[:2]} {html.escape(title(path))}</td>'
        for path, alt in alts.items()
    ]
    rows = ["\n".join(["<tr>", *cells[i : i + 2], "</tr>"]) for i in range(0, len(cells), 2)]
    return "\n".join(["<table>", *rows, "</table>"])


def main():
    from playwright.sync_api import sync_playwright

    PICTURES.mkdir(exist_ok=True)
    alts = {}
    folder, scratch = (pathlib.Path(tempfile.mkdtemp()) for _ in range(2))
    with sync_playwright() as playwright, jupyterlab(copy_of_the_series(folder), scratch) as server:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        for path in NOTEBOOKS:
            lab = Lab(browser, *server, path.name)
            if problems := lab.run_all():
                raise RuntimeError(f"{path.name} does not run: {problems}")
            alts[path] = picture(lab.page, signature(path), PICTURES / f"{path.stem}.png")
            lab.close()
            print(path.stem, alts[path])
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    before, _, rest = readme.partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    (ROOT / "README.md").write_text(f"{before}{MARKS[0]}\n{section(alts)}\n{MARKS[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
