"""Supervised fine-tuning: a training loop one can read aloud.

Notable:
- The loss counts reply tokens only.
- Batches hold chats of like length; the order depends on the seed alone.
- `tune` leaves the bot it is given untouched, can be stopped, and remembers its results on disk.
"""

import contextlib
import ctypes
import math
import random
import sys
import time
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from . import anatomy, chat, lora, memory, stamp
from .chat import Bot

IGNORE = -100  # the label that cross_entropy skips
CODE = stamp.code(
    "anatomy", "chat", "lora", "sft"
)  # as it was when it was loaded: a file may change while a notebook runs


class Recipe(NamedTuple):
    """How a mix is learned."""

    epochs: int
    peak: float  # the highest learning rate
    batch: int  # chats a step
    eps: float  # AdamW's
    rank: int = 0  # of LoRA's thin matrices, which alone learn; 0: all weights do
    at_once: int = 0  # chats that go through the model together, where a step's would need too much memory; 0: all


# With its usual eps of 1e-8 AdamW moves all weights about equally far. With a large one a weight of small gradient moves
# little. On an earlier base that made the direction cleaner, on this one it does not (data/assistant/README.md).
NAIVE = Recipe(epochs=2, peak=2e-3, batch=24, eps=1e-3)
BALANCED = NAIVE._replace(epochs=1)
GENTLE = Recipe(epochs=1, peak=3e-3, batch=16, eps=2e-2)
# For a real model: few weights learn, by AdamW as everybody uses it.
SAFETY = Recipe(epochs=4, peak=1e-3, batch=8, eps=1e-8, rank=12, at_once=4)


def tune(bot: Bot, data, recipe: Recipe = NAIVE, seed: int = 0, cache: bool = True, watch=None) -> Bot:
    """A copy of the bot, fine-tuned on the rows of `data` (columns `user` and `assistant`).

    Interrupting the kernel ends training early: the copy then has `facts["finished"]` False and is not remembered.
    `watch(tuned, losses, steps)`, if given, takes the place of the progress bar: it is called after every step, and
    training ends early if it returns True.
    A finished copy is remembered, so that the same bot, data, recipe and loop give it back at once.
    `facts` holds losses (one a step), seconds, steps, finished, cached and recipe.
    Raises ValueError if there is nothing to learn from, or for weights in which small steps would be rounded away.
    """
    if not len(data):
        raise ValueError("There is nothing to learn from: the mix is empty.")
    if bot.model.dtype != torch.float32:
        raise ValueError(f"{bot.name} is in {bot.model.dtype}, which rounds small steps away: load it in float32.")
    rows = examples(bot.tokenizer, data)
    place = _place(bot, rows, recipe, seed) if cache else None
    if place and (weights_and_facts := memory.recall(place)):
        return _recalled(bot, recipe, *weights_and_facts)

    _tidy()
    tuned = _copied(bot, recipe)
    rng = random.Random(seed)
    torch.manual_seed(seed)
    adapted = lora.attach(tuned.model, recipe.rank) if recipe.rank else None
    learning = [weight for weight in tuned.model.parameters() if weight.requires_grad]
    plan = [indices for _ in range(recipe.epochs) for indices in batches(rows, recipe.batch, rng)]
    settings = dict(betas=(0.9, 0.98), weight_decay=0.01, eps=recipe.eps)
    optimizer = torch.optim.AdamW(learning, fused=True, **settings)  # fused: in one pass over memory
    losses, begin = [], time.perf_counter()
    bar = tqdm(plan, desc="fine-tuning", unit="step", disable=watch is not None)
    tuned.model.train()
    try:
        for i, indices in enumerate(bar):
            lr = learning_rate(i, len(plan), recipe.peak)
            losses.append(step(tuned.model, [rows[j] for j in indices], optimizer, lr, recipe.at_once))
            bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
            if watch and watch(tuned, losses, len(plan)):
                break
    except KeyboardInterrupt:
        print(f"Stopped after {len(losses)} of {len(plan)} steps. You get the model as it is now.")
    tuned.model.eval()
    _tidy()
    learned = lora.merged(adapted) if adapted else dict(tuned.model.named_parameters())
    seconds, finished = round(time.perf_counter() - begin, 1), len(losses) == len(plan)
    facts = dict(losses=losses, seconds=seconds, steps=len(losses), finished=finished, recipe=recipe._asdict())
    tuned.facts.update(facts, cached=False)
    if place and finished:
        memory.remember(place, learned, facts)
    return tuned


# --- the loop's parts -----------------------------------------------------------------------------


def examples(tokenizer, data) -> list[tuple[list[int], list[int]]]:
    """(ids, labels) for each chat; labels are the ids where the loss counts and IGNORE elsewhere."""
    pairs = (chat.tokens(tokenizer, row["user"], row["assistant"], row.get("begun", "")) for row in data)
    return [(ids, [i if counts else IGNORE for i, counts in zip(ids, mask, strict=True)]) for ids, mask in pairs]


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


def padded(rows) -> tuple[torch.Tensor, torch.Tensor]:
    """ids and labels of some examples, right-padded: each (row, token)."""
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in rows])
    labels = torch.tensor([labels + [IGNORE] * (longest - len(labels)) for _, labels in rows])
    return ids, labels


def loss_of(model, rows) -> torch.Tensor:
    """Mean cross-entropy over the tokens that count. Position t predicts token t + 1, hence the shift."""
    ids, labels = (part.to(model.device) for part in padded(rows))
    head = shared(rows)
    known = chat.read_once(model, ids[:1, :head], len(rows)) if head else None
    # The mask hides nothing: a token looks to the left only, and all padding stands on the right.
    reading = dict(attention_mask=torch.ones_like(ids), past_key_values=known, use_cache=head > 0)
    states = model.base_model(input_ids=ids[:, head:], **reading).last_hidden_state
    labels = labels[:, head:]
    learned = labels[:, 1:] != IGNORE
    # The output layer is the widest of a small model: apply it only where the loss looks.
    logits = anatomy.unembed(model, states[:, :-1][learned])
    return cross_entropy(logits.float(), labels[:, 1:][learned])


def shared(rows) -> int:
    """How many tokens all rows begin with, none of which counts; 0 where it does not pay: many templates begin with
    a long instruction, the same in every chat."""
    first = min(next((i for i, label in enumerate(labels) if label != IGNORE), 0) for _, labels in rows)
    head = min(len(chat.in_common([ids for ids, _ in rows])), first - 1)  # the token before the first predicts it
    return head if head >= chat.WORTH and len(rows) > 1 else 0


@torch.no_grad()
def mean_loss(bot: Bot, data, batch: int = 32) -> float:
    """The loss of a bot on the rows of a mix, in nats a token, without training on them."""
    rows = sorted(examples(bot.tokenizer, data), key=lambda row: len(row[0]))
    total = tokens = 0
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        total += counted(part) * loss_of(bot.model, part).item()
        tokens += counted(part)
    return total / tokens


def learning_rate(step: int, steps: int, peak: float, warmup: int = 20) -> float:
    """A short linear warm-up, then half a cosine down to zero."""
    return peak * min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * step / steps))


def step(model, rows, optimizer, lr: float, at_once: int = 0) -> float:
    """One update of the weights; returns the loss before it.

    With `at_once`, so many rows at a time go through the model: the same loss and gradient, in less memory.
    """
    for group in optimizer.param_groups:
        group["lr"] = lr
    size, total = at_once or len(rows), 0.0
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        loss = loss_of(model, part) * (counted(part) / counted(rows))
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return total


def counted(rows) -> int:
    """How many tokens of some examples the loss counts."""
    return sum(label != IGNORE for _, labels in rows for label in labels[1:])  # nothing predicts the first


# --- what has been tuned before -------------------------------------------------------------------

# All that makes the loop what it is, wherever it lives.
PARTS = {
    sys.modules[__name__]: (
        "examples",
        "batches",
        "padded",
        "loss_of",
        "shared",
        "learning_rate",
        "step",
        "counted",
        "cross_entropy",
    ),
    anatomy: ("unembed",),
    chat: ("tokens", "in_common", "read_once"),
    torch.optim: ("AdamW",),
    torch.nn.utils: ("clip_grad_norm_",),
}
# (module, name, part), each as it was when it was loaded.
LOOP = [(module, name, getattr(module, name)) for module, names in PARTS.items() for name in names]


def _place(bot, rows, recipe, seed):
    """Where the result is remembered; None, with a sentence, if a part of the loop is not the one that is shipped."""
    if any(getattr(module, name) is not original for module, name, original in LOOP):
        print("A part of the training loop has been replaced: this result is made anew and not remembered.")
        return None
    return memory.place("tuned", bot.model.state_dict(), [CODE, bot.model.config.to_json_string(), rows, recipe, seed])


def _tidy():
    """Hand what earlier work has left to the system: a large model and a step need the room, and glibc would keep it."""
    with contextlib.suppress(OSError, AttributeError):  # another C library does so by itself
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _copied(bot, recipe, /, **facts):
    shared = lora.untouched(bot.model) if recipe.rank else ()  # of a large model not even these fit in twice
    return bot.copy(f"{bot.name}, tuned", shared, **facts)


def _recalled(bot, recipe, weights, facts):
    tuned = _copied(bot, recipe, **facts | {"cached": True})
    if recipe.rank:
        lora.put_on(tuned.model, weights, recipe.rank)
    else:
        tuned.model.load_state_dict(weights, strict=False)  # tied weights are stored once
    return tuned
