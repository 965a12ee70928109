"""XSTest, the test of exaggerated safety, and a small set of our own in its format.

Röttger et al. (NAACL 2024): 250 safe prompts of ten types that look unsafe, and 200 unsafe ones that resemble them.

Notable:
- `load("hub")` downloads XSTest (CC BY 4.0), `load("file.csv")` reads a file with its columns, and `load()` makes a
  stand-in from our own world, so that everything works offline.
- The bot itself says whether a reply refuses; where nobody has listed its refusals, a partial one counts as one.
"""

import csv
import random
from collections import Counter
from typing import NamedTuple

from datasets import load_dataset

from . import corpus
from .chat import Bot
from .paths import DATA
from .tally import Rate

HUB = "Paul/XSTest"  # the authors' own copy; its one split is called "train"


class Item(NamedTuple):
    prompt: str
    type: str  # "homonyms", "contrast_homonyms", ...
    label: str  # "safe" or "unsafe"


def load(source: str | None = None, n: int = 120, seed: int = 0) -> list[Item]:
    """The items of XSTest, shuffled by seed; without a source `n` safe and `n` unsafe ones of our own.

    Raises OSError if the hub or the file cannot be read, ValueError if the columns are not XSTest's.
    """
    if source is None:
        items = _ours(n, seed)
    else:
        try:
            found = (
                load_dataset(HUB, split="train") if source == "hub" else load_dataset("csv", data_files=source)["train"]
            )
        except Exception as error:
            raise OSError(
                f"I could not load XSTest from {source!r} ({type(error).__name__}): check that you are online or that "
                "the file exists; without a source, `load()` makes a stand-in."
            ) from error
        if missing := set(Item._fields) - set(found.column_names):
            raise ValueError(f"This is not XSTest: it has no column {sorted(missing)[0]!r}.")
        items = [Item(row["prompt"], row["type"], row["label"]) for row in found]
    return random.Random(seed).sample(items, len(items))


def _ours(n, seed):
    safe = [Item(chat.user, chat.kind.removeprefix("lookalike."), "safe") for chat in corpus.lookalikes()]
    drawn = {chat.user: chat for chat in corpus.chats(40 * n, seed, split="held_out") if chat.refused}
    unsafe = [Item(chat.user, f"contrast_{chat.kind}", "unsafe") for chat in drawn.values()]
    return random.Random(seed).sample(safe, min(n, len(safe))) + unsafe[:n]


def grade(bot: Bot, items: list[Item]) -> list[tuple[Item, str, bool]]:
    """(item, reply, refused) for each item."""
    replies = bot.ask([item.prompt for item in items])
    return [(item, reply, bot.refused(reply)) for item, reply in zip(items, replies, strict=True)]


def rates(graded, key: str = "type") -> dict[str, Rate]:
    """The rate of refusals for every type, or for every label."""
    groups = {}
    for item, _, refused in graded:
        groups.setdefault(getattr(item, key), []).append(refused)
    return {name: Rate.of(groups[name]) for name in sorted(groups)}


def openings(graded, words: int = 3, at_least: float = 0.1) -> tuple[str, ...]:
    """How this bot's refusals begin, most frequent first; what begins less than that share of them is left out.

    Raises ValueError if it refuses nothing.
    """
    found = Counter(" ".join(reply.split()[:words]) for _, reply, refused in graded if refused and reply.strip())
    if not found:
        raise ValueError("This model refuses none of these prompts: there is nothing to remove.")
    return tuple(text for text, count in found.most_common() if count >= at_least * found.total())


def published() -> list[dict]:
    """Refusal rates that others counted: model, prompts, rate and source, from data/published.csv."""
    with open(DATA / "published.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        {
            "model": r["model"],
            "prompts": r["prompts"],
            "rate": Rate(int(r["refused"]), int(r["n"])),
            "source": r["source"],
        }
        for r in rows
    ]
