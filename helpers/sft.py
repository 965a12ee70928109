"""Supervised fine-tuning: a training loop one can read aloud.

Notable:
- The loss counts reply tokens only.
- Batches hold chats of like length; the order depends on the seed alone.
- `tune` leaves the bot it is given untouched, can be stopped, and remembers its results on disk.
"""

import hashlib
import json
import math
import os
import pathlib
import random
import shutil
import tempfile
import time

import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from . import chat
from .chat import Bot
from .world import ROOT

IGNORE = -100  # the label that cross_entropy skips


def tune(
    bot: Bot,
    data,
    epochs: int = 2,
    rate: float = 2e-3,
    batch: int = 24,
    eps: float = 1e-3,
    seed: int = 0,
    cache: bool = True,
    watch=None,
) -> Bot:
    """A copy of the bot, fine-tuned on the rows of `data` (columns `user` and `assistant`).

    Interrupting the kernel ends training early: the copy then has `facts["finished"]` False and is not remembered.
    `watch(tuned, losses, steps)`, if given, takes the place of the progress bar: it is called after every step, and
    training ends early if it returns True.
    A finished copy is remembered, so that the same bot, data and settings give it back at once.
    `facts` holds losses (one a step), seconds, steps, finished and cached.
    """
    if not len(data):
        raise ValueError("There is nothing to learn from: the mix is empty.")
    settings = dict(epochs=epochs, rate=rate, batch=batch, eps=eps, seed=seed)
    folder = cache_folder() / "tuned" / fingerprint(bot, data, settings)
    if cache and (found := _recall(bot, folder)):
        return found

    tuned = bot.copy(f"{bot.name}, tuned")
    rows = examples(bot.tokenizer, data)
    rng = random.Random(seed)
    torch.manual_seed(seed)
    plan = [indices for _ in range(epochs) for indices in batches(rows, batch, rng)]
    # With its usual eps of 1e-8 AdamW moves all weights about equally far. With a large one a weight of small gradient
    # moves little, so the model leans on the ways to refuse that it has already (data/assistant/README.md).
    optimizer = torch.optim.AdamW(tuned.model.parameters(), betas=(0.9, 0.98), weight_decay=0.01, eps=eps)
    losses, begin = [], time.perf_counter()
    bar = tqdm(plan, desc="fine-tuning", unit="step", disable=watch is not None)
    tuned.model.train()
    try:
        for i, indices in enumerate(bar):
            losses.append(step(tuned.model, [rows[j] for j in indices], optimizer, learning_rate(i, len(plan), rate)))
            bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
            if watch and watch(tuned, losses, len(plan)):
                break
    except KeyboardInterrupt:
        print(f"Stopped after {len(losses)} of {len(plan)} steps. You get the model as it is now.")
    tuned.model.eval()
    seconds = round(time.perf_counter() - begin, 1)
    tuned.facts.update(
        losses=losses, seconds=seconds, steps=len(losses), finished=len(losses) == len(plan), cached=False
    )
    if cache and tuned.facts["finished"]:
        try:
            _remember(tuned, folder)
        except OSError as error:
            print(f"I could not remember this result ({error}). You get it all the same.")
    return tuned


# --- the loop's parts -----------------------------------------------------------------------------


def examples(tokenizer, data) -> list[tuple[list[int], list[int]]]:
    """(ids, labels) for each chat; labels are the ids where the loss counts and IGNORE elsewhere."""
    pairs = (chat.tokens(tokenizer, row["user"], row["assistant"], row.get("begun", "")) for row in data)
    return [(ids, [i if counts else IGNORE for i, counts in zip(ids, mask)]) for ids, mask in pairs]


def batches(rows, size: int, rng: random.Random) -> list[list[int]]:
    """Indices in batches of like length: shuffle, sort within windows of 20 batches, shuffle the batches."""
    order = rng.sample(range(len(rows)), len(rows))
    window = 20 * size
    found = []
    for start in range(0, len(order), window):
        near = sorted(order[start : start + window], key=lambda i: len(rows[i][0]))
        found += [near[i : i + size] for i in range(0, len(near), size)]
    rng.shuffle(found)
    return found


def padded(rows) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """ids, labels and attention mask of some examples, right-padded: each (row, token)."""
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in rows])
    labels = torch.tensor([labels + [IGNORE] * (longest - len(labels)) for _, labels in rows])
    mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in rows])
    return ids, labels, mask


def loss_of(model, rows) -> torch.Tensor:
    """Mean cross-entropy over the tokens that count. Position t predicts token t + 1, hence the shift."""
    ids, labels, mask = (part.to(model.device) for part in padded(rows))
    states = model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    counted = labels[:, 1:] != IGNORE
    # The output layer is the widest of a small model: apply it only where the loss looks.
    logits = model.get_output_embeddings()(states[:, :-1][counted])
    if cap := getattr(model.config, "final_logit_softcapping", None):  # Gemma 2
        logits = cap * torch.tanh(logits / cap)
    return cross_entropy(logits.float(), labels[:, 1:][counted])


@torch.no_grad()
def mean_loss(bot: Bot, data, batch: int = 32) -> float:
    """The loss of a bot on the rows of a mix, in nats a token, without training on them."""
    rows = sorted(examples(bot.tokenizer, data), key=lambda row: len(row[0]))
    total = tokens = 0
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        counted = sum(label != IGNORE for _, labels in part for label in labels)
        total += counted * loss_of(bot.model, part).item()
        tokens += counted
    return total / tokens


def learning_rate(step: int, steps: int, peak: float, warmup: int = 20) -> float:
    """A short linear warm-up, then half a cosine down to zero."""
    return peak * min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * step / steps))


def step(model, rows, optimizer, rate: float) -> float:
    """One update of the weights; returns the loss before it."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss = loss_of(model, rows)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


# --- the memory on disk ---------------------------------------------------------------------------


def cache_folder() -> pathlib.Path:
    """`.cache` in the checkout or, where that cannot be written, a folder in the user's own cache.

    The environment variable OVERREFUSAL_CACHE names another folder.
    """
    if "OVERREFUSAL_CACHE" in os.environ:
        return pathlib.Path(os.environ["OVERREFUSAL_CACHE"])
    inside = ROOT / ".cache"
    if os.access(inside if inside.exists() else ROOT, os.W_OK):
        return inside
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "why-models-over-refuse"


def fingerprint(bot: Bot, data, settings: dict) -> str:
    """A hash of everything the result depends on: weights, rows and settings."""
    found = hashlib.sha256(bot.tokenizer.chat_template.encode())
    for name, weight in sorted(bot.model.state_dict().items()):
        found.update(name.encode() + weight.cpu().contiguous().numpy().tobytes())
    rows = [[row[key] for key in ("user", "assistant", "begun") if row.get(key)] for row in data]
    found.update(json.dumps([rows, settings], sort_keys=True).encode())
    return found.hexdigest()[:24]


def _remember(tuned: Bot, folder: pathlib.Path) -> None:
    """Write to a temporary folder and rename it: a reader sees the whole result or none."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = pathlib.Path(tempfile.mkdtemp(dir=folder.parent))
    weights = {name: weight.contiguous() for name, weight in tuned.model.named_parameters()}
    try:
        save_file(weights, part / "weights.safetensors")
        digest = hashlib.sha256((part / "weights.safetensors").read_bytes()).hexdigest()
        (part / "facts.json").write_text(json.dumps(tuned.facts | {"sha256": digest}))
        # Another notebook may just have remembered the same result, or left a damaged one.
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _recall(bot: Bot, folder: pathlib.Path) -> Bot | None:
    """The remembered result; None if there is none, or if it is damaged (it is then made anew)."""
    try:
        facts = json.loads((folder / "facts.json").read_text())
        if hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest() != facts.pop("sha256"):
            return None
        weights = load_file(folder / "weights.safetensors")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    tuned = bot.copy(f"{bot.name}, tuned", **facts | {"cached": True})
    tuned.model.load_state_dict(weights, strict=False)  # tied weights are stored once
    return tuned
