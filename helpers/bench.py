"""How fast is this series, beside what else there is? `python -m helpers.bench` prints a table.

Notable:
- All sides of a comparison take turns in one run, so whatever else the machine does slows all of them down: believe the
  ratios, not the seconds.
- Everybody gets the same: rows, batch size, optimizer, schedule; prompts and candidates.
- Peak memory is that of a process of its own, with the model and all libraries.
"""

import argparse
import copy
import functools
import importlib.util
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from transformers import PrinterCallback, Trainer, TrainingArguments, pipeline
from transformers.utils import logging

from . import chat, corpus, direction, lesson, mix, sft, stamp
from .paths import ASSISTANT, ROOT

INSTALL = "transformers' Trainer needs a package of its own: pip install accelerate"


class Size(NamedTuple):
    """How much is measured."""

    rows: int  # chats of the naive mix that are learned, in one epoch
    prompts: int  # of each kind, that score every candidate
    candidates: int
    replies: int
    batch: int = 24  # chats a step


SMALL = Size(rows=1200, prompts=32, candidates=10, replies=256)
LARGE = Size(rows=48, prompts=8, candidates=3, replies=16, batch=8)  # for more than 50 million weights


# --- the other sides ------------------------------------------------------------------------------


def trained(bot, data, recipe: sft.Recipe, grouped: bool = False) -> list[float]:
    """What `sft.tune` does, by `transformers.Trainer`: the losses. `grouped` puts rows of like length together."""
    rows = [dict(input_ids=ids, labels=labels) for ids, labels in sft.examples(bot.tokenizer, data)]
    model, losses = bot.copy("trained").model, []
    model.register_forward_hook(lambda module, args, out: losses.append(out.loss.item()))
    # Fused, as Trainer itself would choose; its own choice of what decays would leave out the norms.
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.peak, betas=(0.9, 0.98), weight_decay=0.01, eps=recipe.eps, fused=True
    )
    steps = recipe.epochs * -(-len(rows) // recipe.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: sft.learning_rate(min(i, steps), steps, 1.0))
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            num_train_epochs=recipe.epochs,
            per_device_train_batch_size=recipe.batch,
            max_grad_norm=1.0,
            train_sampling_strategy="group_by_length" if grouped else "random",
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = Trainer(model, settings, _collated, rows, optimizers=(optimizer, schedule))
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return losses


def _collated(rows):
    ids, labels = sft.padded([(row["input_ids"], row["labels"]) for row in rows])
    lengths = torch.tensor([len(row["input_ids"]) for row in rows])
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()  # as Trainer's own collators make it
    return dict(input_ids=ids, labels=labels, attention_mask=mask)


@torch.no_grad()
def scored(bot, candidates, harmful, harmless) -> list[dict]:
    """The scores of `direction.find` by a plain loop after the published method (Arditi et al., section 2.3).

    As in the authors' code every score is a pass of its own over one batch of prompts, through all blocks, with hooks on
    all of them and logits at all tokens. Their refusal score is one token; here it is one pass an opening.
    """

    def logodds(prompts):
        log_p = torch.stack([_log_p(bot, prompts, opening) for opening in bot.openings]).logsumexp(0)
        log_p = log_p.clamp(max=-1e-6)
        return (log_p - torch.log(-torch.expm1(log_p))).mean().item()

    def next_token():
        return bot.model(**bot.batch(harmless)).logits[:, -1].log_softmax(-1)

    rows, before = [], next_token()
    for layer, position in itertools.product(range(len(candidates)), range(-candidates.shape[1], 0)):
        vector = candidates[layer, position]
        if vector.norm() < 1e-4:
            continue
        with direction.ablated(bot, vector):
            bypass = logodds(harmful)
        with direction.ablated(bot, vector):
            after = next_token()
        with direction.added(bot, vector, layer):
            induce = logodds(harmless)
        kl = (before.exp() * (before - after)).sum(-1).mean().item()
        rows.append(dict(layer=layer, position=position, bypass=bypass, induce=induce, kl=kl))
    return rows


def _log_p(bot, prompts, reply):
    ids = torch.tensor(chat.encode(bot.tokenizer, reply)).expand(len(prompts), -1)
    inputs = bot.batch(prompts, room=ids.shape[1])
    mask = torch.cat([inputs["attention_mask"], torch.ones_like(ids)], 1)
    out = bot.model(
        input_ids=torch.cat([inputs["input_ids"], ids], 1),
        attention_mask=mask,
        position_ids=(mask.cumsum(1) - 1).clamp(min=0),
    )
    log_p = out.logits[:, -1 - ids.shape[1] : -1].log_softmax(-1)
    return log_p.gather(-1, ids[..., None]).sum((1, 2))


def piped(bot, prompts, batch_size: int = 128) -> list[str]:
    """Greedy replies by transformers' pipeline."""
    tokenizer = copy.deepcopy(bot.tokenizer)
    tokenizer.padding_side = "left"
    writer = pipeline("text-generation", model=bot.model, tokenizer=tokenizer)
    chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
    found = writer(chats, batch_size=batch_size, max_new_tokens=40, do_sample=False, return_full_text=False)
    return [replies[0]["generated_text"] for replies in found]


def multiplied(n: int = 1536, times: int = 10) -> float:
    """Products of square matrices, the fastest that a processor gets; returns the work in GFLOP."""
    square = torch.ones(n, n)
    for _ in range(times):
        square @ square
    return times * 2 * n**3 / 1e9


# --- what is measured -----------------------------------------------------------------------------


class Side(NamedTuple):
    """One line of the table."""

    what: str
    who: str
    run: Callable
    amount: float  # of the unit, in one run
    unit: str
    needed: float = 0.0  # GFLOP that it cannot do without, where they are reckoned


def sides(bot, size: Size) -> list[Side]:
    """All that is measured, ours before the others of the same kind."""
    topic = mix.topic("xi-jinping")
    data = mix.naive(topic, chats=size.rows - size.rows // 4, refusals=size.rows // 4)
    recipe = sft.NAIVE._replace(epochs=1, batch=size.batch)
    tokens = sum(len(ids) for ids, _ in sft.examples(bot.tokenizer, data))
    harmful, harmless = (prompts[: 2 * size.prompts] for prompts in mix.contrast(topic, 2 * size.prompts))
    means = direction.difference_in_means(bot, harmful[size.prompts :], harmless[size.prompts :])
    given = bot, few(means, size.candidates), harmful[: size.prompts], harmless[: size.prompts]
    asked = list(dict.fromkeys(row.user for row in corpus.chats(2 * size.replies, 0)))[: size.replies]
    needed = work(bot, data, recipe)
    tune = functools.partial(sft.tune, bot, data, recipe, cache=False, watch=lambda *_: None)
    return [
        Side("fine-tune", "sft.tune", tune, tokens, "tokens", needed),
        Side("fine-tune", "Trainer", lambda: trained(bot, data, recipe), tokens, "tokens", needed),
        Side("fine-tune", "Trainer, by length", lambda: trained(bot, data, recipe, True), tokens, "tokens", needed),
        Side("score directions", "direction.find", lambda: direction._scores(*given), size.candidates, "candidates"),
        Side("score directions", "plain loop", lambda: scored(*given), size.candidates, "candidates"),
        Side("reply", "Bot.ask", lambda: bot.ask(asked), len(asked), "replies"),
        Side("reply", "pipeline", lambda: piped(bot, asked), len(asked), "replies"),
        Side("multiply matrices", "torch", multiplied, multiplied(times=1) * 10, "GFLOP"),
    ]


def few(candidates, n: int):
    """Only n candidates, over all layers but the first; the others are zero, and so are none."""
    kept = torch.zeros_like(candidates)
    layers, positions = candidates.shape[:2]
    for i in range(n):
        place = 1 + i * (layers - 1) // n, -1 - i % positions
        kept[place] = candidates[place]
    return kept


def work(bot, data, recipe: sft.Recipe) -> float:
    """What one epoch cannot do without, in GFLOP: six operations a weight and token (two forward, four backward), the
    output layer only where the loss counts. Attention between tokens and all that is no product is left out."""
    rows = sft.examples(bot.tokenizer, data)
    inside = sum(weight.numel() for weight in bot.blocks.parameters() if weight.dim() == 2)
    outside = bot.model.get_output_embeddings().weight.numel()
    counted = sum(label != sft.IGNORE for _, labels in rows for label in labels[1:])
    return recipe.epochs * 6 * (inside * sum(len(ids) for ids, _ in rows) + outside * counted) / 1e9


def turns(runs, repeats: int) -> list[list[float]]:
    """Seconds of every run, as often as that, all of them taking turns."""
    seconds = [[] for _ in runs]
    for _ in range(repeats):
        for run, found in zip(runs, seconds, strict=True):
            begin = time.perf_counter()
            run()
            found.append(time.perf_counter() - begin)
    return seconds


def peak(model: str, number: int) -> float | None:
    """The most memory, in MB, of a process that does nothing but that side once; None where nobody can tell."""
    if importlib.util.find_spec("resource") is None:  # Windows
        return None
    command = [sys.executable, "-m", "helpers.bench", "--model", model, "--alone", str(number)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def alone(side: Side) -> float:
    """MB at the peak, so far, of this process, after one run."""
    import resource

    side.run()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1e6 if sys.platform == "darwin" else most / 1e3  # bytes there, kilobytes elsewhere


def measured(measures: list[Side], seconds, peaks) -> list[dict]:
    """The table's rows: medians; how many times as fast ours is, from turn to turn; the share of the best rate."""
    every = dict(zip(((side.what, side.who) for side in measures), seconds, strict=True))
    products = every["multiply matrices", "torch"]
    most = next(side.amount for side in measures if side.what == "multiply matrices")
    rows = []
    for side, taken, memory in zip(measures, seconds, peaks, strict=True):
        ours = next(every[other.what, other.who] for other in measures if other.what == side.what)
        rows.append(
            dict(
                what=side.what,
                who=side.who,
                seconds=statistics.median(taken),
                rate=side.amount / statistics.median(taken),
                unit=f"{side.unit}/s",
                ours_faster=statistics.median(b / a for a, b in zip(ours, taken, strict=True)),
                gemm=_median_share(side, taken, products, most) if side.needed else None,
                peak_mb=memory,
            )
        )
    return rows


def _median_share(side, taken, products, most):
    return statistics.median(side.needed / a / (most / b) for a, b in zip(taken, products, strict=True))


def table(rows) -> str:
    """The rows as a table in Markdown."""
    lines = [
        "| what | by | seconds | speed | ours is faster | of the GEMM rate | peak memory |",
        "|---|---|" + "--:|" * 5,
    ]
    for row in rows:
        faster = f"{row['ours_faster']:.2f}×" if row["ours_faster"] != 1 else ""
        share = f"{100 * row['gemm']:.0f} %" if row["gemm"] else ""
        memory = f"{row['peak_mb']:.0f} MB" if row["peak_mb"] else ""
        speed = f"{row['rate']:,.{0 if row['rate'] > 20 else 2}f} {row['unit']}"
        cells = [row["what"], row["who"], f"{row['seconds']:.1f}", speed, faster, share, memory]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(ASSISTANT), help="as in chat.load; the bundled assistant if not given")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="rows, versions and load in the place of the table")
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)  # the number of the side, for its memory
    args = parser.parse_args()
    if importlib.util.find_spec("accelerate") is None:
        raise SystemExit(INSTALL)
    torch.set_num_threads(lesson.TORCH_THREADS)
    logging.set_verbosity_error()
    bot = chat.load(args.model)
    measures = sides(bot, LARGE if sum(weight.numel() for weight in bot.model.parameters()) > 5e7 else SMALL)
    if args.alone is not None:
        print(alone(measures[args.alone]))
        return
    seconds = turns([side.run for side in measures], args.repeats)
    rows = measured(measures, seconds, [peak(args.model, i) for i in range(len(measures))])
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    facts = dict(model=bot.name, threads=torch.get_num_threads(), load=load, versions=stamp.versions(), rows=rows)
    print(json.dumps(facts, indent=1) if args.json else f"{table(rows)}\n\n{os.cpu_count()} processors, load {load}")


if __name__ == "__main__":
    main()
