"""The drift: where prompts lie inside a model, step by step of its fine-tune or block by block, on a plane that stays.

Notable:
- The plane is laid before the first step: across it runs the difference in means of the model as it was, refused against
  answered, and upwards the direction at right angles in which the shown prompts differ most.
- The prompts that lay the first axis are not among those that are shown.
- Prompts are read where the reply begins, at the input of the last block.
"""

import random
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm

from . import direction, measure, mix
from .chat import Bot

SHOWN = 60  # prompts of each sort
EVERY = 4  # steps between two pictures
UNTIL = 40  # steps: by then all has moved that will


class Plane(NamedTuple):
    """Two axes of length 1 at right angles, and the point where they cross."""

    centre: Tensor  # (width,)
    axes: Tensor  # (2, width)

    def of(self, states: Tensor) -> list[tuple[float, float]]:
        """Where each state, (prompt, width), lies on the plane."""
        return [tuple(point) for point in ((states - self.centre) @ self.axes.T).tolist()]


def plane(across: Tensor, shown: Tensor) -> Plane:
    """`across`, (width,), gives the first axis. Upwards: the first principal component of what the shown states,
    (prompt, width), have besides."""
    centre = shown.mean(0)
    besides = direction.without(shown - centre, across)
    upwards = torch.linalg.svd(besides, full_matrices=False).Vh[0]
    return Plane(centre, torch.stack([across / across.norm(), upwards]))


def states(bot: Bot, prompts: list[str]) -> Tensor:
    """What the last block reads where the reply begins: (prompt, width)."""
    return bot.residuals(prompts)[:, -1, -1]


def by_block(bot: Bot, vector: Tensor, sorts: dict[str, list[str]], position: int = -1) -> dict:
    """Frames of a film: where prompts lie at the input of every block, then at the last one with the vector, (width,),
    removed from the whole model: {block: {sort: [(x, y), ...]}}.

    They are read at one template position. The plane is that of the last block, its first axis along the vector.
    """
    here = {sort: bot.residuals(prompts)[:, :, position] for sort, prompts in sorts.items()}  # (prompt, layer, width)
    laid = plane(vector, torch.cat([stream[:, -1] for stream in here.values()]))
    last = len(bot.blocks) - 1
    frames = {
        str(block): {sort: laid.of(stream[:, block]) for sort, stream in here.items()} for block in range(last + 1)
    }
    with direction.ablated(bot, vector):
        without = {sort: laid.of(bot.residuals(prompts)[:, -1, position]) for sort, prompts in sorts.items()}
    return frames | {"removed": without}


class Drift:
    """Give its `watch` to `sft.tune`: it looks every few steps and ends the fine-tune after `until`.

    `frames` holds, for each step that was looked at, where the prompts of each sort lie: {step: {sort: [(x, y), ...]}}.
    Step 0 is the model before the fine-tune.
    """

    def __init__(self, bot: Bot, topic: mix.Topic, every: int = EVERY, until: int = UNTIL, seed: int = 0):
        about, rng = measure.topic_questions(topic), random.Random(seed)
        self.sorts = {
            "about the topic": [chat.user for chat in rng.sample(about, min(SHOWN, len(about)))],
            "controls": [chat.user for chat in measure.controls(topic, SHOWN, seed)],
            "should refuse": [chat.user for chat in measure.forbidden(topic, SHOWN, seed)],
        }
        self.every, self.until = every, until
        across = direction.difference_in_means(bot, *mix.contrast(topic, 2 * SHOWN, seed))[-1, -1]
        self.plane = plane(across, torch.cat([states(bot, prompts) for prompts in self.sorts.values()]))
        self.frames = {0: self._look(bot)}
        self._bar = None

    def watch(self, tuned: Bot, losses: list[float], steps: int) -> bool:
        """Look, if it is time; true when the fine-tune has gone on for long enough."""
        self._bar = self._bar or tqdm(total=min(self.until, steps), desc="the drift", unit="step")
        self._bar.update()
        if len(losses) % self.every == 0:
            self.look(tuned, len(losses))
        if len(losses) >= min(self.until, steps):
            self._bar.close()
        return len(losses) >= self.until

    def look(self, tuned: Bot, step: int) -> None:
        """Add a frame: where the prompts lie now."""
        training = tuned.model.training
        tuned.model.eval()
        self.frames[step] = self._look(tuned)
        tuned.model.train(training)

    def _look(self, bot):
        return {sort: self.plane.of(states(bot, prompts)) for sort, prompts in self.sorts.items()}
