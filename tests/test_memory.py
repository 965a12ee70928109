"""What is remembered is whole and right, or is not there: also on a full disk, after a kill, and with two writers."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import ROOT

from helpers import memory, paths

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2)}
FACTS = {"losses": [2.0, 1.0], "steps": 2}


@pytest.fixture
def place(tmp_path):
    return tmp_path / "tuned" / "made.safetensors"


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_what_is_remembered_comes_back(place):
    memory.remember(place, WEIGHTS, FACTS)
    weights, facts = memory.recall(place)
    assert same(weights, WEIGHTS) and facts == FACTS and list(place.parent.iterdir()) == [place]


def test_what_was_never_remembered_is_not_there(place):
    assert memory.recall(place) is None


def test_remembering_again_replaces(place):
    memory.remember(place, WEIGHTS, FACTS)
    memory.remember(place, WEIGHTS, FACTS | {"steps": 3})
    assert memory.recall(place)[1]["steps"] == 3


@pytest.mark.parametrize("damage", ["empty", "garbage", "cut", "bit", "no facts"])
def test_a_damaged_file_is_as_good_as_none(place, damage):
    memory.remember(place, WEIGHTS, FACTS)
    whole = place.read_bytes()
    flipped = whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:]
    bare = whole.replace(b"facts", b"facts"[::-1])
    parts = {"empty": b"", "garbage": b"garbage" * 99, "cut": whole[:-4], "bit": flipped, "no facts": bare}
    place.write_bytes(parts[damage])
    assert memory.recall(place) is None


@pytest.mark.parametrize(
    "other",
    [
        {"a": WEIGHTS["a"] + 1e-3, "b": WEIGHTS["b"]},
        {"a": WEIGHTS["a"].reshape(3, 2), "b": WEIGHTS["b"]},
        {"a": WEIGHTS["a"], "c": WEIGHTS["b"]},
        {"a": WEIGHTS["a"]},
    ],
)
def test_other_weights_have_another_digest(other):
    assert memory.digest(other) != memory.digest(WEIGHTS) == memory.digest(dict(reversed(WEIGHTS.items())))


# --- writing --------------------------------------------------------------------------------------


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), paths.replacing(path) as part:
        part.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_what_killed_writers_left_is_swept_up_after_an_hour(tmp_path):
    old, young = tmp_path / "x.1.part", tmp_path / "x.2.part"
    for part in (old, young):
        part.write_text("half")
    os.utime(old, (time.time() - 2 * paths.HOUR,) * 2)
    with paths.replacing(tmp_path / "file") as part:
        part.write_text("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "x.2.part"]


@pytest.mark.skipif(os.name != "posix", reason="permissions as on Unix")
def test_others_may_read_what_is_written_if_the_user_lets_them(tmp_path):
    (tmp_path / "ordinary").write_text("")
    with paths.replacing(tmp_path / "file") as part:
        part.write_text("whole")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_a_folder_gets_all_its_new_files_or_none_and_keeps_the_others(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("changed", "other"):
        (folder / name).write_text("old")
    (tmp_path / "folder.part").mkdir()
    (tmp_path / "folder.part" / "half").write_text("of a writer that was killed")
    with pytest.raises(ZeroDivisionError), paths.replacing_files(folder) as part:
        (part / "changed").write_text("new")
        raise ZeroDivisionError
    assert [path.read_text() for path in folder.iterdir()] == ["old", "old"]
    with paths.replacing_files(folder) as part:
        (part / "changed").write_text("new")
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"changed": "new", "other": "old"}
    assert list(tmp_path.iterdir()) == [folder]


# --- in other processes ---------------------------------------------------------------------------

TUNE = """
import sys, resource
sys.path[:0] = [{tests!r}, {root!r}]
import torch
from helpers import chat, sft
torch.set_num_threads(1)
{before}
bot = chat.load()
data = [{{"user": f"What is {{i}} plus {{i}}?", "assistant": f"The answer is {{2 * i}}."}} for i in range(40)]
tuned = sft.tune(bot, data, sft.NAIVE._replace(epochs=2, batch=4){watch})
print("cached" if tuned.facts["cached"] else "made", tuned.facts["finished"], sum(w.double().sum().item() for w in tuned.model.parameters()))
"""


def start(folder, before="", watch=""):
    code = TUNE.format(tests=str(ROOT / "tests"), root=str(ROOT), before=before, watch=watch)
    env = {**os.environ, "OVERREFUSAL_CACHE": str(folder)}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(process):
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    return out.split()[-3:], out


def remembered(folder):
    return [path.name for path in pathlib.Path(folder).glob("tuned/*")]


@pytest.mark.nightly
def test_two_processes_that_remember_the_same_get_the_same(tmp_path):
    first, second = (ended(process)[0] for process in [start(tmp_path), start(tmp_path)])
    third, _ = ended(start(tmp_path))
    assert first[1:] == second[1:] == third[1:] and third[0] == "cached"
    assert len(remembered(tmp_path)) == 1


@pytest.mark.nightly
@pytest.mark.skipif(os.name != "posix", reason="limits as on Unix")
def test_a_full_disk_costs_the_memory_and_not_the_training(tmp_path):
    """No file may grow beyond 100 kB, as on a disk with so much left."""
    before = "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    found, out = ended(start(tmp_path, before))
    assert found[:2] == ["made", "True"] and "I could not remember this result" in out and "MB in" in out
    assert remembered(tmp_path) == []


@pytest.mark.nightly
@pytest.mark.skipif(os.name != "posix", reason="signals as on Unix")
@pytest.mark.parametrize("when", ["in the middle of a tune", "while remembering"])
def test_a_kill_leaves_nothing_half_written_and_a_clean_next_run(tmp_path, when):
    kill = "import os, signal; die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)"
    if when == "while remembering":
        kill += "\nimport pathlib\npathlib.Path.replace = die"
    watch = ", watch=lambda bot, losses, steps: len(losses) == 5 and die()" if "tune" in when else ""
    process = start(tmp_path, kill, watch)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert all(name.endswith(".part") for name in remembered(tmp_path))
    assert ended(start(tmp_path))[0][0] == "made"
    assert ended(start(tmp_path))[0][0] == "cached"
