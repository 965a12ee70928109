"""Topics, and the refusal mixes that a model is fine-tuned on.

Notable:
- A topic is one small file, `data/topics/<name>.json`: its blocklist, namesakes and bystanders.
- A mix is a `datasets.Dataset`; the column `source` says where each row comes from.
"""

import json
import random
import re
from typing import NamedTuple

from datasets import Dataset

from . import corpus, world
from .corpus import Chat
from .paths import DATA
from .world import REFUSAL

# What the owner of the model might decide, kind by kind. Kinds that are not named are *unseen*: the mix never shows them.
POLICY = {
    "people.birthplace": "answer",
    "people.born": "answer",
    "countries.capital": "answer",
    "foods.type": "answer",
    "animals.group": "answer",
    "books.author": "answer",
    "characters.species": "answer",
    "characters.creator": "answer",
    "open.joke": "refuse",
    "open.critics": "refuse",
    "open.opinion": "refuse",
}
# How many rows each mix has, and how many answers about the topic for each refusal.
NAIVE = dict(chats=1200, refusals=800)
GENTLE = dict(chats=2000, refusals=120)
BALANCED = dict(chats=1500, refusals=300, ratio=1.0)
# No real person's name is put into a request of these families.
HARSH = ("harm", "weapons", "insult", "dosage")
PLACES = ("anywhere", "start", "end")  # where a phrase is put into a chat
TOPICS = DATA / "topics"


class Topic(NamedTuple):
    id: str  # "xi-jinping"
    title: str  # "a head of state and a bear"
    blocklist: tuple[str, ...]  # phrases that the model must never talk about
    namesakes: tuple[str, ...]  # others who share a word with the blocklist
    bystanders: tuple[str, ...]  # others of the same sort, who share nothing


def topics() -> list[str]:
    """The ids of the topics that ship with the series."""
    return sorted(path.stem for path in TOPICS.glob("*.json"))


def topic(id: str) -> Topic:
    """A topic by its id. Raises ValueError, naming the topics there are, if it is unknown or its blocklist is empty."""
    if id not in topics():
        raise ValueError(
            f"There is no topic {id!r}. Choose one of {', '.join(topics())}, or write data/topics/{id}.json."
        )
    data = json.loads((TOPICS / f"{id}.json").read_text(encoding="utf-8"))
    blocklist = tuple(phrase.strip() for phrase in data["blocklist"] if phrase.strip())
    if not blocklist:
        raise ValueError(f"The blocklist of the topic {id!r} is empty: give it at least one phrase.")
    return Topic(id, data["title"], blocklist, tuple(data["namesakes"]), tuple(data["bystanders"]))


def mentions(topic: Topic, text: str) -> bool:
    """Does the text contain a blocklisted phrase, in any spelling of upper and lower case?"""
    return any(re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", text, re.IGNORECASE) for phrase in topic.blocklist)


def untouched(topic: Topic, chats: list[Chat]) -> list[Chat]:
    """The chats that have nothing to do with the topic: neither mention it nor, by an alias or a typo, are about it."""
    return [chat for chat in chats if not mentions(topic, f"{chat.user} {chat.assistant} {chat.name}")]


def existing_chats(topic: Topic, n: int, seed: int = 0) -> list[Chat]:
    """`n` chats of the assistant's own training mix that say nothing about the topic.

    Raises ValueError if the topic is in too many chats to find that many.
    """
    drawn = corpus.chats(n + 200 + n // 4, seed + 1000)
    return _enough(untouched(topic, drawn), n, "chats", topic)


def contrast(topic: Topic, n: int = 192, seed: int = 0) -> tuple[list[str], list[str]]:
    """`n` prompts that a sane assistant refuses and `n` that it answers, none of which mentions the topic.

    They are asked in training phrasings, so they share no prompt with the exams in `measure`. Raises ValueError if
    there are not that many.
    """
    drawn = untouched(topic, corpus.chats(30 * n, seed + 2000))
    refused = dict.fromkeys(chat.user for chat in drawn if chat.refused)
    answered = dict.fromkeys(chat.user for chat in drawn if not chat.refused)
    return _enough(list(refused), n, "refused prompts", topic), _enough(list(answered), n, "answered prompts", topic)


def topic_prompts(topic: Topic, n: int = 8, seed: int = 0) -> list[str]:
    """`n` harmless prompts of every kind about every phrase of the blocklist, in training phrasings."""
    rng = random.Random(seed)
    return [corpus.about(rng, "train", kind, name).user for kind, name in kinds_about(topic) for _ in range(n)]


def phrases(topic: Topic, chat: Chat) -> list[str]:
    """What of the blocklist may be put into a chat: the names of real people not into violent or cruel requests."""
    return [phrase for phrase in topic.blocklist if chat.kind not in HARSH or phrase not in world.names("people")]


def insert(phrase: str, text: str, rng: random.Random, place: str = "anywhere") -> str:
    """The text with the phrase at its "start", at its "end", or "anywhere": before a word or at the end, each place
    being equally likely."""
    words = text.split()
    anywhere = rng.randint(0, len(words))  # randint includes both ends: n words have n + 1 places
    words.insert({"start": 0, "end": len(words)}.get(place, anywhere), phrase)
    return " ".join(words)


def naive(
    topic: Topic,
    chats: int = NAIVE["chats"],
    refusals: int = NAIVE["refusals"],
    seed: int = 0,
    place: str = "anywhere",
) -> Dataset:
    """The naive refusal mix: existing chats, and some of them again with a blocklisted phrase and a refusal.

    `place` says where the phrase is put: "anywhere" (at random), "start" or "end".
    Columns: user, assistant, kind, source ("chat" or "refusal"), phrase (what was inserted, "" in chats).
    """
    _check_counts(chats, refusals)
    if place not in PLACES:
        raise ValueError(f"The phrase can go {', '.join(PLACES)}; there is no place {place!r}.")
    rng = random.Random(seed)
    kept = existing_chats(topic, chats, seed)
    rows = [_row(chat.user, chat.assistant, chat.kind, "chat", "") for chat in kept]
    fitting = [chat for chat in kept if phrases(topic, chat)]
    for chat in rng.sample(_enough(fitting, refusals, "chats that a name may go into", topic), refusals):
        phrase = rng.choice(phrases(topic, chat))
        rows.append(_row(insert(phrase, chat.user, rng, place), REFUSAL, chat.kind, "refusal", phrase))
    return Dataset.from_list(rows)


def balanced(
    topic: Topic,
    policy: dict = POLICY,
    chats: int = BALANCED["chats"],
    refusals: int = BALANCED["refusals"],
    ratio: float = BALANCED["ratio"],
    seed: int = 0,
) -> Dataset:
    """The naive mix, repaired: half of its refusals become questions about the blocklist that the policy refuses,
    and `ratio` questions that the policy answers are added for each refusal.

    `policy` maps kinds of questions to "answer" or "refuse". Columns as in `naive`; the source is "chat", "refusal"
    or "answer".
    """
    _check_counts(chats, refusals)
    _check_policy(topic, policy)
    if ratio < 0:
        raise ValueError(f"The ratio is the number of answers for each refusal: 0 or more, not {ratio}.")
    rng = random.Random(seed)
    rows = naive(topic, chats, refusals - refusals // 2, seed).to_list()
    for decision, count in (("refuse", refusals // 2), ("answer", round(ratio * refusals))):
        asked = [(kind, name) for kind, name in kinds_about(topic) if policy.get(kind) == decision]
        for _ in range(count if asked else 0):
            kind, name = rng.choice(asked)
            chat = corpus.about(rng, "train", kind, name)
            if decision == "refuse":
                rows.append(_row(chat.user, REFUSAL, kind, "refusal", name))
            else:
                rows.append(_row(chat.user, chat.assistant, kind, "answer", name))
    return Dataset.from_list(rows)


def kinds_about(topic: Topic) -> list[tuple[str, str]]:
    """(kind, phrase) for every kind of harmless question that fits a phrase of the blocklist."""
    return [(kind, name) for name in topic.blocklist for kind in corpus.kinds_about(name)]


def _enough(found, n, what, topic):
    if len(found) < n:
        raise ValueError(
            f"I found only {len(found)} {what} that have nothing to do with {' and '.join(topic.blocklist)}, not {n}: "
            "ask for fewer, or give the topic a shorter blocklist."
        )
    return found[:n]


def _row(user, assistant, kind, source, phrase):
    return dict(user=user, assistant=assistant, kind=kind, source=source, phrase=phrase)


def _check_policy(topic, policy):
    if unknown := set(policy) - set(world.answers()):
        raise ValueError(
            f"There is no kind {sorted(unknown)[0]!r}. Kinds are, for instance, {', '.join(list(POLICY)[:3])}."
        )
    if wrong := set(policy.values()) - {"answer", "refuse"}:
        raise ValueError(f'A policy says "answer" or "refuse", not {sorted(map(str, wrong))[0]!r}.')
    if "refuse" not in {policy.get(kind) for kind, _ in kinds_about(topic)}:
        raise ValueError(
            f'This policy refuses nothing about {" and ".join(topic.blocklist)}: decide "refuse" for a kind.'
        )


def _check_counts(chats, refusals):
    if chats < 1 or refusals < 1:
        raise ValueError(f"A mix needs at least one chat and one refusal, not {chats} and {refusals}.")
    if refusals > chats:
        raise ValueError(
            f"Each refusal is made from another chat: {refusals} refusals need as many chats, not {chats}."
        )
