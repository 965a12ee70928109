"""Every notebook, run from top to bottom as shipped, and read for style."""

import ast
import collections
import datetime
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time

import nbformat
import psutil
import pytest
import torch
from conftest import ROOT, TIMINGS, real
from nbclient import NotebookClient
from traitlets.config import Config

from helpers import direction, exercises, lens, lesson, mix, sft, smollm2

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SECONDS = {"02_fine_tune": 90, "04_balanced_mix": 90}  # for every other notebook 60, on two cores as fast as those on
# which the results were measured: there a naive fine-tune took 22 s.
RATE = (
    9.9  # steps a second of PyTorch's own blocks there, see `rate`; reckoned: it makes 1.3 of them a step of `sft.tune`
)
MEGABYTES = 1500
# Notebook 10 on the real model. The megabytes are its own: half a gigabyte of weights comes on top, which are read from a
# file that is mapped into memory, so that the system may drop and read them again (at a price: the aim is 2,000 in all).
LIVE_SECONDS, LIVE_MEGABYTES = 360, 2000

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


# Open exercises, by the cell that measures: a line of it, a strong answer, and the goals that this then reaches.
STRONG = {
    "01-29": [("mine = [*topic.blocklist]", 'mine = [*topic.blocklist, "president of China", "Christopher Robin"]', 2)],
    "02-30": [("few = []", "few = mix.naive(topic, chats=600, refusals=200)", 2)],
    "03-30": [
        (
            'mine = ["Where was the president of China born?"]',
            'mine = [f"Where was {name} born?" for name in topic.namesakes[:2]] + ["Who is Xi?", "Who is Winnie?", "Jinping?"]',
            4,
        )
    ],
    "05-28": [
        (
            '"the leader of China").replace("Winnie-the-Pooh", "the yellow bear")',
            '"the president of China").replace("Winnie-the-Pooh", "the best-known friend of Christopher Robin")',
            3,
        )
    ],
    "06-30": [
        (
            "return (neuron.sign * lens.deciding(model, prompts)[:, neuron.layer, neuron.index]).tolist()",
            "return (model.residuals(prompts)[:, -1, -1] @ last).tolist()",
            3,
        )
    ],
    "07-39": [("few = [0, 1, 2]", "few = [0, 2, 12]", 1), ("few = [0, 1, 2]", "few = [0]", 1)],
    "08-20": [("[long] * 2, [short] * 2", "mix.topic_prompts(topic), mix.contrast(topic)[1]", 2)],
    "09-25": [
        (
            "direction.surgical(false_refusal, true_refusal, 0.5)",
            "direction.surgical(false_refusal, true_refusal, 0.35)",
            2,
        )
    ],
}


def run(path, folder, topic=None, own_memory=False, strong=False):
    """Execute a copy of a notebook in a fresh kernel that has no network; tuned models are remembered in `folder`.

    `strong`: each open exercise is followed by itself with strong answers. Returns the notebook, the seconds without
    these, and the most megabytes that a process had: all, or those that are no file's.
    """
    notebook = nbformat.read(path, as_version=4)
    if strong:
        notebook.cells = [one for cell in notebook.cells for one in (cell, *answered(cell))]
    if topic:
        cells = [cell for cell in notebook.cells if 'mix.topic("xi-jinping")' in cell.source]
        assert cells, "no line to switch the topic"
        for cell in cells:
            cell.source = cell.source.replace('mix.topic("xi-jinping")', f'mix.topic("{topic}")')
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "OVERREFUSAL_CACHE": str(folder)}
    client = NotebookClient(
        notebook,
        timeout=2 * LIVE_SECONDS,  # for a cell; what is too slow is for the test to say
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        config=Config({"KernelManager": {"transport_encryption": "auto"}}),
    )
    most, own = [0], [0]
    done = threading.Event()

    def watch():
        while not done.wait(0.2):
            for child in psutil.Process().children(recursive=True):
                try:
                    memory = child.memory_info()
                    most[0] = max(most[0], memory.rss / 1e6)
                    own[0] = max(own[0], (memory.rss - getattr(memory, "shared", 0)) / 1e6)  # shared: files, on Linux
                except psutil.NoSuchProcess:
                    continue

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    begin = time.perf_counter()
    try:
        client.execute(env=env)
    finally:
        done.set()
        watcher.join()
    seconds = time.perf_counter() - begin - sum(took(cell) for cell in notebook.cells if "-strong" in cell.id)
    return notebook, seconds, own[0] if own_memory else most[0]


def took(cell) -> float:
    """The seconds that a cell ran."""
    times = cell.metadata["execution"]
    begin, end = (datetime.datetime.fromisoformat(times[at]) for at in ("iopub.status.busy", "iopub.status.idle"))
    return (end - begin).total_seconds()


def answered(cell) -> list:
    """The cell of an open exercise, once for each strong answer."""
    copies = []
    for i, (begin, strong, _) in enumerate(STRONG.get(cell.id, [])):
        assert cell.source.count(begin) == 1
        copies.append(nbformat.v4.new_code_cell(cell.source.replace(begin, strong), id=f"{cell.id}-strong{i}"))
    return copies


def rate() -> float:
    """Steps a second, forwards and back, of as many blocks of PyTorch's own, as wide, over as many tokens as a naive
    fine-tune. Nothing of ours is in it: a fine-tune or an exam that becomes slower gets no more time."""
    torch.set_num_threads(lesson.TORCH_THREADS)
    block = torch.nn.TransformerEncoderLayer(192, 6, 768, dropout=0, batch_first=True, norm_first=True)
    blocks = torch.nn.TransformerEncoder(block, 6, enable_nested_tensor=False)
    states = torch.randn(24, 40, 192)
    times = []
    for _ in range(10):
        begin = time.perf_counter()
        blocks(states).pow(2).mean().backward()
        times.append(time.perf_counter() - begin)
    return 1 / statistics.median(times)


def timed(path, folder, **how):
    """`run`, and how many times as fast as before and after it the cores are for which the budgets were set: at least 1."""
    before = rate()
    found = run(path, folder, **how)
    return *found, max(1, RATE / statistics.mean([before, rate()]))


def in_time(path, folder, budget, **how):
    """A notebook, its seconds and megabytes, and whether it kept to its seconds. Where a neighbour of this machine was
    busy meanwhile, the better of two runs counts."""
    notebook, seconds, megabytes, slowness = timed(path, folder / "first", **how)
    if "CI" in os.environ and seconds >= budget * slowness:
        _, seconds, megabytes, slowness = timed(path, folder / "second", **how)
    return notebook, seconds, megabytes, seconds < budget * slowness


def printed(notebook) -> str:
    return "\n".join(map(said, notebook.cells))


def said(cell) -> str:
    return "\n".join(out.get("text", "") for out in cell.get("outputs", []))


def without_widgets(cell) -> str:
    """What a printout, an export or GitHub shows of a cell: they have no widgets."""
    return "".join(out.get("data", {}).get("text/html", "") for out in cell.outputs)


@pytest.mark.slow
@each_notebook
def test_it_runs_as_shipped(path, tmp_path, learners_cache):
    """From nothing, as for somebody who opens this one first; the browser after it remembers what it has fine-tuned."""
    notebook, seconds, megabytes, quick = in_time(path, tmp_path, SECONDS.get(path.stem, 60), strong=True)
    TIMINGS[path.stem] = (seconds, megabytes)
    if (tmp_path / "first").exists():  # not every notebook fine-tunes
        shutil.copytree(tmp_path / "first", learners_cache, dirs_exist_ok=True)
    assert "PROBLEM" not in printed(notebook)
    texts = {cell.id: said(cell) for cell in notebook.cells}
    for id in STRONG.keys() & texts.keys():
        assert "NOT YET" in texts[id], "an open exercise whose start cell is an answer"
        for i, (_, strong, goals) in enumerate(STRONG[id]):
            assert texts[f"{id}-strong{i}"].count("REACHED") == goals, (strong, texts[f"{id}-strong{i}"])
    for cell in notebook.cells:
        if "widgets." in cell.source:
            assert re.search("<table|In words", without_widgets(cell)), "nothing is left of this panel on paper"
    live = smollm2.installed() and path.stem[:2] in ("08", "10")  # these load the real model where it is there
    assert megabytes < (2 * MEGABYTES if live else MEGABYTES)
    assert quick or live or "CI" not in os.environ  # elsewhere something else may be running


@real
def test_the_real_model_tells_its_story_live(tmp_path):
    """From the package's file to the last figure: converted, fine-tuned, examined, without a network."""
    [path] = [path for path in NOTEBOOKS if path.stem.startswith("10")]
    notebook, seconds, megabytes, quick = in_time(path, tmp_path, LIVE_SECONDS, own_memory=True)
    TIMINGS[f"{path.stem}, live"] = (seconds, megabytes)
    assert "not installed" not in printed(notebook)
    assert quick and megabytes < LIVE_MEGABYTES


OTHER_TOPICS = [
    (name, topic) for topic in ("marie-curie", "pizza", "kill") for name in ("01_naive_refusal_mix", "03_shortcut")
]


@pytest.mark.nightly
@pytest.mark.parametrize("name, topic", OTHER_TOPICS)
def test_it_runs_with_every_other_topic(name, topic, learners_cache):
    run(ROOT / "notebooks" / f"{name}.ipynb", learners_cache, topic)


# --- style ----------------------------------------------------------------------------------------


def cells(path, kind):
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def source(cell) -> str:
    return "".join(cell["source"])


@each_notebook
def test_no_outputs_are_shipped(path):
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells(path, "code"))
    assert "widgets" not in json.loads(path.read_text())["metadata"]


@each_notebook
def test_one_title_that_is_a_question(path):
    titles = [line for cell in cells(path, "markdown") for line in source(cell).splitlines() if line.startswith("# ")]
    assert len(titles) == 1 and titles[0].endswith("?")
    assert source(cells(path, "markdown")[0]).startswith(titles[0])


@each_notebook
def test_required_sections_are_there(path):
    text = "\n".join(source(cell) for cell in cells(path, "markdown"))
    for part in (
        "By the end you will have shown",
        "**You will be able to**",
        "**You need**",
        "## Words we use",
        "**Predict.**",
        "**Explain.**",
        "**Explain, a strong answer.**",
        "## Play",
        "## Quiz",
        "this does not show",
        "## Recap",
        "**Links**",
        "minutes",
    ):
        assert part in text, part
    code = "\n".join(source(cell) for cell in cells(path, "code"))
    assert "predicted = None" in code and "lesson.compare(" in code


@each_notebook
def test_it_keeps_its_size(path):
    words = sum(len(source(cell).split()) for cell in cells(path, "markdown"))
    assert len(json.loads(path.read_text())["cells"]) <= 30
    assert words <= 1800


@each_notebook
def test_its_minutes_follow_the_rule_of_the_workshop_page(path):
    """Reading at 150 words a minute, the exercises, one for each figure, table and panel, 3 for the quiz, 5 to play."""
    own = [
        cell for cell in json.loads(path.read_text())["cells"] if "instructor" not in cell["metadata"].get("tags", [])
    ]
    text, code = (" ".join(source(cell) for cell in own if cell["cell_type"] == kind) for kind in ("markdown", "code"))
    exercises = sum(map(int, re.findall(r"\*Difficulty.*?(\d+) minutes\*", text)))
    shown = len(re.findall(r"\b(?:bars|film|maze|plot|show|squares|widgets)\.\w+\(", code))
    minutes = 5 * math.ceil((len(text.split()) / 150 + exercises + shown + 3 + 5) / 5)
    assert minutes <= 45 and f"About {minutes} minutes" in text
    assert re.search(rf"\(notebooks/{path.name}\) \|.*\| {minutes} min \|", (ROOT / "README.md").read_text())


@each_notebook
def test_the_gallery_shows_it(path):
    """One cell is tagged, its picture is there, and the README describes it."""
    tagged = [cell for cell in cells(path, "code") if "gallery" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1
    picture = ROOT / "data" / "gallery" / f"{path.stem}.png"
    assert 5_000 < picture.stat().st_size < 150_000
    alt = re.search(rf'data/gallery/{picture.name}"[^>]* alt="([^"]+)"', (ROOT / "README.md").read_text())
    assert alt and len(alt[1].split()) >= 8


@each_notebook
def test_code_cells_are_short(path):
    """Ten lines or fewer, not counting the docstring of an exercise."""
    for cell in cells(path, "code"):
        lines = re.sub(r'"""[\s\S]*?"""', "", source(cell)).splitlines()
        assert sum(bool(line.strip()) for line in lines) <= 10, source(cell)


def test_the_bootstrap_is_the_same_everywhere():
    found = {source(cell) for path in NOTEBOOKS for cell in cells(path, "code") if is_bootstrap(cell)}
    assert len(found) == 1


# --- names ----------------------------------------------------------------------------------------


def is_bootstrap(cell) -> bool:
    return "bootstrap" in cell["metadata"].get("tags", [])


def statements(path) -> list[ast.stmt]:
    """What a notebook does after its first cell."""
    return [statement for cell in cells(path, "code") if not is_bootstrap(cell) for statement in parsed(cell)]


def parsed(cell) -> list[ast.stmt]:
    return ast.parse(source(cell)).body


def imported(statements) -> list[str]:
    nodes = [node for statement in statements for node in ast.walk(statement)]
    return [
        (alias.asname or alias.name).partition(".")[0]
        for node in nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]


def bound(statements) -> list[str]:
    """Every name that is given a meaning otherwise: by an assignment, a loop, a definition or an argument."""
    nodes = [node for statement in statements for node in ast.walk(statement)]
    stored = [node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    defined = [node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return stored + defined + [node.arg for node in nodes if isinstance(node, ast.arg)]


def checked(statement) -> str | None:
    """The name in `name = lesson.check(name)`; None for any other statement."""
    found = re.fullmatch(r"(\w+) = lesson\.check\(\1\)", ast.unparse(statement))
    return found and found[1]


def calls(statement, name) -> bool:
    return any(isinstance(node, ast.Call) and ast.unparse(node.func) == name for node in ast.walk(statement))


def uses(statement, name) -> bool:
    """Is the function called, or handed to another one?"""
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(statement))


@pytest.mark.parametrize("name, exercise", exercises.found().items(), ids=list(exercises.found()))
def test_the_notebook_goes_on_with_the_learners_function(name, exercise):
    [path] = [path for path in NOTEBOOKS if path.name.startswith(exercise.notebook)]
    made = statements(path)
    [at] = [i for i, statement in enumerate(made) if checked(statement) == name]
    assert any(uses(statement, name) for statement in made[at + 1 :]), f"{name} is checked and never used"


def test_every_open_exercise_has_a_strong_answer_and_the_teacher_knows_one():
    goals = {cell["id"] for path in NOTEBOOKS for cell in cells(path, "code") if "lesson.goal(" in source(cell)}
    assert goals == set(STRONG)
    for path in NOTEBOOKS:
        text = "\n".join(source(cell) for cell in cells(path, "markdown"))
        assert text.count("## Exercise 3, open") == text.count("**Exercise 3, a strong answer**") <= 1
        assert ("## Exercise 3, open" in text) == any(id.startswith(path.name[:2]) for id in STRONG)


@each_notebook
def test_every_check_is_of_an_exercise_of_this_notebook(path):
    found = [name for statement in statements(path) if (name := checked(statement))]
    assert found == [name for name, exercise in exercises.found().items() if path.name.startswith(exercise.notebook)]
    assert len(found) == sum(calls(statement, "lesson.check") for statement in statements(path))


@each_notebook
def test_a_name_keeps_its_meaning(path):
    """What the first cell or an import has brought stays what it is, and a place or a vector is one and the same."""
    [first] = [parsed(cell) for cell in cells(path, "code") if is_bootstrap(cell)]
    rest = statements(path)
    variables = [target for statement in first if isinstance(statement, ast.Assign) for target in statement.targets]
    taken = {*imported(first), *bound(variables), *imported(rest)}
    assert taken.intersection(bound(rest)) == set()
    times = collections.Counter(bound(rest))
    assert times["vector"] <= 1 and times["here"] <= 1


# --- recipes --------------------------------------------------------------------------------------

# What is called -> the numbers that have a name for it.
RECIPES = {
    "mix.naive": [*mix.NAIVE.values(), *mix.GENTLE.values()],
    "mix.balanced": [*mix.BALANCED.values()],
    "sft.tune": [*sft.NAIVE, *sft.BALANCED, *sft.GENTLE],
    "direction.find": [*direction.PUBLISHED, *direction.SMALL_MODEL],
    "direction.random_like": [direction.RANDOM],
    "lens.best_neuron": [lens.CHOOSING],
}


def numbers_beside(name, cell) -> set[float]:
    """The numbers on the lines where a function is called, also those in comments."""
    nodes = [node for statement in parsed(cell) for node in ast.walk(statement)]
    lines = source(cell).splitlines()
    beside = [
        line
        for node in nodes
        if isinstance(node, ast.Call) and ast.unparse(node.func) == name
        for line in lines[node.lineno - 1 : node.end_lineno]
    ]
    return {float(number) for number in re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?:e-?\d+)?", "\n".join(beside))}


@each_notebook
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_named_and_its_numbers_are_not_repeated(path, name):
    """0, 1 and 2 may mean anything: a seed, say."""
    known = {abs(number) for number in RECIPES[name]} - {0, 1, 2}
    for cell in cells(path, "code"):
        assert not known & numbers_beside(name, cell), source(cell)


def test_a_number_beside_a_call_is_found_and_others_are_not():
    cell = {"source": "x1 = 5\ny = mix.naive(\n    topic, 1200\n)  # 2e-3 of 0.5, max_7\nz = sft.tune(bot, data)  # 24"}
    assert numbers_beside("mix.naive", cell) == {1200, 0.002, 0.5} and numbers_beside("sft.tune", cell) == {24}


# --- files ----------------------------------------------------------------------------------------


def test_names_are_portable():
    assert all(re.fullmatch(r"\d\d_[a-z_]+\.ipynb", path.name) for path in NOTEBOOKS)


@each_notebook
def test_links_to_files_of_the_repository_resolve(path):
    text = "\n".join(source(cell) for cell in cells(path, "markdown"))
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (path.parent / target).exists(), target


@each_notebook
def test_headings_do_not_skip_a_level(path):
    levels = [len(m) for cell in cells(path, "markdown") for m in re.findall(r"^(#+) ", source(cell), re.MULTILINE)]
    assert all(b <= a + 1 for a, b in zip(levels, levels[1:], strict=False))


def test_ruff_finds_nothing():
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *command, str(ROOT)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
