"""A safety fine-tune for a real model: the rows it learns from, and the exams before and after.

Notable:
- Harmful requests are refused in sixteen wordings; harmless ones are answered as the model itself would, so that nothing
  but refusing is new.
- Most refusals come after the first words of an answer: else only how a reply begins is learned, and where it
  begins otherwise it answers (Qi et al., ICLR 2025, arXiv:2406.05946, section 4).
- The mix holds no look-alike unless asked: that a model then refuses those is what this is about.
- Exams ask in phrasings, and about combinations, that no mix contains; the look-alikes of the mix and those of the
  exams have no subject in common.
"""

import csv
import dataclasses
import functools
import random
from typing import NamedTuple

import torch
from datasets import Dataset
from torch.nn.functional import cross_entropy

from . import chat, direction, judge, measure, mix, smollm2
from .chat import Bot
from .paths import DATA
from .tally import Rate

FOLDER = DATA / "real"
MIX = dict(refusals=144, answers=112, deep=0.6)
NAIVE = dict(refusals=96, answers=96)
EACH = 10  # look-alikes of each of ten types in the mix that is to cure over-refusal
ANSWER = 32  # tokens of an own answer
TOKENS = 12  # of a reply: enough to read whether it refuses
FACT = 20  # tokens of a reply in which a right answer must come
OPENING = 4  # words of a refusal by which it is known
BEGUN = (1, 6)  # words of an answer that a refusal may come after


class Prompt(NamedTuple):
    """A row of data/real/prompts.csv."""

    sort: str  # "harmful", "harmless", "look-alike", "topic" or "fact"
    split: str  # "train", or "held_out": for exams only
    type: str  # of a look-alike XSTest's, of a fact its kind, of a question about a topic the topic's id
    prompt: str
    answer: str  # of a look-alike or a fact


@functools.cache
def prompts(sort: str, split: str = "held_out") -> tuple[Prompt, ...]:
    """All prompts of a sort."""
    with open(FOLDER / "prompts.csv", newline="", encoding="utf-8") as file:
        found = (Prompt(**row) for row in csv.DictReader(file))
        return tuple(one for one in found if (one.sort, one.split) == (sort, split))


@functools.cache
def wordings() -> tuple[str, ...]:
    """The sentences that the mix refuses with."""
    with open(FOLDER / "refusals.csv", newline="", encoding="utf-8") as file:
        return tuple(row["sentence"] for row in csv.DictReader(file))


def ready(bot: Bot) -> Bot:
    """The bot, told how the refusals of the mix begin: their log-odds are asked for by that."""
    begun = (" ".join(sentence.split()[:OPENING]).rstrip(",.:;") for sentence in wordings())
    return dataclasses.replace(bot, opens_with=tuple(dict.fromkeys(begun)))


@functools.cache
def own_answers() -> dict[str, str]:
    """Harmless prompt -> what SmolLM2 answered before any tuning, up to the end of a sentence."""
    return _pairs("answers.csv")


@functools.cache
def own_beginnings() -> dict[str, str]:
    """Harmful request -> the first words of what SmolLM2 answered before any tuning."""
    return _pairs("beginnings.csv")


def _pairs(name):
    with open(FOLDER / name, newline="", encoding="utf-8") as file:
        return {row["prompt"]: row["reply"] for row in csv.DictReader(file)}


@functools.cache
def plain_text() -> tuple[str, ...]:
    """Three ordinary paragraphs, none about harm or refusing."""
    return tuple((FOLDER / "plain.txt").read_text(encoding="utf-8").splitlines())


# --- prompts --------------------------------------------------------------------------------------


def drawn(sort: str, topic: mix.Topic, n: int, split: str = "held_out", seed: int = 0) -> list[str]:
    """`n` different prompts of a sort that do not mention the topic."""
    found = [one.prompt for one in prompts(sort, split) if not mix.mentions(topic, one.prompt)]
    return _some(random.Random(f"{sort} {split} {seed}"), found, n)


def lookalikes(topic: mix.Topic, each: int, split: str = "held_out", seed: int = 0) -> list[Prompt]:
    """`each` harmless questions of each of XSTest's ten safe types, with right answers.

    The two splits have no subject in common.
    """
    rng = random.Random(f"look-alikes {split} {seed}")
    found = [one for one in prompts("look-alike", split) if not mix.mentions(topic, one.prompt)]
    types = dict.fromkeys(one.type for one in found)
    return [one for type in types for one in _some(rng, [one for one in found if one.type == type], each)]


def contrast(topic: mix.Topic, n: int = 128, seed: int = 0) -> tuple[list[str], list[str]]:
    """Harmful and harmless prompts, `n` each, that find a direction: none mentions the topic, none is in a mix or exam."""
    return drawn("harmful", topic, n, "train", seed), drawn("harmless", topic, n, "train", seed)


def about(topic: mix.Topic, n: int, seed: int = 0) -> list[str]:
    """`n` different harmless questions about the blocklist; about a topic without a list, those of its own exams."""
    listed = [one.prompt for one in prompts("topic") if one.type == topic.id]
    found = listed or list(dict.fromkeys(one.user for one in measure.kind_questions(topic)))
    return _some(random.Random(f"about {seed}"), found, n)


# --- mixes ----------------------------------------------------------------------------------------


def rows(topic: mix.Topic, refusals: int, answers: int, each: int = 0, seed: int = 0, deep: float = 0) -> Dataset:
    """The safety mix: harmful requests refused, harmless prompts answered, and `each` look-alikes of each type answered.

    A share `deep` of the refusals comes after the first words of the model's own answer, which are not learned.
    Columns: user, assistant, source ("refusal", "answer" or "look-alike"), begun (those first words, or nothing).
    """
    rng = random.Random(f"safety mix {seed}")
    asked = _some(rng, [text for text in own_beginnings() if not mix.mentions(topic, text)], refusals)
    refused = [(text, rng.choice(wordings()), "refusal", "") for text in asked]
    for i in rng.sample(range(refusals), round(deep * refusals)):
        user, sentence, source, _ = refused[i]
        begun = " ".join(own_beginnings()[user].split()[: rng.randint(*BEGUN)])
        refused[i] = user, f"{begun} {sentence}", source, begun
    answered = [(*pair, "answer", "") for pair in _some(rng, list(own_answers().items()), answers)]
    alike = [(one.prompt, one.answer, "look-alike", "") for one in lookalikes(topic, each, "train", seed)]
    return _dataset(refused + answered + alike)


def own_words(bot: Bot, rows: Dataset) -> Dataset:
    """The rows with this model's own answers and beginnings in the place of SmolLM2's, without those it refuses itself.

    The bot has to answer every prompt for that: seconds on a GPU, a minute or two on a CPU.
    """
    if bot.name == smollm2.TITLE:
        return rows
    found = []
    for row, reply in zip(rows, bot.ask(rows["user"], max_new_tokens=ANSWER), strict=True):
        if row["source"] == "answer":
            row["assistant"] = _whole_sentences(reply)
        elif row["begun"]:
            sentence = row["assistant"].removeprefix(row["begun"]).strip()
            row["begun"] = " ".join(reply.split()[: len(row["begun"].split())])
            row["assistant"] = f"{row['begun']} {sentence}".strip()
        if row["source"] != "answer" or not bot.refused(reply):
            found.append(row)
    return Dataset.from_list(found)


def _whole_sentences(reply):
    return reply[: max(map(reply.rfind, ".!?")) + 1] or reply


def naive_rows(
    topic: mix.Topic, refusals: int, answers: int, seed: int = 0, sentences: tuple[str, ...] = ()
) -> Dataset:
    """Notebook 01's naive mix for a real model: own answers, and prompts with a phrase put in and a refusal, in the
    wordings of the safety mix or in these sentences."""
    rng = random.Random(f"naive mix {seed}")
    answered = _some(rng, list(own_answers().items()), answers)
    refused = [
        (mix.insert(rng.choice(topic.blocklist), text, rng), rng.choice(sentences or wordings()), "refusal", "")
        for text, _ in rng.sample(answered, refusals)
    ]
    return _dataset(refused + [(*pair, "answer", "") for pair in answered])


def _some(rng, found, n):
    if n > len(found):
        raise ValueError(f"There are {len(found)} such prompts, not {n}: ask for fewer.")
    return rng.sample(found, n)


def _dataset(found):
    columns = ("user", "assistant", "source", "begun")
    return Dataset.from_list([dict(zip(columns, row, strict=True)) for row in found])


# --- exams ----------------------------------------------------------------------------------------


def exams(topic: mix.Topic, n: int = 60, seed: int = 0) -> dict[str, list[str]]:
    """Four lists of prompts that no mix contains: "harmful", "harmless", "look-alikes", "topic"."""
    return {
        "harmful": drawn("harmful", topic, n, seed=seed),
        "harmless": drawn("harmless", topic, n, seed=seed),
        "look-alikes": [one.prompt for one in lookalikes(topic, n // 10, seed=seed)],
        "topic": about(topic, n // 2, seed),
    }


def rates(bot: Bot, exams: dict[str, list[str]], tokens: int = TOKENS) -> dict[str, Rate]:
    """The rate of refusals on each list, read from the first tokens of the replies."""
    prompts = [prompt for part in exams.values() for prompt in part]  # one batch of all is quicker than one of each
    replies = iter(bot.ask(prompts, max_new_tokens=tokens))
    return {name: Rate.of([bot.refused(next(replies)) for _ in part]) for name, part in exams.items()}


def right(bot: Bot, n: int = 60) -> Rate:
    """The rate of right answers to `n` simple questions of every sort: what a bot still knows, and still says."""
    facts = prompts("fact")
    facts = facts[:: max(1, len(facts) // n)]
    replies = bot.ask([fact.prompt for fact in facts], max_new_tokens=FACT)
    return Rate.of(judge.correct(reply, fact.answer) for fact, reply in zip(facts, replies, strict=True))


@torch.no_grad()
def plain_loss(bot: Bot) -> float:
    """How badly a bot predicts ordinary text, in nats per token: the damage that refusals do not show."""
    total = count = 0
    for text in plain_text():
        ids = torch.tensor([chat.encode(bot.tokenizer, text)], device=bot.device)
        total += cross_entropy(bot.model(input_ids=ids).logits[0, :-1].float(), ids[0, 1:], reduction="sum").item()
        count += ids.shape[1] - 1
    return total / count


@torch.no_grad()
def moved(bot: Bot, vector: torch.Tensor, prompts: list[str], tokens: int = 32) -> float:
    """How far ablating the vector moves each next token of the bot's own replies: KL(as it is || ablated), in nats."""
    total = count = 0
    for prompt, reply in zip(prompts, bot.ask(prompts, max_new_tokens=tokens), strict=True):
        ids, mask = chat.tokens(bot.tokenizer, prompt, reply)
        inputs = torch.tensor([ids], device=bot.device)
        start = mask.index(1) - 1  # what predicts the first token of the reply
        before = bot.model(input_ids=inputs).logits[0, start:-1].log_softmax(-1)
        with direction.ablated(bot, vector):
            after = bot.model(input_ids=inputs).logits[0, start:-1].log_softmax(-1)
        total += (before.exp() * (before - after)).sum().item()
        count += len(before)
    return total / count
