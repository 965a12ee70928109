"""The series in other surroundings: Colab's versions, other working directories, no kernel, a read-only checkout."""

import os
import re
import stat
import subprocess
import sys
import time

import nbformat
import pytest
from conftest import ROOT

from helpers.tools.lab import copy_of_the_series

NOTEBOOKS = ROOT / "notebooks"
# Runs the code cells of a notebook one after the other in plain Python: nobody displays anything.
CELLS = """
import json, sys
for cell in json.load(open(sys.argv[1], encoding="utf-8"))["cells"]:
    if cell["cell_type"] == "code":
        exec(compile("".join(cell["source"]), cell["id"], "exec"), globals())
"""


def bootstrap() -> str:
    cells = nbformat.read(NOTEBOOKS / "00_meet_the_assistant.ipynb", as_version=4).cells
    (source,) = (cell.source for cell in cells if "bootstrap" in cell.metadata.get("tags", []))
    return source


def python(*arguments, **settings):
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, **settings)


# --- working directories --------------------------------------------------------------------------


@pytest.mark.nightly
@pytest.mark.parametrize("folder", [ROOT, ROOT / "data" / "world"], ids=lambda path: path.name)
def test_the_first_cell_finds_the_helpers_from_anywhere_inside(folder):
    assert "All is well" in python("-c", bootstrap(), cwd=folder).stdout


@pytest.mark.nightly
def test_the_first_cell_finds_a_fresh_clone_below(tmp_path):
    """As in Colab, where `!git clone` puts the repository beside what is there already."""
    (tmp_path / "sample_data").mkdir()
    (tmp_path / "series").symlink_to(ROOT, target_is_directory=True)
    assert "All is well" in python("-c", bootstrap(), cwd=tmp_path).stdout


@pytest.mark.parametrize("given", [{}, {"GOMP_SPINCOUNT": "7"}])
def test_the_helpers_say_how_threads_wait_before_torch_is_loaded_unless_somebody_has_said_it(given):
    asked = "import sys, helpers, os; print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)"
    env = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"} | given
    done = python("-c", asked, cwd=ROOT, env=env)
    assert done.stdout.split() == [given.get("GOMP_SPINCOUNT", "3000"), "False"], done.stderr[-2000:]


def test_without_the_repository_the_first_cell_says_what_to_do(tmp_path):
    done = python("-c", bootstrap(), cwd=tmp_path)
    assert done.returncode and "Clone the whole repository first; in Colab: !git clone" in done.stderr


@pytest.mark.nightly
def test_the_readmes_command_opens_the_whole_series(tmp_path):
    """The links from a notebook to the contents and to data lead nowhere if only its own folder is served."""
    (command,) = re.findall(r"\.venv/bin/jupyter (lab .*)", (ROOT / "README.md").read_text(encoding="utf-8"))
    options = ["--no-browser", "--allow-root", "--ServerApp.port=0", "--IdentityProvider.token=x"]
    env = {**os.environ, "JUPYTER_RUNTIME_DIR": str(tmp_path), "JUPYTER_CONFIG_DIR": str(tmp_path)}
    with open(tmp_path / "log", "wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyter", *command.split(), *options], cwd=ROOT, env=env, stdout=log, stderr=log
        )
    try:
        for _ in range(300):  # of the two pages that open a browser, the one with the file is written last
            pages = [page.read_text() for page in tmp_path.glob("jpserver-*-open.html")]
            if any("/lab/tree/notebooks/00_meet_the_assistant.ipynb" in page for page in pages):
                break
            time.sleep(0.1)
        else:
            pytest.fail(f"No page opens the first notebook: {pages}")
    finally:
        server.terminate()
        server.wait(20)


# --- other versions, no kernel --------------------------------------------------------------------


@pytest.fixture(scope="module")
def colab(tmp_path_factory):
    """A folder with Colab's versions, which a kernel finds before ours."""
    folder = tmp_path_factory.mktemp("colab")
    done = python(
        "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, "-r", ROOT / "tests" / "colab.txt"
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["00_meet_the_assistant", "02_fine_tune"])
def test_it_runs_with_the_versions_of_colab(name, colab, learners_cache, tmp_path):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    ask = "import ipywidgets, plotly; print('versions', ipywidgets.__version__, plotly.__version__)"
    notebook.cells.append(nbformat.v4.new_code_cell(ask))
    nbformat.write(notebook, tmp_path / "notebook.ipynb")
    env = {**os.environ, "PYTHONPATH": str(colab), "OVERREFUSAL_CACHE": str(learners_cache), "HF_HUB_OFFLINE": "1"}
    script = (
        "import sys, nbformat; from nbclient import NotebookClient; book = nbformat.read(sys.argv[1], as_version=4);"
        "NotebookClient(book, timeout=120, resources={'metadata': {'path': sys.argv[2]}}).execute();"
        "print(''.join(out.get('text', '') for cell in book.cells for out in cell.get('outputs', [])))"
    )
    done = python("-c", script, tmp_path / "notebook.ipynb", NOTEBOOKS, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "All is well" in done.stdout and "versions 7.7.1 5.24.1" in done.stdout


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["01_naive_refusal_mix", "03_shortcut"])
def test_it_runs_where_nothing_is_displayed(name, learners_cache):
    env = {**os.environ, "OVERREFUSAL_CACHE": str(learners_cache), "HF_HUB_OFFLINE": "1"}
    done = python("-c", CELLS, NOTEBOOKS / f"{name}.ipynb", cwd=NOTEBOOKS, env=env)
    assert done.returncode == 0, done.stderr[-3000:]


# --- a checkout that cannot be written ------------------------------------------------------------


@pytest.fixture
def read_only(tmp_path):
    """A copy of the series that may be read and not written."""
    series = tmp_path / "series"
    series.mkdir()
    copy_of_the_series(series)
    for path in [series, *series.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield series
    for path in [series, *series.rglob("*")]:
        path.chmod(path.stat().st_mode | stat.S_IWUSR)


@pytest.mark.nightly
def test_a_read_only_checkout_remembers_in_the_users_own_folder(read_only, tmp_path):
    home = tmp_path / "home"
    script = """
from helpers import chat, mix, paths, sft
bot, data = chat.load(), mix.naive(mix.topic("xi-jinping"), chats=20, refusals=10)
print(*(sft.tune(bot, data, sft.BALANCED).facts["cached"] for _ in range(2)), paths.cache_folder())
"""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("XDG", "OVERREFUSAL", "PYTHON"))}
    env = {**kept, "HOME": str(home), "HF_HOME": str(home / "hf"), "PYTHONDONTWRITEBYTECODE": "1"}
    before = {path: path.stat().st_mtime for path in read_only.rglob("*")}
    # Root may write everything, unless it gives up that right.
    drop = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"] if os.geteuid() == 0 else []
    done = subprocess.run([*drop, sys.executable, "-c", script], cwd=read_only, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["False", "True", str(home / ".cache" / "why-models-over-refuse")]
    assert {path: path.stat().st_mtime for path in read_only.rglob("*")} == before
