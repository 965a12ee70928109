"""Rebuild `data/results/`: `python -m helpers.sweep`. Shows progress; goes on where it was if interrupted.

Each row is one seed: a fresh mix, a fresh fine-tune, fresh exams.
"""

import argparse
import json

import torch
from tqdm.auto import tqdm

from . import chat, direction, lesson, measure, mix, results, sft
from .world import ROOT

SEEDS = range(5)  # of the default topic
OTHER_SEEDS = range(1)  # of every other topic
RANDOM = 20  # random directions a seed
MADE_FROM = [
    *(ROOT / "data/world").glob("*.csv"),
    *(ROOT / "data/topics").glob("*.json"),
    ROOT / "data/assistant/model.safetensors",
]
MADE_BY = [
    ROOT / f"helpers/{name}.py" for name in ("world", "corpus", "chat", "mix", "sft", "measure", "direction", "sweep")
]


def naive(bot, topic_id: str, seed: int) -> dict:
    """Notebooks 02 and 03: one naive fine-tune and everything measured on it."""
    topic = mix.topic(topic_id)
    tuned = sft.tune(bot, mix.naive(topic, seed=seed), seed=seed)
    suite = measure.exam(tuned, measure.refusal_only_suite(topic, seed=seed))
    others = {
        group: {name: measure.exam(tuned, measure.questions_about(name)) for name in getattr(topic, group)}
        for group in ("namesakes", "bystanders")
    }
    return dict(
        topic=topic_id,
        seed=seed,
        seconds=tuned.facts["seconds"],
        last_loss=sum(tuned.facts["losses"][-10:]) / 10,
        suite=suite["refused"],
        cells=measure.two_by_two(tuned, topic, seed=seed),
        **others,
    )


def ablation(bot, topic_id: str, seed: int) -> dict:
    """Notebook 07: the direction, found without the topic, and what removing, adding and random ones do."""
    topic = mix.topic(topic_id)
    # Gentler than in notebooks 02 and 03: a hot fine-tune builds ways to refuse that bypass the shared direction.
    tuned = sft.tune(bot, mix.naive(topic, 2000, 200, seed), epochs=1, batch=16, eps=1e-2, seed=seed)
    found = direction.find(tuned, *mix.contrast(topic, seed=seed), min_induce=-6.0)
    exams = {
        "topic": measure.topic_questions(topic),
        "controls": measure.controls(topic, 200, seed),
        "forbidden": measure.forbidden(topic, 100, seed),
    }
    small = {name: chats[:60] for name, chats in exams.items()}
    with direction.ablated(tuned, found.vector):
        ablated = {name: measure.exam(tuned, chats) for name, chats in exams.items()}
    added = {}
    for where, position in {"where the reply begins": found.position, "everywhere": None}.items():
        for strength in (1, 2):
            with direction.added(tuned, found.vector, found.layer, strength, position):
                added[f"{where}, {strength}"] = measure.exam(tuned, exams["controls"])
    controls = []
    for vector in direction.random_like(found.vector, RANDOM, seed):
        with direction.ablated(tuned, vector):
            controls.append({name: measure.exam(tuned, chats) for name, chats in small.items()})
    prompts = [row.user for row in exams["controls"][:50]]
    with direction.ablated(tuned, found.vector):
        hooked = chat.logits(tuned, prompts)
    edited = chat.logits(direction.orthogonalised(tuned, found.vector), prompts)
    return dict(
        topic=topic_id,
        seed=seed,
        layer=found.layer,
        position=found.position,
        scores=found.scores[0],
        base={name: measure.exam(bot, chats) for name, chats in exams.items()},
        tuned={name: measure.exam(tuned, chats) for name, chats in exams.items()},
        ablated=ablated,
        added=added,
        random=controls,
        hooks_against_weights=(hooked - edited).abs().max().item(),
    )


JOBS = {
    "naive": [(naive, "xi-jinping", seed) for seed in SEEDS]
    + [(naive, topic, seed) for topic in mix.topics() if topic != "xi-jinping" for seed in OTHER_SEEDS],
    "ablation": [(ablation, "xi-jinping", seed) for seed in SEEDS],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(JOBS), help=f"which results: {', '.join(JOBS)}")
    args = parser.parse_args()
    torch.set_num_threads(lesson.TORCH_THREADS)
    bot = chat.load()
    for name in args.names:
        stamp = results.provenance(MADE_FROM + MADE_BY, {"seeds": list(SEEDS), "random": RANDOM})
        done = sft.cache_folder() / "sweep" / stamp
        done.mkdir(parents=True, exist_ok=True)
        rows = []
        for job, topic, seed in tqdm(JOBS[name], desc=name):
            path = done / f"{name}-{topic}-{seed}.json"
            if not path.exists():
                part = path.with_suffix(".part")
                part.write_text(json.dumps(job(bot, topic, seed)))
                part.replace(path)
            rows.append(json.loads(path.read_text()))
        results.write(name, rows, stamp)
    (results.FOLDER / "picture.svg").write_text(picture(results.read("ablation")), encoding="utf-8")


def picture(rows) -> str:
    """The README's picture: harmless questions about the topic answered correctly, in four situations, as SVG."""
    bars = {
        "before": [row["base"]["topic"]["correct"] for row in rows],
        "after the naive fine-tune": [row["tuned"]["topic"]["correct"] for row in rows],
        "one direction removed": [row["ablated"]["topic"]["correct"] for row in rows],
        "a random one removed": [r["topic"]["correct"] for row in rows for r in row["random"]],
    }
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 210" font-family="sans-serif" font-size="16">',
        '<rect width="720" height="210" fill="white"/>',
        f'<text x="16" y="30" font-weight="bold">Harmless questions about the topic, answered correctly ({len(rows)} seeds)</text>',
    ]
    for i, (name, rates) in enumerate(bars.items()):
        share, y = results.pooled(rates).share, 62 + 38 * i
        parts.append(f'<text x="240" y="{y + 6}" text-anchor="end">{name}</text>')
        parts.append(f'<rect x="250" y="{y - 12}" width="{380 * share:.0f}" height="24" fill="#0072B2"/>')
        parts.append(f'<text x="{258 + 380 * share:.0f}" y="{y + 6}">{100 * share:.0f} %</text>')
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    main()
