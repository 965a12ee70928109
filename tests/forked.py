"""Tests that run in a forked process, on a copy of the project; nothing of ours is imported here.

What is forked has the large libraries imported already: hundreds of times importing them would take longer than the tests.
"""

import contextlib
import multiprocessing
import os
import pathlib
import shlex
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
LIBRARIES = ["torch", "transformers", "datasets", "plotly.graph_objects", "ipywidgets", "tqdm.auto"]


@contextlib.contextmanager
def server():
    """Within `with`: a multiprocessing context whose processes have the libraries, one thread, and write no bytecode."""
    before = dict(os.environ)
    os.environ.update(OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    try:
        yield context
    finally:
        os.environ.clear()
        os.environ.update(before)


def attempt(folder: pathlib.Path, tests: str, log: pathlib.Path) -> None:
    """Run some tests on the copy in that folder; what they print goes into the log. The process ends with pytest's code."""
    os.chdir(folder)
    # Nothing of the original may be found: its helpers would pass every test.
    sys.path[:] = [path for path in sys.path if path not in ("", str(ROOT), str(ROOT / "tests"))]
    with open(log, "w", encoding="utf-8") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *shlex.split(tests)])
    os._exit(code)
