"""Every small mistake of the list is noticed by the tests of its module."""

import os
import queue
import shutil
from concurrent.futures import ThreadPoolExecutor

import forked
import pytest
from conftest import ROOT
from mutants import MUTANTS

pytestmark = pytest.mark.nightly

ALL = {
    f"{module}-{i}": (module, old, new, tests)
    for module, (mutants, tests) in MUTANTS.items()
    for i, (old, new) in enumerate(mutants)
}
# And every module as it is, or else every mutant would seem to be noticed.
AS_IT_IS = {f"as it is-{module}": (module, "", "", tests) for module, (_, tests) in MUTANTS.items()}
PART, PARTS = map(int, os.environ.get("MUTANTS", "0 of 1").split(" of "))  # which share of them is tried
CASES = {name: case for i, (name, case) in enumerate((AS_IT_IS | ALL).items()) if i % PARTS == PART}


def copy_of_the_project(folder):
    for name in ("helpers", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".pytest.ini", folder)
    (folder / "data").symlink_to(ROOT / "data")
    return folder


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Case -> how its tests ended, and what they printed; as many at a time as there are processors, each in a copy."""
    workers = os.cpu_count() or 1
    copies = queue.SimpleQueue()
    for _ in range(workers):
        copies.put(copy_of_the_project(tmp_path_factory.mktemp("mutated")))

    def outcome(case):
        module, old, new, tests = case
        folder = copies.get()
        path, log = folder / "helpers" / f"{module}.py", folder / "log"
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(old, new) if old else text, encoding="utf-8")
        process = context.Process(target=forked.attempt, args=(folder, tests, log))
        process.start()
        process.join()
        path.write_text(text, encoding="utf-8")
        told = log.read_text(encoding="utf-8")
        copies.put(folder)
        return process.exitcode, told

    with forked.server() as context, ThreadPoolExecutor(workers) as pool:
        return dict(zip(CASES, pool.map(outcome, CASES.values()), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_a_mutant_is_noticed_and_the_code_as_it_is_passes(outcomes, name):
    module, old, _, _ = CASES[name]
    code, told = outcomes[name]
    assert code in (0, 1), told[-2000:]  # else no test has been run
    assert (code == 1) == bool(old), told[-2000:]


@pytest.mark.parametrize("name", ALL)
def test_the_list_is_as_old_as_the_code(name):
    module, old, _, _ = ALL[name]
    assert (ROOT / "helpers" / f"{module}.py").read_text(encoding="utf-8").count(old) == 1
