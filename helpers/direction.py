"""The direction that carries refusal: find it, remove it, add it.

After Arditi et al., "Refusal in Language Models Is Mediated by a Single Direction" (NeurIPS 2024, arXiv:2406.11717).

Notable:
- Residuals are read at the *input* of every block, at the template positions after the user's words.
- Selection and reporting must use different prompts; `find` therefore splits its prompts itself.
- Refusal is scored on the whole refusal sentence, not on its first token: "I" starts many sentences.
- Every context manager removes its hooks, also after an exception. Nothing is edited in place.
"""

import contextlib
import itertools
import re
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from . import chat, measure
from .chat import Bot
from .measure import refusal_logodds
from .world import REFUSAL


class Found(NamedTuple):
    """A refusal direction and how it was chosen."""

    vector: Tensor  # (width,), as measured: not normalised
    layer: int  # read at the input of this block
    position: int  # -1 is the last template token, -2 the one before, ...
    scores: list[dict]  # one row a candidate: layer, position, bypass, induce, kl, kept


# --- where to read and write: the same places in every family of models ---------------------------


def blocks(bot: Bot) -> nn.ModuleList:
    """The transformer blocks: the longest module list of the model."""
    lists = [part for part in bot.model.base_model.modules() if isinstance(part, nn.ModuleList)]
    return max(lists, key=len)


def writers(block: nn.Module) -> list[nn.Module]:
    """The two parts of a block that write into the residual stream: attention and MLP."""
    parts = {name: part for name, part in block.named_children() if not re.search("norm|ln|dropout", name)}
    return [part for name, part in parts.items() if "attn" in name or "attention" in name or "mlp" in name]


def late_norms(block: nn.Module) -> list[nn.Module]:
    """The norms between those two parts and the residual stream: Gemma 2 and its like have them, most have none."""
    if not hasattr(block, "post_feedforward_layernorm"):
        return []  # elsewhere `post_attention_layernorm` is what the MLP reads
    return [block.post_attention_layernorm, block.post_feedforward_layernorm]


@torch.no_grad()
def residuals(bot: Bot, prompts: list[str], batch_size: int = 64) -> Tensor:
    """Residual stream at every block input and template position: (prompt, layer, position, width)."""
    length = len(chat.tail(bot.tokenizer))
    found = []
    for start in range(0, len(prompts), batch_size):
        inputs = chat.batch(bot, prompts[start : start + batch_size])
        states = bot.model.base_model(**inputs, output_hidden_states=True).hidden_states
        # hidden_states[i] is the input of block i; the last entry is after the final norm and no block's input.
        found.append(torch.stack([state[:, -length:] for state in states[:-1]], dim=1))
    return torch.cat(found)


def difference_in_means(bot: Bot, harmful: list[str], harmless: list[str]) -> Tensor:
    """Mean residual on harmful minus mean on harmless prompts: (layer, position, width). Arditi et al., equation 2."""
    return residuals(bot, harmful).mean(0) - residuals(bot, harmless).mean(0)


# --- intervene ------------------------------------------------------------------------------------


def without(x: Tensor, direction: Tensor, share: float = 1.0) -> Tensor:
    """x with (a share of) its component along the direction taken out; both have width as the last dimension."""
    unit = direction / direction.norm()
    return x - share * (x @ unit)[..., None] * unit


def surgical(false: Tensor, true: Tensor, share: float = 1.0) -> Tensor:
    """The false-refusal vector without (a share of) its part along the true-refusal vector: (width,).

    Ablating it should free what is refused wrongly and leave the wanted refusals (Wang et al., ICLR 2025, section 3).
    """
    return without(false, true, share)


@contextlib.contextmanager
def hooked(handles):
    """Within `with`: these hooks are on. Afterwards they are gone, also after an exception."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _on_input(change):
    return lambda module, args, kwargs: (
        ((change(args[0]), *args[1:]), kwargs)
        if args
        else (args, kwargs | {"hidden_states": change(kwargs["hidden_states"])})
    )


def _on_output(change):
    return lambda module, args, out: (change(out[0]), *out[1:]) if isinstance(out, tuple) else change(out)


@contextlib.contextmanager
def ablated(bot: Bot, direction: Tensor, share: float = 1.0):
    """Within `with`: the direction is missing everywhere (block inputs, attention and MLP outputs, all positions)."""
    change = lambda x: without(x, direction, share)  # noqa: E731
    handles = []
    for block in blocks(bot):
        handles.append(block.register_forward_pre_hook(_on_input(change), with_kwargs=True))
        handles += [part.register_forward_hook(_on_output(change)) for part in writers(block) + late_norms(block)]
    with hooked(handles):
        yield


@contextlib.contextmanager
def changed_input(block: nn.Module, change):
    """Within `with`: the block reads change(x) where it would read the residual stream x, (row, token, width)."""
    with hooked([block.register_forward_pre_hook(_on_input(change), with_kwargs=True)]):
        yield


@contextlib.contextmanager
def added(bot: Bot, direction: Tensor, layer: int, strength: float = 1.0, position: int | None = None):
    """Within `with`: strength x direction is added to the input of one block.

    At all positions (Arditi et al.), or at one template position, while the prompt is read: -1 is where the reply begins.
    """

    def change(x):
        if position is None:
            return x + strength * direction
        if x.shape[1] == 1:  # the reply, one token at a time
            return x
        x = x.clone()
        x[:, position] += strength * direction
        return x

    with changed_input(blocks(bot)[layer], change):
        yield


@torch.no_grad()
def orthogonalised(bot: Bot, direction: Tensor) -> Bot:
    """A copy that cannot write the direction: the same logits as `ablated`, and no hooks.

    Edits the token embedding and every matrix (and bias) that writes into the residual stream.
    The output layer is untied first: it reads the stream and must stay as it is.
    """
    if any(late_norms(block) for block in blocks(bot)):
        raise ValueError(f"{bot.name} has norms that would write the direction anew: use `ablated` instead.")
    bare = bot.copy(f"{bot.name}, orthogonalised")
    model = bare.model
    embedding = model.get_input_embeddings()
    output = model.get_output_embeddings()
    if output.weight is embedding.weight:
        output.weight = nn.Parameter(output.weight.clone())
        model.config.tie_word_embeddings = False
    embeddings = [embedding] + [part for name, part in model.base_model.named_children() if name == "wpe"]
    for part in embeddings:
        part.weight.copy_(without(part.weight, direction))
    for block in blocks(bare):
        for part in writers(block):
            matrix = [layer for layer in part.modules() if isinstance(layer, nn.Linear | Conv1D)][-1]
            into_stream = matrix.weight if isinstance(matrix, Conv1D) else matrix.weight.T  # (input, width)
            into_stream.copy_(without(into_stream, direction))
            if matrix.bias is not None:
                matrix.bias.copy_(without(matrix.bias, direction))
    return bare


# --- score and select -----------------------------------------------------------------------------


def find(
    bot: Bot,
    harmful: list[str],
    harmless: list[str],
    validation: int = 32,
    prune: float = 0.0,
    max_kl: float = 0.1,
    min_induce: float = 0.0,
    refusal: str = REFUSAL,
) -> Found:
    """The direction, among all layers and positions, that best switches refusal off (Arditi et al., section 2.3).

    Prompts that the bot does not treat as expected are dropped; the last `validation` of each kind choose among the
    candidates that the others define. Three scores a candidate: *bypass*, the refusal log-odds on harmful prompts when
    it is ablated (low is good); *induce*, the log-odds on harmless prompts when it is added (high is good); *kl*, how
    far ablation moves the next token on harmless prompts (nats). The lowest bypass wins among those with
    kl <= max_kl and induce >= min_induce. `prune` drops that share of the last layers. Arditi et al. use
    max_kl 0.1, min_induce 0 and prune 0.2; a six-layer model has few layers to spare, and we score the whole refusal
    sentence, which is harder to induce than its first token: the notebooks allow min_induce -6. Raises ValueError if
    there are too few prompts or no candidate passes.

    For a model other than the bundled one, `refusal` is how its refusals begin: it takes the place of the sentence.
    """
    harmful = [prompt for prompt, reply in zip(harmful, bot.ask(harmful)) if measure.refusal(reply) != "none"]
    harmless = [prompt for prompt, reply in zip(harmless, bot.ask(harmless)) if measure.refusal(reply) == "none"]
    fewest = min(len(harmful), len(harmless))
    if validation < 1 or fewest < 2 * validation:
        raise ValueError(
            f"Too few prompts: {len(harmful)} are refused and {len(harmless)} answered, and each needs at least "
            f"{max(2, 2 * validation)}. Give more prompts, or another `validation` (at least 1)."
        )
    candidates = difference_in_means(bot, harmful[:-validation], harmless[:-validation])
    scores = _scores(bot, candidates, harmful[-validation:], harmless[-validation:], refusal)
    for row in scores:
        early = row["layer"] < len(candidates) - round(prune * len(candidates))
        row["kept"] = early and row["kl"] <= max_kl and row["induce"] >= min_induce
    scores.sort(key=lambda row: (not row["kept"], row["bypass"]))
    if not any(row["kept"] for row in scores):
        raise ValueError(
            "No candidate passes the filters: allow a larger `max_kl`, a lower `min_induce` or less `prune`."
        )
    best = scores[0]
    return Found(candidates[best["layer"], best["position"]], best["layer"], best["position"], scores)


def _scores(bot, candidates, harmful, harmless, refusal):
    before = chat.logits(bot, harmless).log_softmax(-1)
    layers, positions = candidates.shape[:2]
    rows = []
    for layer, i in itertools.product(range(layers), range(positions)):
        vector = candidates[layer, i]
        if vector.norm() < 1e-4:  # at block 0 the template tokens are the same for all prompts: nothing differs
            continue
        with ablated(bot, vector):
            bypass = refusal_logodds(bot, harmful, refusal).mean().item()
            after = chat.logits(bot, harmless).log_softmax(-1)
        with added(bot, vector, layer):
            induce = refusal_logodds(bot, harmless, refusal).mean().item()
        kl = (before.exp() * (before - after)).sum(-1).mean().item()
        rows.append(dict(layer=layer, position=i - positions, bypass=bypass, induce=induce, kl=kl))
    return rows


def random_like(direction: Tensor, n: int, seed: int = 0) -> Tensor:
    """Random directions of the same length, the control for any claim about one direction: (n, width)."""
    drawn = torch.randn(n, len(direction), generator=torch.Generator().manual_seed(seed))
    return drawn / drawn.norm(dim=1, keepdim=True) * direction.norm()
