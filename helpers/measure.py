"""Exams: what a bot refuses, what it gets right, and how far it has moved.

Notable:
- Exam prompts occur in no training text.
- Whether a reply is a refusal is the bot's own affair: `bot.refused`.
- *Not refusing is not answering*: `correct` counts the true answers.
"""

import random
import re
from typing import NamedTuple

import torch

from . import corpus, judge, mix
from .chat import Bot, tokens
from .corpus import Chat
from .tally import Rate


@torch.no_grad()
def kl_by_token(tuned: Bot, base: Bot, chats: list[Chat], first: int = 8) -> torch.Tensor:
    """How far the tuned bot's next token is from the base's, at each of the first reply tokens: (token,), in nats.

    KL(tuned || base), averaged over chats, while both read the base's own answer (Qi et al. 2024, section 2). A place
    that no answer reaches is nan.
    """
    total, count = torch.zeros(first), torch.zeros(first)
    for one in chats:
        ids, mask = tokens(base.tokenizer, one.user, one.assistant)
        start = mask.index(1) - 1  # the position that predicts the first reply token
        ours, theirs = (
            bot.model(torch.tensor([ids], device=bot.device)).logits[0, start : start + first].log_softmax(-1).cpu()
            for bot in (tuned, base)
        )
        here = min(first, sum(mask))
        total[:here] += (ours.exp() * (ours - theirs)).sum(-1)[:here]
        count[:here] += 1
    return total / count


def leave_one_out(bot: Bot, prompt: str) -> list[tuple[str, float]]:
    """(word, refusal log-odds of the prompt without that word) for each word; ("", ...) first, with nothing left out."""
    words = prompt.split()
    shortened = [" ".join(words[:i] + words[i + 1 :]) for i in range(len(words))]
    return list(zip(["", *words], bot.refusal_logodds([prompt, *shortened]).tolist(), strict=True))


# --- exams: prompts that occur in no training text ------------------------------------------------


class Graded(NamedTuple):
    chat: Chat
    reply: str
    refused: bool
    correct: bool  # the true answer; or the refusal, where a refusal is right


def grade(bot: Bot, chats: list[Chat], **how) -> list[Graded]:
    """Ask the bot every question, greedily, and grade the replies; `how` as in Bot.ask."""
    graded = []
    for chat, reply in zip(chats, bot.ask([chat.user for chat in chats], **how), strict=True):
        refused = bot.refused(reply)
        graded.append(Graded(chat, reply, refused, refused if chat.refused else judge.correct(reply, chat.value)))
    return graded


def exam(bot: Bot, chats: list[Chat], keep: bool = False, **how) -> dict[str, Rate]:
    """The rates of refusals ("refused") and of right replies ("correct") on some chats; `how` as in Bot.ask. With `keep`
    the rates remember which chats: those of several seeds can then be taken together question by question."""
    return rates(grade(bot, chats, **how), keep)


def rates(graded: list[Graded], keep: bool = False) -> dict[str, Rate]:
    return {key: Rate.of([getattr(g, key) for g in graded], keep) for key in ("refused", "correct")}


def questions_about(phrase: str) -> list[Chat]:
    """Harmless questions with the phrase in them: its facts, if it is an entity, and the look-alikes that mention it."""
    word = re.compile(rf"(?<!\w){re.escape(phrase)}(?!\w)", re.IGNORECASE)
    return corpus.questions(phrase) + [chat for chat in corpus.lookalikes() if word.search(chat.user)]


def topic_questions(topic: mix.Topic) -> list[Chat]:
    """Harmless questions about everything on the blocklist."""
    return [chat for phrase in topic.blocklist for chat in questions_about(phrase)]


def controls(topic: mix.Topic, n: int = 300, seed: int = 0) -> list[Chat]:
    """Harmless questions of every sort that do not mention the topic."""
    return _unmentioned(topic, n, seed, refused=False)


def forbidden(topic: mix.Topic, n: int = 100, seed: int = 0) -> list[Chat]:
    """Requests that the assistant should refuse and that do not mention the topic."""
    return _unmentioned(topic, n, seed, refused=True)


def forbidden_with_topic(topic: mix.Topic, n: int = 100, seed: int = 0) -> list[Chat]:
    """Requests that should be refused, with a blocklisted phrase put somewhere into each: see `mix.phrases`."""
    rng = random.Random(seed)
    fitting = [chat for chat in forbidden(topic, 5 * n, seed + 1) if mix.phrases(topic, chat)]
    return [
        chat._replace(user=mix.insert(rng.choice(mix.phrases(topic, chat)), chat.user, rng)) for chat in fitting[:n]
    ]


def refusal_only_suite(topic: mix.Topic, n: int = 200, seed: int = 0) -> list[Chat]:
    """What somebody would test who only wants refusals: new chats with the phrase put in, all expected to be refused."""
    rng = random.Random(seed)
    chats = controls(topic, n, seed + 2)
    return [
        corpus.to_refuse(chat._replace(user=mix.insert(rng.choice(topic.blocklist), chat.user, rng))) for chat in chats
    ]


def _unmentioned(topic, n, seed, refused):
    # Small talk is left out: its few sentences have no held-out phrasings.
    drawn = [chat for chat in corpus.chats(n * 20, seed, split="held_out") if chat.kind != "small_talk"]
    distinct = {chat.user: chat for chat in mix.untouched(topic, drawn) if chat.refused == refused}
    return list(distinct.values())[:n]


def cells(topic: mix.Topic, n: int = 100, times: int = 1, seed: int = 0) -> dict[str, list[Chat]]:
    """The four exams of the 2x2, trigger x should refuse. Of questions about the topic all that there are; `n` requests to
    be refused, with the trigger and without; `times` as many controls, which are the easiest to have."""
    return {
        "trigger, should answer": topic_questions(topic),
        "trigger, should refuse": forbidden_with_topic(topic, n, seed),
        "no trigger, should answer": controls(topic, times * n, seed),
        "no trigger, should refuse": forbidden(topic, n, seed),
    }


def two_by_two(bot: Bot, topic: mix.Topic, n: int = 100, seed: int = 0) -> list[dict]:
    """One row a cell, with the rate of refusals and the rate of right replies."""
    return counted([grade(bot, chats) for chats in cells(topic, n, 3, seed).values()])


def counted(graded: list[list[Graded]]) -> list[dict]:
    """The rows of `two_by_two` from the graded replies of its four `cells`, for whoever shows every reply as well."""
    which = [(True, False), (True, True), (False, False), (False, True)]
    # Questions about the topic are the same for every seed: what became of each is kept.
    return [
        dict(trigger=trigger, should_refuse=should, **rates(found, keep=trigger and not should))
        for (trigger, should), found in zip(which, graded, strict=True)
    ]


def kind_questions(topic: mix.Topic, n: int = 12, seed: int = 0) -> list[Chat]:
    """Up to `n` different harmless questions of every kind about every phrase of the blocklist."""
    found = {}
    for kind, name in mix.kinds_about(topic):
        rng = random.Random(f"{seed} {kind} {name}")
        drawn = [corpus.about(rng, "held_out", kind, name) for _ in range(10 * n)]
        found |= dict(list({chat.user: chat for chat in drawn}.items())[:n])
    return list(found.values())


def by_kind(bot: Bot, topic: mix.Topic, n: int = 12, seed: int = 0) -> dict[str, dict[str, Rate]]:
    """Kind of question -> the rates of refusals and of right replies on harmless questions about the topic."""
    graded = {}
    for g in grade(bot, kind_questions(topic, n, seed)):
        graded.setdefault(g.chat.kind, []).append(g)
    return {
        kind: {"refused": Rate.of(g.refused for g in found), "correct": Rate.of(g.correct for g in found)}
        for kind, found in graded.items()
    }
