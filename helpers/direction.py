"""The direction that carries refusal: find it, remove it, add it.

After Arditi et al., "Refusal in Language Models Is Mediated by a Single Direction" (NeurIPS 2024, arXiv:2406.11717).

Notable:
- Residuals are read at the *input* of every block, at the template positions after the user's words.
- Selection and reporting must use different prompts; `find` therefore splits its prompts itself.
- Refusal is scored on how the bot's refusals begin: for the bundled assistant on the whole sentence, not on its first
  token, since "I" starts many sentences.
- `find` shares what candidates have in common: the template is read once for all prompts, all openings in one pass, and
  blocks before the one where a candidate is added are not computed again. Its scores are those of a plain loop.
- Every context manager removes its hooks, also after an exception. Nothing is edited in place.
"""

import contextlib
import functools
import itertools
import math
import random
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from . import anatomy, hooks
from .chat import Bot, prompt_ends


class Filters(NamedTuple):
    """Which candidates may win (Arditi et al., section 2.3 and appendix C)."""

    prune: float  # share of the last layers that is left out
    max_kl: float  # nats: how far ablation may move the next token on harmless prompts
    min_induce: float  # the refusal log-odds that adding the direction to harmless prompts must reach


PUBLISHED = Filters(prune=0.2, max_kl=0.1, min_induce=0.0)
# A six-layer model has few layers to spare, and a whole refusal sentence is harder to induce than its first token. One that
# refuses a thing too many leans a little towards refusing everywhere: ablation moves, and should move, more. Narrower filters
# pass by the best candidate (data/assistant/README.md).
SMALL_MODEL = Filters(prune=0.0, max_kl=1.0, min_induce=-25.0)
# A model that over-refuses *nearly* refuses many harmless prompts: without the direction these move far, and should. And
# if its refusals may also come after an answer has begun, their openings are harder to induce.
OVER_REFUSING = Filters(prune=0.2, max_kl=math.inf, min_induce=-2.0)
ANY = Filters(prune=0.0, max_kl=math.inf, min_induce=-math.inf)
RANDOM = 20  # how many random directions a claim about one is held against
SHARES = (0, 0.25, 0.5, 0.75, 1)  # of the true refusal: how much of it is taken out of the false-refusal vector


class Found(NamedTuple):
    """A refusal direction and how it was chosen."""

    vector: Tensor  # (width,), as measured: not normalised
    layer: int  # read at the input of this block
    position: int  # -1 is the last template token, -2 the one before, ...
    scores: list[dict]  # one row a candidate: layer, position, bypass, induce, kl, kept
    counts: dict  # prompts that defined, that chose, and that were dropped: {"harmful": {"defining": 160, ...}, ...}


def difference_in_means(bot: Bot, harmful: list[str], harmless: list[str]) -> Tensor:
    """Mean residual on harmful minus mean on harmless prompts: (layer, position, width). Arditi et al., equation 2."""
    return bot.residuals(harmful).mean(0) - bot.residuals(harmless).mean(0)


# --- intervene ------------------------------------------------------------------------------------


def without(x: Tensor, direction: Tensor, share: float = 1.0) -> Tensor:
    """x with (a share of) its component along the direction taken out; both have width as the last dimension.

    Arditi et al., equation 4.
    """
    unit = (direction / direction.norm()).to(x)
    return x - share * (x @ unit)[..., None] * unit


def surgical(false_refusal: Tensor, true_refusal: Tensor, share: float = 1.0) -> Tensor:
    """The false-refusal vector without (a share of) its part along the true-refusal vector: (width,).

    Ablating it should free what is refused wrongly and leave the wanted refusals (Wang et al., ICLR 2025, section 3).
    """
    return without(false_refusal, true_refusal, share)


@contextlib.contextmanager
def ablated(bot: Bot, direction: Tensor, share: float = 1.0, remove=None):
    """Within `with`: the direction is missing everywhere (block inputs, attention and MLP outputs, all positions).

    `remove(x, direction)`, if given, takes it out in the place of `without`.
    """
    remove = remove or functools.partial(without, share=share)
    handles = [hooks.on_input(block, lambda x: remove(x, direction.to(x))) for block in bot.blocks]
    for matrix, before_norm in _written(bot, direction):
        handles.append(hooks.on_output(matrix, lambda x, d=before_norm: remove(x, d.to(x))))
    with hooks.removed_after(handles):
        yield


def _written(bot, direction):
    """(matrix, direction) for all that writes into the stream: what may not come out of the matrix.

    Where a norm follows, it stretches each entry. What it turns into the direction is then what is to be taken out.
    """
    late = anatomy.late_norms(bot.model)
    for matrices, norms in zip(bot.writers, late, strict=True):
        for matrix, norm in itertools.zip_longest(matrices, norms):
            yield matrix, direction if norm is None else direction * _stretch(norm).to(direction)


@torch.no_grad()
def _stretch(norm) -> Tensor:
    """By how much a norm without a bias stretches each entry, up to a common factor: (width,)."""
    return norm(torch.ones_like(norm.weight))


@contextlib.contextmanager
def changed_input(block: nn.Module, change):
    """Within `with`: the block reads change(x) where it would read the residual stream x, (row, token, width)."""
    with hooks.removed_after([hooks.on_input(block, change)]):
        yield


@contextlib.contextmanager
def added(bot: Bot, direction: Tensor, layer: int, strength: float = 1.0, position: int | None = None):
    """Within `with`: strength x direction is added to the input of one block.

    At all positions (Arditi et al., equation 3), or at one template position of the prompt, whatever follows it: -1 is
    where the reply begins.
    """
    places = {}

    def look(ids):
        places["ends"] = (
            prompt_ends(bot.tokenizer, ids) if ids.shape[1] > 1 else None
        )  # else: the reply, as it is written

    def change(x):
        if position is None:
            return x + strength * direction.to(x)
        if places["ends"] is None:
            return x
        x = x.clone()
        x[torch.arange(len(x)), places["ends"] + 1 + position] += strength * direction.to(x)
        return x

    handles = [hooks.on_input(bot.blocks[layer], change)]
    if position is not None:
        handles.append(hooks.noting_input(bot.model.get_input_embeddings(), look))
    with hooks.removed_after(handles):
        yield


@torch.no_grad()
def orthogonalised(bot: Bot, direction: Tensor) -> Bot:
    """A copy that cannot write the direction: the same logits as `ablated`, and no hooks.

    Edits the embeddings and every matrix (and bias) that writes into the residual stream (Arditi et al., equation 5).
    The output layer is untied first: it reads the stream and must stay as it is. Raises RuntimeError if the copy does
    not compute what `ablated` does.
    """
    bare = bot.copy(f"{bot.name}, orthogonalised")
    embedding, output = bare.model.get_input_embeddings(), bare.model.get_output_embeddings()
    if output.weight is embedding.weight:
        output.weight = nn.Parameter(output.weight.clone())
        bare.model.config.tie_word_embeddings = False
    for part in anatomy.embeddings(bare.model):
        part.weight.copy_(without(part.weight, direction))
    for matrix, before_norm in _written(bare, direction):
        into_stream = matrix.weight if isinstance(matrix, Conv1D) else matrix.weight.T  # (input, width)
        into_stream.copy_(without(into_stream, before_norm))
        if matrix.bias is not None:
            matrix.bias.copy_(without(matrix.bias, before_norm))
    _same_logits(bot, bare, direction)
    return bare


def _same_logits(bot, bare, direction):
    prompts = ["Hello", "What is the capital of Japan?"]
    with ablated(bot, direction):
        wanted = bot.logits(prompts)
    apart = (bare.logits(prompts) - wanted).abs().max().item()
    exact = 1000 * torch.finfo(wanted.dtype).eps * max(1.0, wanted.abs().max().item())
    if not apart <= exact:
        raise RuntimeError(
            f"The edited {bot.name} is {apart:.2g} away from the ablated one: its row in anatomy is wrong."
        )


# --- score and select -----------------------------------------------------------------------------


def find(
    bot: Bot,
    harmful: list[str],
    harmless: list[str],
    filters: Filters = SMALL_MODEL,
    validation: int = 32,
    seed: int = 0,
    positions: tuple[int, ...] | None = None,
    tokens: int = 40,
    enough: float = -math.inf,
) -> Found:
    """The direction, among all layers and positions, that best switches refusal off (Arditi et al., section 2.3).

    Prompts that the bot does not treat as expected are dropped and the others shuffled; `validation` of each kind
    choose among the candidates that the rest defines. Three scores a candidate: *bypass*, the refusal log-odds on
    harmful prompts when it is ablated (low is good); *induce*, the log-odds on harmless prompts when it is added (high
    is good); *kl*, how far ablation moves the next token on harmless prompts (nats). The lowest bypass wins among those
    that pass the filters. With `positions`, (-1,) for instance, only these template positions are candidates: a model
    of many blocks is searched in a fraction of the time, and what lies at other positions is not found. So many
    `tokens` of a reply say whether it refuses. If any bypass is `enough`, the lowest *kl* of those wins instead: the
    gentlest that does the work. Raises ValueError if there are too few prompts or no candidate passes.
    """
    refused, answered = _shuffled(bot, harmful, True, seed, tokens), _shuffled(bot, harmless, False, seed, tokens)
    fewest = min(len(refused), len(answered))
    if validation < 1 or fewest < 2 * validation:
        raise ValueError(
            f"Too few prompts: {len(refused)} of {len(harmful)} are refused and {len(answered)} of {len(harmless)} "
            f"answered, and each needs at least {max(2, 2 * validation)}. Give more prompts, or another `validation` "
            "(at least 1)."
        )
    candidates = difference_in_means(bot, refused[validation:], answered[validation:])
    scores = _scores(bot, candidates, refused[:validation], answered[:validation], positions)
    for row in scores:
        row["kept"] = passes(row, filters, len(candidates))
    scores.sort(key=functools.partial(_rank, enough=enough))
    if not any(row["kept"] for row in scores):
        raise ValueError(
            "No candidate passes the filters: allow a larger `max_kl`, a lower `min_induce` or less `prune`."
        )
    best = scores[0]
    counts = {
        kind: {"defining": len(used) - validation, "choosing": validation, "dropped": len(given) - len(used)}
        for kind, used, given in (("harmful", refused, harmful), ("harmless", answered, harmless))
    }
    return Found(candidates[best["layer"], best["position"]], best["layer"], best["position"], scores, counts)


def _rank(row, enough):
    """What comes first in the order of the candidates: kept ones, of these what does enough, and gently."""
    does = row["bypass"] <= enough
    return not row["kept"], not does, row["kl"] if does else row["bypass"]


def _shuffled(bot, prompts, refused, seed, tokens):
    """The prompts that the bot treats so, in random order: a list often comes sorted by subject."""
    replies = bot.ask(prompts, max_new_tokens=tokens)
    kept = [prompt for prompt, reply in zip(prompts, replies, strict=True) if bot.refused(reply) == refused]
    return random.Random(seed).sample(kept, len(kept))


def passes(row: dict, filters: Filters, layers: int) -> bool:
    """May a candidate with these scores win, in a model of so many layers?"""
    early = row["layer"] < layers - round(filters.prune * layers)
    return early and row["kl"] <= filters.max_kl and row["induce"] >= filters.min_induce


def _scores(bot, candidates, harmful, harmless, positions=None):
    before = _next_token(bot, harmless)
    unchanged = _block_outputs(bot, harmless)
    rows = []
    for layer, position in itertools.product(range(len(candidates)), positions or range(-candidates.shape[1], 0)):
        vector = candidates[layer, position]
        if vector.norm() < 1e-4:  # at block 0 the template tokens are the same for all prompts: nothing differs
            continue
        with ablated(bot, vector):
            bypass = bot.refusal_logodds(harmful, shared=True).mean().item()
            after = _next_token(bot, harmless)
        # What is added at one block changes nothing before it.
        with added(bot, vector, layer), hooks.replayed(bot.blocks[:layer], unchanged[:layer]):
            induce = bot.refusal_logodds(harmless, shared=True).mean().item()
        kl = (before.exp() * (before - after)).sum(-1).mean().item()
        rows.append(dict(layer=layer, position=position, bypass=bypass, induce=induce, kl=kl))
    return rows


def _next_token(bot, prompts):
    return bot.read(prompts, shared=True)[:, 0].log_softmax(-1)


def _block_outputs(bot, prompts):
    """What every block gives while refusal is scored: a list a block, of what it gave at each call."""
    found = []
    with hooks.removed_after(hooks.recording(bot.blocks, found)):
        bot.refusal_logodds(prompts, shared=True)
    return found


def random_like(direction: Tensor, n: int, seed: int = 0) -> Tensor:
    """Random directions of the same length, the control for any claim about one direction: (n, width)."""
    drawn = torch.randn(n, len(direction), generator=torch.Generator().manual_seed(seed)).to(direction)
    return drawn / drawn.norm(dim=1, keepdim=True) * direction.norm()
