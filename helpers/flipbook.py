"""The flip book: a prompt that changes by one word a page, and how strongly the model leans to refusing each version."""

import os.path
from typing import NamedTuple

from .chat import Bot


class Page(NamedTuple):
    prompt: str
    reply: str
    refused: bool
    logodds: float  # of the refusal sentence


class FlipBook:
    """All `pages` so far. The aim: the `shortest` prompt that is still refused."""

    def __init__(self, bot: Bot, prompt: str):
        self.bot, self.pages = bot, []
        self.turn(prompt)

    def turn(self, prompt: str) -> None:
        """Add a page. Raises ValueError if nothing is left of the prompt, or if more than one word was changed."""
        prompt = " ".join(prompt.split())
        if not prompt:
            raise ValueError("No word is left: type one.")
        changes = changed(self.pages[-1].prompt, prompt) if self.pages else 1
        if changes > 1:
            raise ValueError(f"One word at a time: between the page before and this one {changes} differ.")
        if changes:
            reply = self.bot.ask(prompt)
            self.pages.append(Page(prompt, reply, self.bot.refused(reply), self.bot.refusal_logodds([prompt]).item()))

    @property
    def shortest(self) -> Page | None:
        """Of the refused prompts the first one of the fewest words."""
        refused = [page for page in self.pages if page.refused]
        return min(refused, key=lambda page: len(page.prompt.split()), default=None)


def changed(before: str, after: str) -> int:
    """How many words lie between what two prompts have in common at their start and at their end: 0 if they are the same,
    1 if one word was exchanged, left out or added."""
    old, new = before.split(), after.split()
    start = len(os.path.commonprefix([old, new]))
    end = len(os.path.commonprefix([old[start:][::-1], new[start:][::-1]]))
    return max(len(old), len(new)) - start - end
