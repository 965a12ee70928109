"""Every small mistake of the list is noticed by the tests of its module."""

import os
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT
from mutants import MUTANTS

pytestmark = pytest.mark.nightly

CASES = [
    pytest.param(module, old, new, tests, id=f"{module}-{i}")
    for module, (mutants, tests) in MUTANTS.items()
    for i, (old, new) in enumerate(mutants)
]


def tests_fail(folder, tests) -> bool:
    """Do they fail, and not for want of tests?"""
    files = [str(folder / "tests" / name) for name in tests.split()]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", *files]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert done.returncode in (0, 1), done.stdout[-2000:] + done.stderr[-2000:]
    return done.returncode == 1


@pytest.fixture(scope="module")
def copy_of_the_project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mutated")
    for name in ("helpers", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".pytest.ini", folder)
    (folder / "data").symlink_to(ROOT / "data")
    return folder


@pytest.mark.parametrize("module, old, new, tests", CASES)
def test_a_mutant_is_noticed(copy_of_the_project, module, old, new, tests):
    path = copy_of_the_project / "helpers" / f"{module}.py"
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, "the list is older than the code: this stands there not just once"
    try:
        path.write_text(text.replace(old, new), encoding="utf-8")
        assert tests_fail(copy_of_the_project, tests)
    finally:
        path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("tests", sorted({tests for _, tests in MUTANTS.values()}))
def test_without_a_mutation_all_is_well(copy_of_the_project, tests):
    """Or else every mutant would seem to be noticed."""
    assert not tests_fail(copy_of_the_project, tests)
