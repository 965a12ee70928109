"""For teachers: copies for a class, and slides.

    python -m helpers.classroom students FOLDER [--wheels]    the series without the teachers' pages
    python -m helpers.classroom slides FOLDER [NAME ...]      notebooks as slides, run beforehand

Notable:
- Both are made from the notebooks as they are. Cells tagged `instructor` are left out of the copies and become the
  speaker's notes of the slides (press S); which cell begins a slide stands in the notebooks as well.
- `--wheels` puts every package beside the copies, for machines like this one (same system, same Python), so that a
  room without network can install.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
from itertools import filterfalse

import nbformat
from nbconvert import SlidesExporter
from nbconvert.preprocessors import ExecutePreprocessor, TagRemovePreprocessor
from tqdm.auto import tqdm

from .paths import ROOT

FOLDERS, FILES = ("binder", "data", "helpers"), ("LICENSE", "requirements.txt")
NEEDED = "reveal.js@4 requirejs jquery"  # what makes a page into slides, from npm
OFFLINE = """\
# Install without network

```bash
python3 -m venv .venv && .venv/bin/pip install --no-index --find-links wheels -r requirements.txt && .venv/bin/jupyter lab --ServerApp.root_dir=. notebooks/00_meet_the_assistant.ipynb
```

On Windows write `python` for `python3` and `.venv\\Scripts` for `.venv/bin`.
"""


def notebooks(names=()) -> list[pathlib.Path]:
    """The notebooks in their order, or those whose names begin so. Raises ValueError for a name that fits none."""
    found = sorted((ROOT / "notebooks").glob("*.ipynb"))
    for name in names:
        if not any(path.name.startswith(name) for path in found):
            raise ValueError(f"No notebook begins with {name!r}: write a number, for instance 03.")
    return [path for path in found if not names or path.name.startswith(tuple(names))]


def students(folder: pathlib.Path, wheels: bool = False) -> None:
    """Write the series for learners into a new folder. Raises ValueError if something is there already."""
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: name a new folder, so that nothing of yours is overwritten.")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "tools"))
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (folder / "README.md").write_text(_for_learners(readme), encoding="utf-8")
    (folder / "notebooks").mkdir()
    remove = TagRemovePreprocessor(remove_cell_tags={"instructor"}, enabled=True)
    for path in notebooks():
        kept, _ = remove.preprocess(nbformat.read(path, as_version=4), {})
        nbformat.write(kept, folder / "notebooks" / path.name)
    shutil.copy(ROOT / "notebooks" / "glossary.md", folder / "notebooks")
    if wheels:
        download = [sys.executable, "-m", "pip", "download", "-r", folder / "requirements.txt", "-d", folder / "wheels"]
        subprocess.run(download, check=True)
        (folder / "INSTALL.md").write_text(OFFLINE, encoding="utf-8")


def _for_learners(readme: str) -> str:
    """The README without what speaks of files that learners do not get."""
    text = re.sub(r"^## (?:Pass the tests|Teach with it)\n[\s\S]*?(?=^## )", "", readme, flags=re.MULTILINE)
    text = re.sub(r"^\|.*(?:`tests/`|`data/gallery/`|`helpers/tools/`).*\n", "", text, flags=re.MULTILINE)
    text = text.replace("[objectives](notebooks/objectives.md)", "teacher's page of objectives")
    return text.replace("[Teach with this series](notebooks/workshop.md)", "the teacher's page")


def for_instructors(cell) -> bool:
    return "instructor" in cell.metadata.get("tags", [])


def slides(folder: pathlib.Path, names=(), offline: bool = False) -> None:
    """Run notebooks and write each as slides, `NAME.slides.html`. What they fine-tune is remembered as usual.

    When it is opened the page fetches reveal.js, which turns it into slides, and two more from the network; if
    `offline`, from `node_modules` beside the page.
    """
    os.environ["PLOTLY_RENDERER"] = "plotly_mimetype+notebook"  # the figures carry their own program
    exporter = SlidesExporter(reveal_scroll=True, exclude_input_prompt=True, exclude_output_prompt=True)
    if offline:
        exporter.reveal_url_prefix = "node_modules/reveal.js"
        exporter.require_js_url = "node_modules/requirejs/require.js"
        exporter.jquery_url = "node_modules/jquery/dist/jquery.min.js"
        exporter.mathjax_url = exporter.mermaid_js_url = ""  # the notebooks have neither formulas nor diagrams
    folder.mkdir(parents=True, exist_ok=True)
    for path in tqdm(notebooks(names), desc="slides", unit="notebook"):
        run = ExecutePreprocessor(timeout=600, kernel_name="python3")
        done, _ = run.preprocess(nbformat.read(path, as_version=4), {"metadata": {"path": str(path.parent)}})
        # Notes belong to the slide that they follow: the speaker wants them from the first.
        title, *rest = done.cells
        done.cells = [title, *filter(for_instructors, rest), *filterfalse(for_instructors, rest)]
        page, _ = exporter.from_notebook_node(done, {"metadata": {"name": path.stem}})
        (folder / f"{path.stem}.slides.html").write_text(page, encoding="utf-8")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    copies = commands.add_parser("students", help="write the series without the teachers' pages into a new folder")
    copies.add_argument("folder", type=pathlib.Path)
    copies.add_argument("--wheels", action="store_true", help="and all packages, to install without network")
    lecture = commands.add_parser("slides", help="run notebooks and write them as slides")
    lecture.add_argument("folder", type=pathlib.Path)
    lecture.add_argument(
        "names", nargs="*", help="how the notebooks' names begin, for instance 03; all if none is given"
    )
    lecture.add_argument(
        "--offline", action="store_true", help="for rooms without network; first: npm install --prefix FOLDER " + NEEDED
    )
    args = parser.parse_args(arguments)
    try:
        if args.command == "students":
            students(args.folder, args.wheels)
        else:
            slides(args.folder, args.names, args.offline)
    except ValueError as error:
        parser.error(str(error))
    print(f"Written: {args.folder}")


if __name__ == "__main__":
    main()
