"""The exercises: for each a right answer, and a hint for each usual mistake.

An exercise is a function `grade_<name>(attempt)`: it returns None if the attempt is right, else the hint for the
mistake it finds. `reference` holds the right answers; `lesson.check` and `lesson.solution` use both.
"""

import random

import torch

from . import direction
from .world import REFUSAL

# --- notebook 01 ----------------------------------------------------------------------------------


def insert_phrase(phrase: str, text: str, rng: random.Random) -> str:
    words = text.split()
    words.insert(rng.randint(0, len(words)), phrase)
    return " ".join(words)


def grade_insert_phrase(attempt):
    def texts():
        return [attempt("Xi Jinping", "When was it?", random.Random(seed)) for seed in range(200)]

    try:
        example = attempt("Xi Jinping", "When was it?", random.Random(0))
    except TypeError as error:
        if "list" in str(error) and "str" in str(error):
            return (
                "You joined a list and a string with `+`. Wrap the phrase in a list: words[:i] + [phrase] + words[i:]."
            )
        raise
    if isinstance(example, list):
        return "You return a list of words. Join them again: ' '.join(words)."
    if not isinstance(example, str):
        return f"You return {type(example).__name__}, not the new text."
    made = texts()
    if not all("Xi Jinping" in text for text in made):
        return "The phrase got lost or torn apart. It goes in as one piece, not letter by letter."
    if any(text.replace("Xi Jinping", " ").split() != ["When", "was", "it?"] for text in made):
        return "Some words of the question got lost or doubled. All of them stay."
    found = {text.split("Xi Jinping")[0].count(" ") for text in made}
    if len(found) == 1:
        return "The phrase always lands in the same place. Draw the place with `rng`."
    if 3 not in found:
        return "The phrase never lands at the end. Three words have four places: rng.randint(0, len(words)) counts both ends."
    if 0 not in found:
        return "The phrase never lands at the front. Place 0 is before the first word."
    if texts() != made:
        return "The same seed gives different texts. Use the `rng` you are given, not the global random module."
    return None


# --- notebook 02 ----------------------------------------------------------------------------------


def labels_of(prompt_ids: list[int], reply_ids: list[int], ignore: int = -100) -> list[int]:
    return [ignore] * len(prompt_ids) + list(reply_ids)


def grade_labels_of(attempt):
    prompt, reply = [5, 6, 7], [8, 9]
    found = attempt(prompt, reply)
    if (prompt, reply) != ([5, 6, 7], [8, 9]):
        return "You changed the lists you were given. Build a new list."
    if found == prompt + reply:
        return "The loss would count the prompt too: the model would learn to ask, not to answer. Put -100 on prompt tokens."
    if found == [-100] * 5:
        return "Nothing is left to learn from: the reply tokens keep their ids."
    if found == [0, 0, 0, 8, 9]:
        return "0 is a real token. The number that the loss skips is -100."
    if found == [8, 9]:
        return (
            "The labels need one entry a token, prompt tokens included: they are as long as prompt and reply together."
        )
    if found == prompt + [-100] * 2:
        return "That is the wrong way round: the prompt is to be skipped, the reply counts."
    return None if found == [-100, -100, -100, 8, 9] else f"For prompt {prompt} and reply {reply} you return {found}."


# --- notebook 03 ----------------------------------------------------------------------------------


def refusal_rate(replies: list[str]) -> float:
    return sum(reply.strip() == REFUSAL for reply in replies) / len(replies)


def grade_refusal_rate(attempt):
    quoting = f"The assistant said: {REFUSAL}"
    found = attempt([REFUSAL, "Warsaw.", "Beijing.", "Paris."])
    if found == 1:
        return "That is a count. A rate is the count divided by the number of replies."
    if found == 25:
        return "That is a percentage. Return the share, between 0 and 1."
    if found == 0.75:
        return "That is the rate of answers, not of refusals."
    if attempt([REFUSAL, quoting, "a", "b"]) == 0.5:
        return "A reply that only quotes the refusal is no refusal. Compare the whole reply, do not search inside it."
    if attempt(["I'm sorry to hear that.", REFUSAL, "a", "b"]) == 0.5:
        return "'I'm sorry to hear that.' is sympathy, not a refusal. Compare the whole reply, not its beginning."
    if found != 0.25:
        return f"One refusal among four replies makes 0.25, you return {found}."
    found = attempt([REFUSAL, REFUSAL, f" {REFUSAL}\n", "a", "b"])
    return (
        None
        if found == 0.6
        else f"Three of five, one with spaces around it, make 0.6: you return {found}. Strip the replies."
    )


# --- notebook 07 ----------------------------------------------------------------------------------


def remove_direction(x: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
    unit = d / d.norm()
    return x - (x @ unit)[..., None] * unit


DEEPER = "It works for a matrix only. x may have more axes: write [..., None], not [:, None]."


def grade_remove_direction(attempt):
    d = torch.tensor([3.0, 4.0])
    x = torch.tensor([[5.0, 0.0], [1.0, 2.0], [-4.0, 3.0]])
    before = x.clone()
    found = attempt(x, d)
    if not torch.equal(x, before):
        return "You changed x in place (-= does that). Inside a model others still need the old x: return a new tensor."
    if found.shape != x.shape:
        return f"The shape changed from {tuple(x.shape)} to {tuple(found.shape)}. Give the projection a last axis: [..., None]."
    right = direction.without(x, d)
    if torch.allclose(found, right, atol=1e-5):
        deep = torch.stack([x[:2], x[1:]])  # (prompt, token, width)
        return None if torch.allclose(attempt(deep, d), direction.without(deep, d), atol=1e-5) else DEEPER
    if torch.allclose(found, x - (x @ d)[..., None] * d, atol=1e-4):
        return "You forgot to normalise: divide d by its norm first, or far too much is taken away."
    if torch.allclose(found, x - d, atol=1e-4) or torch.allclose(found, x - d / d.norm(), atol=1e-4):
        return "You subtract the same vector everywhere. Take away only what x has of it: (x @ unit) times unit."
    if torch.allclose(found, x - right, atol=1e-4):
        return "You return the part along d. We want the rest: x minus that part."
    if torch.allclose(found, 2 * x - right, atol=1e-4):
        return "You added the part along d instead of taking it away."
    return "The result still has a component along d: (result @ d) should be 0 for every row."


reference = {f.__name__: f for f in (insert_phrase, labels_of, refusal_rate, remove_direction)}
graders = {
    "insert_phrase": grade_insert_phrase,
    "labels_of": grade_labels_of,
    "refusal_rate": grade_refusal_rate,
    "remove_direction": grade_remove_direction,
}
