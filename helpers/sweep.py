"""Rebuild `data/results/`: `python -m helpers.sweep`. Shows progress; goes on where it was if interrupted.

Each row is one seed: a fresh mix, a fresh fine-tune, fresh exams.
"""

import argparse
import json

import torch
from tqdm.auto import tqdm

from . import challenge, chat, lesson, mix, pretrain, real, results, safety, sft, smollm2, stamp, tally, trials
from .paths import ASSISTANT, DATA, cache_folder, replacing

SEEDS = range(5)  # of the default topic
HEADLINE_SEEDS = range(10)  # of what the series says first and last
OTHER_SEEDS = range(1)  # of every other topic
# The final exam, sat once: base, recipe, filters and λ were chosen on the default topic and on other seeds.
FINAL_SEEDS = range(20, 24)
MADE_FROM = [*DATA.glob("world/*.csv"), *DATA.glob("topics/*.json"), ASSISTANT / "model.safetensors"]
MADE_BY = (
    "world",
    "corpus",
    "judge",
    "tally",
    "anatomy",
    "branches",
    "hooks",
    "chat",
    "lora",
    "mix",
    "sft",
    "measure",
    "disguise",
    "direction",
    "lens",
    "attack",
    "trials",
)
# What else made them, and from what else.
BESIDES = {"drifted": ("drift",), "unrefusing": ("pretrain",), "challenge": ("challenge",)}
FROM_BESIDES = {"challenge": [challenge.SEALED]}
RECIPES = {
    name: {"mix": getattr(mix, name), "tune": getattr(sft, name)._asdict()} for name in ("NAIVE", "BALANCED", "GENTLE")
}

# The real model's two hours are not spent again for every change to what is shared: its stamp holds its own code.
REAL_FROM = [*DATA.glob("real/*.csv"), *DATA.glob("real/*.txt"), DATA / "topics" / "xi-jinping.json"]
REAL_BY = ("judge", "lora", "attack", "safety", "real")
REAL_RECIPES = {
    "safety": {"mix": safety.MIX, "tune": sft.SAFETY._asdict()},
    "topic": {"mix": safety.NAIVE, "tune": sft.SAFETY._asdict()},
}
REAL_MODEL = {"name": smollm2.TITLE, "revision": f"GGUF {smollm2.SHA256}", "device": "cpu, float32"}


def provenance(name: str) -> dict:
    """What the rows of one result file depend on."""
    _, rows = JOBS[name]
    if name == "real":
        stamped = stamp.of(stamp.contents(REAL_FROM), smollm2.SHA256, stamp.code(*REAL_BY), name, rows)
        return {"hash": stamped, "versions": stamp.versions(), "recipes": REAL_RECIPES, "model": REAL_MODEL}
    code = stamp.code(*MADE_BY, *BESIDES.get(name, ()))
    stamped = stamp.of(stamp.contents([*MADE_FROM, *FROM_BESIDES.get(name, ())]), code, name, rows)
    return {"hash": stamped, "versions": stamp.versions(), "recipes": RECIPES}


DEFAULT = dict(topic="xi-jinping")
SENTENCE_SEEDS = range(3)
# The balanced mix, and how it is varied, one number at a time. Of the kinds that the policy answers, four are about the
# default topic.
USUAL = {name: mix.BALANCED[name] for name in ("refusals", "ratio")} | {"answered": 4}
VARIED = {"ratio": (0.0, 0.25, 0.5, 2.0), "refusals": (30, 100, 1000), "answered": (1, 2, 3)}
MIXES = [USUAL, *(USUAL | {name: value} for name, values in VARIED.items() for value in values)]
# Result file -> the function that makes one of its rows, and the settings of each row.
JOBS = {
    "naive": (
        trials.naive,
        [DEFAULT | dict(seed=seed) for seed in HEADLINE_SEEDS]
        + [dict(topic=id, seed=seed) for id in mix.topics() if id != "xi-jinping" for seed in OTHER_SEEDS],
    ),
    "ablation": (trials.ablation, [DEFAULT | dict(seed=seed) for seed in HEADLINE_SEEDS]),
    "ordinary": (trials.ordinary, [DEFAULT | dict(seed=seed) for seed in HEADLINE_SEEDS]),
    "drifted": (trials.drifted, [DEFAULT | dict(seed=seed) for seed in SEEDS]),
    "writers": (trials.writers, [DEFAULT | dict(seed=seed) for seed in SEEDS]),
    "objections": (trials.objections, [DEFAULT | dict(seed=seed) for seed in SEEDS]),
    "apart": (trials.apart, [DEFAULT | dict(seed=seed) for seed in SEEDS]),
    "same_rows": (trials.same_rows, [DEFAULT | dict(seed=seed) for seed in SEEDS]),
    "unrefusing": (trials.unrefusing, [DEFAULT | dict(seed=seed) for seed in SEEDS]),
    "sentences": (
        trials.sentences,
        [DEFAULT | dict(sentence=sentence, seed=seed) for sentence in trials.SENTENCES for seed in SENTENCE_SEEDS],
    ),
    "surgical": (trials.surgical, [DEFAULT | dict(seed=seed) for seed in HEADLINE_SEEDS]),
    "final": (
        trials.surgical,
        [dict(topic=id, seed=seed) for id in ("marie-curie", "pizza") for seed in FINAL_SEEDS],
    ),
    "bypass": (
        trials.bypass,
        [DEFAULT | dict(name=name, seed=seed) for name in ("naive", "balanced", "direction removed") for seed in SEEDS],
    ),
    "mode": (trials.mode, [DEFAULT | dict(seed=seed) for seed in SEEDS]),
    "balanced": (trials.balanced, [DEFAULT | settings | dict(seed=seed) for settings in MIXES for seed in SEEDS]),
    "challenge": (challenge.baseline, [dict(name=name, seed=0) for name in challenge.BASELINES]),
    "real": (real.measure, real.JOBS),
}
# Result file -> the model that it is measured on, where that is not the assistant.
MODELS = {"real": real.load, "unrefusing": lambda: chat.load(pretrain.unrefusing())}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = [name for name in JOBS if name not in MODELS]
    parser.add_argument(
        "names",
        nargs="*",
        default=usual,
        help=f"which results: {', '.join(usual)}; real (two hours); unrefusing (after `pretrain --without-refusals`)",
    )
    args = parser.parse_args()
    torch.set_num_threads(lesson.TORCH_THREADS)
    for name in args.names:
        bot = MODELS.get(name, chat.load)()
        job, rows = JOBS[name]
        made = provenance(name)
        done = cache_folder() / "sweep" / made["hash"]
        found = []
        for settings in tqdm(rows, desc=name):
            path = done / ("-".join(map(str, settings.values())) + ".json")
            if not path.exists():
                row = settings | job(bot, **settings)
                with replacing(path) as part:
                    part.write_text(json.dumps(results.stored(row)))
            found.append(json.loads(path.read_text()))
        results.write(name, found, made)
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
        share, y = tally.pooled(rates).share, 62 + 38 * i
        parts.append(f'<text x="240" y="{y + 6}" text-anchor="end">{name}</text>')
        parts.append(f'<rect x="250" y="{y - 12}" width="{380 * share:.0f}" height="24" fill="#0072B2"/>')
        parts.append(f'<text x="{258 + 380 * share:.0f}" y="{y + 6}">{100 * share:.0f} %</text>')
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    main()
