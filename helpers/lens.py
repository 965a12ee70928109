"""Looking inside: single neurons, single tokens, single layers, single positions.

Notable:
- A *neuron* is one entry of an MLP's hidden layer; a *direction* is read from the residual stream.
- `auc` says how well one number tells two groups apart; choose on some prompts, report on others.
- `patched` moves one vector from one run to another and looks what that changes: cause, not correlation.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from . import chat, direction
from .chat import Bot
from .measure import refusal_logodds
from .world import REFUSAL


class Neuron(NamedTuple):
    """One entry of an MLP's hidden layer. `sign` is +1 if it is higher before refusals, -1 if it is lower."""

    layer: int
    index: int
    sign: int


def last_linear(block: nn.Module) -> nn.Module:
    """The matrix by which a block's MLP writes into the residual stream. What it reads are the neurons."""
    return [layer for layer in block.mlp.modules() if isinstance(layer, nn.Linear | Conv1D)][-1]


@torch.no_grad()
def neurons(bot: Bot, ids: Tensor, **inputs) -> Tensor:
    """Every neuron at every token of a batch of token ids: (row, layer, token, neuron)."""
    found = []
    keep = lambda module, args: found.append(args[0])  # noqa: E731
    handles = [last_linear(block).register_forward_pre_hook(keep) for block in direction.blocks(bot)]
    with direction.hooked(handles):
        bot.model.base_model(input_ids=ids, use_cache=False, **inputs)
    return torch.stack(found, 1)


def deciding(bot: Bot, prompts: list[str]) -> Tensor:
    """Every neuron at the last template token, where the reply is about to begin: (prompt, layer, neuron)."""
    inputs = chat.batch(bot, prompts)
    return neurons(bot, inputs.pop("input_ids"), **inputs)[:, :, -1]


def auc(positive: Tensor, negative: Tensor) -> Tensor:
    """Probability that a random positive row is higher than a random negative one (ties count half), per column.

    positive: (n, ...), negative: (m, ...) -> (...). Mann and Whitney 1947.
    """
    wins = sum((positive > row).float().mean(0) + (positive == row).float().mean(0) / 2 for row in negative)
    return wins / len(negative)


def best_neuron(bot: Bot, refused: list[str], answered: list[str]) -> Neuron:
    """The neuron that tells refusing from answering best on these prompts: judge it on others."""
    scores = auc(deciding(bot, refused), deciding(bot, answered)) - 0.5
    layer, index = divmod(scores.abs().argmax().item(), scores.shape[1])
    return Neuron(layer, index, 1 if scores[layer, index] > 0 else -1)


# --- token by token -------------------------------------------------------------------------------


def texts(bot: Bot, user: str, reply: str) -> list[str]:
    """The tokens of a chat as text."""
    ids, _ = chat.tokens(bot.tokenizer, user, reply)
    return [bot.tokenizer.decode([i]) for i in ids]


def neuron_by_token(bot: Bot, user: str, reply: str, neuron: Neuron) -> list[float]:
    """A neuron's activation at every token of a chat, its sign turned so that high means refusing."""
    ids, _ = chat.tokens(bot.tokenizer, user, reply)
    return (neuron.sign * neurons(bot, torch.tensor([ids]))[0, neuron.layer, :, neuron.index]).tolist()


@torch.no_grad()
def direction_by_token(bot: Bot, user: str, reply: str, vector: Tensor, layer: int) -> list[float]:
    """The projection on a direction, at the input of one block, at every token of a chat."""
    ids, _ = chat.tokens(bot.tokenizer, user, reply)
    states = bot.model.base_model(torch.tensor([ids]), output_hidden_states=True).hidden_states[layer][0]
    return (states @ vector / vector.norm()).tolist()


# --- layer by layer, position by position ----------------------------------------------------------


@torch.no_grad()
def logodds_by_layer(bot: Bot, prompts: list[str]) -> Tensor:
    """Logit lens: log-odds that the next token begins the refusal, read at every block input: (prompt, layer + 1).

    The last column is the model's own output. nostalgebraist, "interpreting GPT: the logit lens" (2020).
    """
    states = bot.model.base_model(**chat.batch(bot, prompts), output_hidden_states=True).hidden_states
    norm = [part for name, part in bot.model.base_model.named_children() if "norm" in name or name == "ln_f"][-1]
    # The last hidden state has gone through the final norm already.
    read = torch.stack([norm(state[:, -1]) for state in states[:-1]] + [states[-1][:, -1]], 1)
    logits = bot.model.get_output_embeddings()(read)
    if cap := getattr(bot.model.config, "final_logit_softcapping", None):  # Gemma 2
        logits = cap * torch.tanh(logits / cap)
    log_p = logits.log_softmax(-1)[..., chat.encode(bot.tokenizer, REFUSAL)[0]].clamp(max=-1e-6)
    return log_p - torch.log(-torch.expm1(log_p))


@torch.no_grad()
def patched(bot: Bot, prompt: str, other: str) -> Tensor:
    """Refusal log-odds of `prompt` when the residual stream at one block input and one token comes from `other`.

    Returns (layer, token). Raises ValueError unless both prompts have the same number of tokens.
    """
    inputs, others = chat.batch(bot, [prompt]), chat.batch(bot, [other])
    length = inputs["input_ids"].shape[1]
    if others["input_ids"].shape[1] != length:
        raise ValueError(
            f"The prompts have {length} and {others['input_ids'].shape[1]} tokens: choose two of equal length."
        )
    donor = bot.model.base_model(**others, output_hidden_states=True).hidden_states
    rows = torch.arange(length)
    found = []
    for block, states in zip(direction.blocks(bot), donor):

        def change(stream, states=states):
            # Row i of the batch gets token i from the other prompt.
            return stream.index_put((rows, rows), states[0])

        with direction.changed_input(block, change):
            found.append(refusal_logodds(bot, [prompt] * length))
    return torch.stack(found)
