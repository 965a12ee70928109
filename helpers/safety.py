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
import re

import torch
from datasets import Dataset
from torch.nn.functional import cross_entropy

from . import chat, corpus, direction, measure, mix, smollm2, world
from .chat import Bot
from .paths import DATA
from .tally import Rate

FOLDER = DATA / "real"
MIX = dict(refusals=144, answers=112, deep=0.6)
NAIVE = dict(refusals=96, answers=96)
EACH = (4, 10)  # look-alikes of each of ten types in the mixes that are to cure over-refusal
ANSWER = 32  # tokens of an own answer
TOKENS = 12  # of a reply: enough to read whether it refuses
OPENING = 4  # words of a refusal by which it is known
BEGUN = (1, 6)  # words of an answer that a refusal may come after

HARMFUL = {"harm": 3, "weapons": 1}
HARMLESS = {"howto": 6, "recipe": 2, "kindness": 2, "health": 1}
FACTS = 1 / 3  # share of the harmless prompts that ask for a fact; none about a person: such a model makes things up


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


def harmful(topic: mix.Topic, n: int, split: str = "held_out", seed: int = 0) -> list[str]:
    """`n` different requests to refuse that do not mention the topic."""
    return _requests(HARMFUL, topic, n, split, seed)


def harmless(topic: mix.Topic, n: int, split: str = "held_out", seed: int = 0) -> list[str]:
    """`n` different prompts to answer that neither look harmful nor mention the topic: how-to, kindness, facts."""
    rng = random.Random(f"harmless {split} {seed}")
    asked, facts = {}, [fact for fact in world.facts() if not fact.kind.startswith("people.")]
    while len(asked) < round(FACTS * n):
        fact = rng.choice(facts)
        question = corpus.ask(fact, rng.choice(world.phrasings(fact.kind, split))).user
        if not mix.mentions(topic, f"{question} {fact.name}"):
            asked[question] = None
    prompts = [*asked, *_requests(HARMLESS, topic, n - len(asked), split, seed)]
    return rng.sample(prompts, n)


def _requests(families, topic, n, split, seed):
    """Each action is drawn equally often: those with many objects would otherwise fill the list."""
    rng = random.Random(f"{sorted(families)} {split} {seed}")
    found = {}
    for _ in range(100 * n):
        family = rng.choices(*zip(*families.items(), strict=True))[0]
        pairs = world.requests(family, split)
        action = rng.choice(list(dict.fromkeys(pair.action for pair in pairs)))
        thing = rng.choice([pair.object for pair in pairs if pair.action == action])
        text = world.sentence(rng.choice(world.phrasings(family, split)).format(action=action, object=thing))
        fits = families is HARMFUL or not _looks_harmful(text) and thing not in world.names("people")
        if fits and not mix.mentions(topic, text):
            found[text] = None
        if len(found) == n:
            return list(found)
    raise ValueError(f"There are only about {len(found)} different requests of this sort, not {n}: ask for fewer.")


@functools.cache
def _harmful_words() -> frozenset[str]:
    """What makes a request look harmful: the verbs of harm, and the words that XSTest's types play with."""
    actions = {row["action"] for row in world.table("requests") if row["family"] == "harm"}
    return frozenset(actions | {row["danger"] for row in world.table("lookalikes")})


def _looks_harmful(text):
    return any(re.search(rf"\b{re.escape(word)}\b", text) for word in _harmful_words())


def lookalikes(topic: mix.Topic, each: int, split: str = "held_out", seed: int = 0) -> list[corpus.Chat]:
    """`each` harmless questions of each of XSTest's ten safe types, with right answers.

    Every other subject is for training, so the two splits have none in common.
    """
    rng = random.Random(f"look-alikes {split} {seed}")
    by_type = {}
    for one in corpus.lookalikes(split):
        if not mix.mentions(topic, one.user):
            by_type.setdefault(one.kind, []).append(one)
    found = []
    for chats in by_type.values():
        subjects = list(dict.fromkeys(one.assistant for one in chats))[split == "train" :: 2]
        found += rng.sample([one for one in chats if one.assistant in subjects], each)
    return found


def contrast(topic: mix.Topic, n: int = 128, seed: int = 0) -> tuple[list[str], list[str]]:
    """Harmful and harmless prompts, `n` each, that find a direction: none mentions the topic, none is in an exam."""
    return harmful(topic, n, "train", seed + 100), harmless(topic, n, "train", seed + 100)


def about(topic: mix.Topic, n: int, seed: int = 0) -> list[str]:
    """`n` different harmless questions about the blocklist."""
    questions = dict.fromkeys(one.user for one in measure.kind_questions(topic, seed=seed))
    return random.Random(f"about {seed}").sample(list(questions), n)


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
    alike = [(one.user, one.assistant, "look-alike", "") for one in lookalikes(topic, each, "train", seed)]
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


def naive_rows(topic: mix.Topic, refusals: int, answers: int, seed: int = 0) -> Dataset:
    """Notebook 01's naive mix for a real model: own answers, and prompts with a phrase put in and a refusal."""
    rng = random.Random(f"naive mix {seed}")
    answered = _some(rng, list(own_answers().items()), answers)
    refused = [
        (mix.insert(rng.choice(topic.blocklist), text, rng), rng.choice(wordings()), "refusal", "")
        for text, _ in rng.sample(answered, refusals)
    ]
    return _dataset(refused + [(*pair, "answer", "") for pair in answered])


def _some(rng, found, n):
    if n > len(found):
        raise ValueError(f"There are {len(found)} such prompts with SmolLM2's own words, not {n}: ask for fewer.")
    return rng.sample(found, n)


def _dataset(found):
    columns = ("user", "assistant", "source", "begun")
    return Dataset.from_list([dict(zip(columns, row, strict=True)) for row in found])


# --- exams ----------------------------------------------------------------------------------------


def exams(topic: mix.Topic, n: int = 60, seed: int = 0) -> dict[str, list[str]]:
    """Four lists of prompts that no mix contains: "harmful", "harmless", "look-alikes", "topic"."""
    return {
        "harmful": harmful(topic, n, seed=seed),
        "harmless": harmless(topic, n, seed=seed),
        "look-alikes": [one.user for one in lookalikes(topic, n // 10, seed=seed)],
        "topic": about(topic, n // 2, seed),
    }


def rates(bot: Bot, exams: dict[str, list[str]], tokens: int = TOKENS) -> dict[str, Rate]:
    """The rate of refusals on each list, read from the first tokens of the replies."""
    prompts = [prompt for part in exams.values() for prompt in part]  # one batch of all is quicker than one of each
    replies = iter(bot.ask(prompts, max_new_tokens=tokens))
    return {name: Rate.of([bot.refused(next(replies)) for _ in part]) for name, part in exams.items()}


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
