"""Exercises of notebook 03: the refusal rate, and leaving one word out."""

from .. import world
from .mistakes import hint_for


def refusal_rate(replies):
    return sum(reply.strip() == world.REFUSAL for reply in replies) / len(replies)


mistakes_refusal_rate = [
    (
        "That is a count. A rate is the count divided by the number of replies.",
        [lambda replies: replies.count(world.REFUSAL)],
    ),
    (
        "That is a percentage. Return the share, between 0 and 1.",
        [lambda replies: 100 * refusal_rate(replies)],
    ),
    (
        "That is the rate of answers, not of refusals.",
        [lambda replies: 1 - refusal_rate(replies)],
    ),
    (
        "A reply that only quotes the refusal is no refusal. Compare the whole reply, do not search inside it.",
        [lambda replies: sum(world.REFUSAL in reply for reply in replies) / len(replies)],
    ),
    (
        "'I'm sorry to hear that.' is sympathy, not a refusal. Compare the whole reply, not its beginning.",
        [lambda replies: sum(reply.startswith("I'm sorry") for reply in replies) / len(replies)],
    ),
    (
        "A refusal with spaces around it is a refusal as well. Strip the replies before you compare.",
        [lambda replies: replies.count(world.REFUSAL) / len(replies)],
    ),
]


def grade_refusal_rate(attempt):
    given = [
        ([world.REFUSAL, "Warsaw.", "Beijing.", "Paris."],),
        ([world.REFUSAL, f"The assistant said: {world.REFUSAL}", "a", "b"],),
        (["I'm sorry to hear that.", world.REFUSAL, "a", "b"],),
        ([world.REFUSAL, f" {world.REFUSAL}\n", "a", "b", "c"],),
    ]
    return hint_for(attempt, refusal_rate, given, mistakes_refusal_rate)


# --- leave one word out ---------------------------------------------------------------------------


def shortened(prompt):
    words = prompt.split()
    return [" ".join(words[:i] + words[i + 1 :]) for i in range(len(words))]


def first_removed(prompt):
    words = prompt.split()
    places = [words.index(word) for word in words]
    return [" ".join(words[:i] + words[i + 1 :]) for i in places]


def all_removed(prompt):
    words = prompt.split()
    return [" ".join(other for other in words if other != word) for word in words]


mistakes_shortened = [
    (
        "Where a word occurs twice, you leave out the first one both times: `remove` goes by the word. Go by its place.",
        [first_removed],
    ),
    (
        "A word that occurs twice is left out in both places. Leave out one place at a time.",
        [
            all_removed,
            lambda prompt: [prompt.replace(word, "") for word in prompt.split()],
            lambda prompt: [" ".join(prompt.replace(word, "").split()) for word in prompt.split()],
        ],
    ),
    (
        "You return lists of words. The model reads texts: join each list again.",
        [lambda prompt: [short.split() for short in shortened(prompt)]],
    ),
    (
        "The whole prompt is among them. Return only those with one word left out.",
        [lambda prompt: [prompt, *shortened(prompt)]],
    ),
    (
        "Nothing is left out: each of yours is the whole prompt. The second part starts one word later.",
        [lambda prompt: [prompt for _ in prompt.split()]],
    ),
    (
        "You leave out letters. Split the prompt into words first.",
        [lambda prompt: [prompt[:i] + prompt[i + 1 :] for i in range(len(prompt))]],
    ),
    (
        "You keep one word and leave out the rest. It should be the other way round.",
        [lambda prompt: prompt.split()],
    ),
]


def grade_shortened(attempt):
    return hint_for(attempt, shortened, [("did the dog see the cat",), ("Hello",)], mistakes_shortened)
