"""Looking inside: single neurons, single tokens, single layers, single positions.

Notable:
- A *neuron* is one entry of an MLP's hidden layer; a *direction* is read from the residual stream.
- `auc` says how well one number tells two groups apart; choose on some prompts, report on others.
- `patched` moves one vector from one run to another and looks what that changes: cause, not correlation.
"""

import contextlib
from typing import NamedTuple

import torch
from torch import Tensor

from . import chat, direction, hooks
from .chat import Bot

CHOOSING = 96  # so many prompts of each kind choose a neuron, and others judge it


class Neuron(NamedTuple):
    """One entry of an MLP's hidden layer. `sign` is +1 if it is higher before refusals, -1 if it is lower."""

    layer: int
    index: int
    sign: int


@torch.no_grad()
def neurons(bot: Bot, inputs: dict[str, Tensor]) -> Tensor:
    """Every neuron at every token of a batch: (row, layer, token, neuron). They are what an MLP's last matrix reads."""
    found = []
    shape = inputs["input_ids"].shape  # OPT flattens rows and tokens
    handles = [hooks.noting_input(mlp, lambda x: found.append(x.reshape(*shape, -1))) for _, mlp in bot.writers]
    with hooks.removed_after(handles):
        bot.model.base_model(**inputs, use_cache=False)
    return torch.stack(found, 1)


def deciding(bot: Bot, prompts: list[str]) -> Tensor:
    """Every neuron at the last template token, where the reply is about to begin: (prompt, layer, neuron)."""
    return neurons(bot, bot.batch(prompts))[:, :, -1]


def auc(positive: Tensor, negative: Tensor) -> Tensor:
    """Probability that a random positive row is higher than a random negative one (ties count half), per column.

    positive: (n, ...), negative: (m, ...) -> (...). Mann and Whitney 1947.
    """
    wins = sum((positive > row).float().mean(0) + (positive == row).float().mean(0) / 2 for row in negative)
    return wins / len(negative)


def best_neuron(bot: Bot, refused: list[str], answered: list[str]) -> Neuron:
    """The neuron that tells refusing from answering best on these prompts: judge it on others."""
    return best_neurons(bot, refused, answered, 1)[0]


def best_neurons(bot: Bot, refused: list[str], answered: list[str], count: int) -> list[Neuron]:
    """So many of them, the best first; of those that do equally well the ones of earlier blocks."""
    scores = auc(deciding(bot, refused), deciding(bot, answered)) - 0.5
    order = scores.abs().flatten().argsort(descending=True, stable=True)[:count]
    places = [divmod(place, scores.shape[1]) for place in order.tolist()]
    return [Neuron(layer, index, 1 if scores[layer, index] > 0 else -1) for layer, index in places]


@contextlib.contextmanager
def silenced(bot: Bot, neuron: Neuron):
    """Within `with`: this one neuron is 0 at every token. Telling refusals apart is not yet causing them."""

    def change(x):
        return x.index_fill(-1, torch.tensor([neuron.index], device=x.device), 0)

    with hooks.removed_after([hooks.on_input(bot.writers[neuron.layer][1], change)]):
        yield


# --- token by token -------------------------------------------------------------------------------


def texts(bot: Bot, user: str, reply: str) -> list[str]:
    """The tokens of a chat as text."""
    ids, _ = chat.tokens(bot.tokenizer, user, reply)
    return [bot.tokenizer.decode([i]) for i in ids]


def neuron_by_token(bot: Bot, user: str, reply: str, neuron: Neuron) -> list[float]:
    """A neuron's activation at every token of a chat, its sign turned so that high means refusing."""
    return (neuron.sign * neurons(bot, _whole(bot, user, reply))[0, neuron.layer, :, neuron.index]).tolist()


def direction_by_token(bot: Bot, user: str, reply: str, vector: Tensor, layer: int) -> list[float]:
    """The projection on a direction, at the input of one block, at every token of a chat."""
    states = bot.stream(_whole(bot, user, reply))[0, layer]
    return (states @ (vector / vector.norm()).to(states)).tolist()


def _whole(bot, user, reply):
    """One chat, prompt and reply, as the model reads it."""
    ids, _ = chat.tokens(bot.tokenizer, user, reply)
    return {"input_ids": torch.tensor([ids], device=bot.device)}


# --- layer by layer, position by position ----------------------------------------------------------


def logodds_by_layer(bot: Bot, prompts: list[str]) -> Tensor:
    """Logit lens: log-odds that the next token begins a refusal, read at every block input: (prompt, layer + 1).

    The last column is the model's own output. nostalgebraist, "interpreting GPT: the logit lens" (2020).
    """
    log_p = bot.unembed(bot.stream(bot.batch(prompts), last=1)[:, :, -1]).log_softmax(-1)
    first = sorted({chat.encode(bot.tokenizer, opening)[0] for opening in bot.openings})
    refusing = log_p[..., first].logsumexp(-1).clamp(max=-1e-6)
    return refusing - torch.log(-torch.expm1(refusing))


def patched(bot: Bot, prompt: str, other: str) -> Tensor:
    """Refusal log-odds of `prompt` when the residual stream at one block input and one token comes from `other`.

    Returns (layer, token). Raises ValueError unless both prompts have the same number of tokens.
    """
    inputs, others = bot.batch([prompt]), bot.batch([other])
    length = inputs["input_ids"].shape[1]
    if others["input_ids"].shape[1] != length:
        raise ValueError(
            f"The prompts have {length} and {others['input_ids'].shape[1]} tokens: choose two of equal length."
        )
    donor = bot.stream(others)[0]
    rows = torch.arange(length)
    found = []
    for block, states in zip(bot.blocks, donor[:-1], strict=True):

        def change(stream, states=states):
            # Row i of the batch gets token i from the other prompt.
            return stream.index_put((rows, rows), states)

        with direction.changed_input(block, change):
            found.append(bot.refusal_logodds([prompt] * length))
    return torch.stack(found)
