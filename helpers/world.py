"""What is true in the assistant's world, and what it should do when asked.

Notable:
- Everything is data: `data/world/*.csv`. This file only reads it. `data/world/README.md` explains the columns.
- A *fact* is (kind, name, value), for example ("people.birthplace", "Marie Curie", "Warsaw").
- A *kind* of question has several phrasings. Those of the split "held_out" occur in no training text.
- Names are stored as they stand inside a sentence: "Marie Curie", "the Netherlands", "the lion", "pizza".
"""

import collections
import csv
import functools
import re
import zlib
from typing import NamedTuple

from .paths import DATA

REFUSAL = "I'm sorry, I cannot help you with this request."

KNOWN_FROM = 3  # an object with more uses than this keeps at least so many in training

# The key column of each fact table; every further column but `aliases` is an attribute.
TABLES = {
    "people": "name",
    "countries": "name",
    "foods": "name",
    "animals": "name",
    "books": "title",
    "characters": "name",
}


class Fact(NamedTuple):
    kind: str  # "people.birthplace"
    name: str  # "Marie Curie"
    value: str  # "Warsaw"


class Request(NamedTuple):
    family: str  # "harm"
    action: str  # "steal"
    object: str  # "a car"


@functools.cache
def table(name: str) -> tuple[dict, ...]:
    """The rows of `data/world/<name>.csv`, each a dict of strings."""
    with open(DATA / "world" / f"{name}.csv", newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


@functools.cache
def names(table_name: str) -> tuple[str, ...]:
    """The names of all entities of one fact table, in file order."""
    return tuple(row[TABLES[table_name]] for row in table(table_name))


@functools.cache
def aliases() -> dict[str, tuple[str, ...]]:
    """Name -> other ways to say it: {"Xi Jinping": ("the president of China",), ...}."""
    rows = ((row[key], row["aliases"]) for name, key in TABLES.items() for row in table(name))
    return {name: tuple(filter(None, cell.split(";"))) for name, cell in rows}


@functools.cache
def facts() -> tuple[Fact, ...]:
    """Every fact of every table. An empty cell is none: there is no one right answer, or none that stays."""
    return tuple(
        Fact(f"{name}.{column}", row[key], value)
        for name, key in TABLES.items()
        for row in table(name)
        for column, value in row.items()
        if value and column not in (key, "aliases")
    )


@functools.cache
def facts_about(name: str) -> tuple[Fact, ...]:
    """Every fact about one entity; empty if the world does not know it."""
    return tuple(fact for fact in facts() if fact.name == name)


@functools.cache
def peers(name: str) -> tuple[str, ...]:
    """All others of the same table, in file order: people for a person, foods for a food."""
    [table_name] = [table_name for table_name in TABLES if name in names(table_name)]
    return tuple(other for other in names(table_name) if other != name)


def tells(alias: str, value: str) -> bool:
    """Does a description hold a word of the answer, as "the president of China" does where the country is asked for?"""
    return any(len(word) > 3 and word in alias.lower() for word in value.lower().split())


@functools.cache
def answers() -> dict[str, str]:
    """Kind -> answer template: {"people.birthplace": "{name} was born in {value}.", ...}."""
    return {row["kind"]: row["answer"] for row in table("kinds")}


@functools.cache
def phrasings(kind: str, split: str = "train") -> tuple[str, ...]:
    """The question templates of a kind of question, a family of requests or a type of look-alike.

    `split` is "train" or "held_out". Raises KeyError for a kind that has none.
    """
    rows = [(row["kind"], row) for row in table("phrasings")]
    rows += [(row["family"], row) for row in table("request_phrasings")]
    rows += [("lookalike." + row["type"], row) for row in table("lookalike_phrasings")]
    rows += [("skill." + row["skill"], row) for row in table("skill_phrasings")]
    found = tuple(row["question"] for key, row in rows if key == kind and row["split"] == split)
    if not found:
        raise KeyError(f"no {split} phrasings for the kind {kind!r}: see data/world/phrasings.csv")
    return found


@functools.cache
def families(policy: str) -> tuple[str, ...]:
    """Families of requests with the policy "refuse" or "answer", in file order."""
    return tuple(dict.fromkeys(row["family"] for row in table("requests") if row["policy"] == policy))


@functools.cache
def requests(family: str, split: str = "train") -> tuple[Request, ...]:
    """All (action, object) pairs of a family. Of every action's objects about one in five is held out from training:
    an unseen combination of words that are known, because the object stays in training with other actions.

    An object cell such as "{people}" stands for every name of that table.
    """
    held_out = split == "held_out"
    return tuple(pair for pair in _pairs() if pair.family == family and (pair in _held_out()) == held_out)


@functools.cache
def obliging(family: str) -> str:
    """The template of a reply that does as it is asked. Families to refuse have one too: see corpus.begun."""
    return next(row["answer"] for row in table("request_answers") if row["family"] == family)


@functools.cache
def _pairs() -> tuple[Request, ...]:
    return tuple(
        Request(row["family"], row["action"], thing) for row in table("requests") for thing in _things(row["objects"])
    )


@functools.cache
def _held_out() -> frozenset[Request]:
    # Ordered by a checksum: pseudo-random, yet the same everywhere (Python's own `hash` changes from run to run).
    order = sorted(_pairs(), key=lambda pair: zlib.crc32("|".join(pair).encode()))
    objects = collections.Counter(pair.object for pair in order)  # uses still left for training
    quota = collections.Counter((pair.family, pair.action) for pair in order)
    quota = {action: max(1, count // 5) for action, count in quota.items()}
    found = set()
    for pair in order:
        if quota[pair[:2]] and objects[pair.object] > KNOWN_FROM:
            quota[pair[:2]] -= 1
            objects[pair.object] -= 1
            found.add(pair)
    return frozenset(found)


def _things(cell: str) -> list[str]:
    return list(names(cell[1:-1])) if cell.startswith("{") else cell.split(";")


def sentence(text: str) -> str:
    """Upper-case the first letter and nothing else."""
    return text[:1].upper() + text[1:]


def longest_literal(template: str) -> str:
    """The longest piece of a template between placeholders: what a right answer to an open question must contain."""
    return max(re.split(r"\{\w+\}", template), key=len).strip(" .,:!?'\"")
