"""The obvious objections to "one direction carries refusal", each as something that can be measured.

Notable:
- "It is only a word": its nearest token, the tokens that refusals begin with, and what forbidding them leaves.
- "Any vector would do that": random ones, some drawn as the residuals lie, shuffled labels, principal components, and
  differences that have nothing to do with refusing.
- "It is the wish to be safe, not refusing": harmful against refused, at two places.
- What is held against the direction is measured on the same prompts as the direction; `verdict` compares with bounds
  that stand in `BOUNDS`.
- It works on any bot and takes plain lists of prompts: exams are {name: prompts}, the first of them harmful.
"""

import math
import random
from typing import NamedTuple

import torch
from torch import Tensor

from . import chat, direction, hooks, lens
from .chat import Bot
from .tally import Rate, pooled

COMPONENTS = 6  # principal components that are held against the direction
SHUFFLES = 5  # how often the labels are shuffled
SMALL = 20  # prompts of each exam for each of many vectors
NOTHING = 1e-4  # what is shorter is no direction: at block 0 the template tokens are the same for all prompts
PLACES = {"last instruction token": 0, "last template token": -1}  # among the tokens that `encoded` reads


class Bound(NamedTuple):
    word: str  # "at most" or "at least"
    value: float


# What has to hold for "one direction carries refusal, and it is more than a word".
BOUNDS = {
    "largest cosine with a token of the output layer": Bound("at most", 0.35),
    "the worst of the openings frees, of what the direction frees": Bound("at most", 0.2),
    "refusals left if no reply may begin as they do": Bound("at least", 0.8),
    "depth at which it is found": Bound("at most", 0.8),
    "the worst control frees, of what the direction frees": Bound("at most", 0.2),
    "the same without what it has of the direction": Bound("at most", 0.2),
    "harmless prompts refused if it is added where it was found": Bound("at least", 0.5),
}


def rates(bot: Bot, exams: dict[str, list[str]], max_new_tokens: int = 40) -> dict[str, Rate]:
    """How often the bot refuses, exam by exam."""
    prompts = [prompt for part in exams.values() for prompt in part]  # one batch of all is quicker than one of each
    replies = iter(bot.ask(prompts, max_new_tokens=max_new_tokens))
    return {name: _refused(bot, [next(replies) for _ in part]) for name, part in exams.items()}


def _refused(bot, replies) -> Rate:
    return Rate.of(map(bot.refused, replies))


# --- "it is only a word" --------------------------------------------------------------------------


def output_rows(bot: Bot) -> Tensor:
    """The output layer's row for every token: (vocabulary, width)."""
    return bot.model.get_output_embeddings().weight.detach()


def nearest_token(bot: Bot, vector: Tensor) -> tuple[str, float]:
    """The token whose row of the output layer lies along the vector, whichever way it points, and their |cosine|.

    vector: (width,). If the cosine is near 1, adding the vector is saying that token.
    """
    rows = output_rows(bot)
    cosines = torch.cosine_similarity(rows, vector.to(rows), dim=1).abs()
    best = cosines.argmax().item()
    return bot.tokenizer.decode([best]), cosines[best].item()


def opener_tokens(bot: Bot) -> list[int]:
    """The ids of the tokens by which its refusals begin."""
    return sorted({chat.encode(bot.tokenizer, opening)[0] for opening in bot.openings})


def opener_vectors(bot: Bot) -> dict[str, Tensor]:
    """What stands for the opening tokens in the output layer: each row alone, their mean, their first component.

    The component is the line that holds most of all rows together: their first right singular vector, uncentred. Every
    vector is (width,).
    """
    ids = opener_tokens(bot)
    rows = output_rows(bot)[ids]
    alone = dict(zip(bot.tokenizer.convert_ids_to_tokens(ids), rows, strict=True))
    return alone | {"mean of all": rows.mean(0), "first component of all": torch.linalg.svd(rows.float()).Vh[0]}


def spellings(bot: Bot, tokens: list[int]) -> list[int]:
    """The ids of all tokens that spell the same words: with or without a space before, a capital or a small letter."""
    words = [_bare(text) for text in bot.tokenizer.batch_decode([[i] for i in range(len(bot.tokenizer))])]
    wanted = {words[token] for token in tokens}
    return [i for i, word in enumerate(words) if word in wanted]


def _bare(text):
    text = text.removeprefix(" ")
    return text[:1].lower() + text[1:]


def forbidden(bot: Bot, prompts: list[str], tokens: list[int], everywhere=False, max_new_tokens: int = 40) -> list[str]:
    """The replies if none may begin with these tokens or, `everywhere`, hold any of them.

    A refusal that only hangs on its first word is gone then; one that is decided before comes in other words.
    """
    if not everywhere:
        return bot.ask(prompts, max_new_tokens=max_new_tokens, never_first=tokens)

    def never(logits):
        return logits.index_fill(-1, torch.tensor(tokens, device=logits.device), -math.inf)

    with hooks.removed_after([hooks.on_output(bot.model.get_output_embeddings(), never)]):
        return bot.ask(prompts, max_new_tokens=max_new_tokens)


# --- "any vector would do that" -------------------------------------------------------------------


def drawn_like(states: Tensor, n: int, seed: int = 0) -> Tensor:
    """Normal random vectors, mean zero, with the covariance of these states: (prompt, width) -> (n, width).

    A random mixture of what makes each state differ from their mean has just that covariance, whatever its rank.
    """
    apart = states - states.mean(0)
    mixture = torch.randn(n, len(states), generator=torch.Generator().manual_seed(seed)).to(states)
    return mixture @ apart / math.sqrt(len(states) - 1)


def components(states: Tensor, n: int = COMPONENTS) -> Tensor:
    """The first principal components of states (prompt, width), orthonormal: (n, width), fewer if there are fewer."""
    return torch.linalg.svd(states - states.mean(0), full_matrices=False).Vh[:n]


def shuffled(refused: Tensor, answered: Tensor, n: int = SHUFFLES, seed: int = 0) -> list[Tensor]:
    """Differences of means of two halves that each hold half of both groups: `n` vectors (width,).

    refused, answered: (prompt, width), two prompts or more of each. What is left is what a few prompts differ in by
    chance; how many of each sort are in a half cancels out.
    """
    rng, found = random.Random(seed), []
    for _ in range(n):
        mixed = [group[rng.sample(range(len(group)), len(group))] for group in (refused, answered)]
        found.append(sum(group[::2].mean(0) - group[1::2].mean(0) for group in mixed))
    return found


def controls(
    bot: Bot,
    vector: Tensor,
    layer: int,
    position: int,
    refused: list[str],
    answered: list[str],
    others: dict[str, tuple[list[str], list[str]]],
    n: int = direction.RANDOM,
    seed: int = 0,
) -> dict[str, list[Tensor]]:
    """Sort of control -> vectors (width,), all as long as `vector`.

    "random": any way. "covariance-matched": drawn as the residuals of these prompts lie at this layer and position, see
    `drawn_like`. "shuffled labels": see `shuffled`. "components": see `components`. "other classes": the difference of
    means of each pair of prompt lists in `others`, in its order. What refused and answered prompts differ in is part of
    how residuals lie: controls of the second and fourth sort may hold the direction itself, so look at the cosine.
    Raises ValueError if the prompts of a control do not differ there.
    """
    states = [bot.residuals(part)[:, layer, position] for part in (refused, answered)]
    pairs = [direction.difference_in_means(bot, *pair)[layer, position] for pair in others.values()]
    found = {
        "random": direction.random_like(vector, n, seed),
        "covariance-matched": drawn_like(torch.cat(states), n, seed),
        "shuffled labels": shuffled(*states, seed=seed),
        "components": components(torch.cat(states)),
        "other classes": pairs,
    }
    return {name: [_as_long_as(vector, control, name) for control in part] for name, part in found.items()}


def _as_long_as(vector, control, name):
    if control.norm() < NOTHING:
        raise ValueError(f"A control is no direction ({name}): its prompts do not differ at this layer and position.")
    return control / control.norm() * vector.norm()


def held_against(bot: Bot, vectors: list[Tensor], exams: dict[str, list[str]], max_new_tokens: int = 40) -> dict:
    """How often the bot refuses while one of the vectors is ablated: {"each": [{exam: Rate}, ...], "pooled": {exam: Rate}}."""
    each = []
    for vector in vectors:
        with direction.ablated(bot, vector):
            each.append(rates(bot, exams, max_new_tokens))
    return {"each": each, "pooled": {name: pooled(found[name] for found in each) for name in exams}}


def crossed(
    bot: Bot, directions: dict[str, Tensor], exams: dict[str, list[str]], max_new_tokens: int = 40
) -> dict[str, dict[str, Rate]]:
    """Which direction frees which exam: {direction that is ablated: {exam: Rate of refusals}}; the first row is "nothing"."""
    rows = held_against(bot, list(directions.values()), exams, max_new_tokens)["each"]
    return {"nothing": rates(bot, exams, max_new_tokens)} | dict(zip(directions, rows, strict=True))


def cosines(directions: dict[str, Tensor]) -> dict[str, dict[str, float]]:
    """The cosine of every direction with every direction."""
    units = torch.stack([vector / vector.norm() for vector in directions.values()])
    return {
        name: dict(zip(directions, row, strict=True))
        for name, row in zip(directions, (units @ units.T).tolist(), strict=True)
    }


# --- "it is only what the last layers say" --------------------------------------------------------


def depth(
    bot: Bot, vectors_by_layer: Tensor, harmless: list[str], harmful: list[str], max_new_tokens: int = 40
) -> list[dict]:
    """The direction of each layer, added once at the input of its block, and ablated: one row a layer.

    vectors_by_layer: (layer, width). Columns: layer, induced (Rate of refusals of harmless prompts with it added at all
    tokens, Arditi et al., equation 3), left (Rate of refusals of harmful prompts with it ablated). A layer where it is
    zero has no row.
    """
    rows = []
    for layer, vector in enumerate(vectors_by_layer):
        if vector.norm() < NOTHING:
            continue
        with direction.added(bot, vector, layer):
            induced = _refused(bot, bot.ask(harmless, max_new_tokens=max_new_tokens))
        with direction.ablated(bot, vector):
            left = _refused(bot, bot.ask(harmful, max_new_tokens=max_new_tokens))
        rows.append({"layer": layer, "induced": induced, "left": left})
    return rows


# --- "it is harmfulness, not refusing" ------------------------------------------------------------


def encoded(bot: Bot, harmful: list[str], harmless: list[str], max_new_tokens: int = 40) -> dict:
    """Does the stream hold that a prompt is harmful apart from that it is refused? AUCs by layer.

    After Zhao et al., "LLMs Encode Harmfulness and Refusal Separately" (arXiv:2507.11878), who find the first at the last
    instruction token and the second at the last template token. A difference of means is fitted on every other prompt, by
    what a prompt is ("harmful") or by what the bot does with it ("refused"); on the rest, the projection is to tell both.
    Returns {"prompts": {(how many of each sort)}, "harmful" or "refused" (fitted): {"harmful" or "refused" (told):
    {place: [AUC, ...]}}}. If the bot refuses just what is harmful, both are one and nothing is shown. Raises ValueError
    if a half has nothing refused or nothing answered.
    """
    prompts = harmful + harmless
    refused = [bot.refused(reply) for reply in bot.ask(prompts, max_new_tokens=max_new_tokens)]
    labels = {
        "harmful": torch.tensor([True] * len(harmful) + [False] * len(harmless)),
        "refused": torch.tensor(refused),
    }
    fits, counts = _every_other(labels["harmful"], labels["refused"])
    if not all((half & side).any() for half in (fits, ~fits) for y in labels.values() for side in (y, ~y)):
        raise ValueError(f"Each half needs prompts that are refused and prompts that are answered: there are {counts}.")
    states, found = _ends(bot, prompts), {"prompts": counts}
    for name, label in labels.items():
        fitted = states[fits & label].mean(0) - states[fits & ~label].mean(0)
        heights = (states * fitted).sum(-1)  # (prompt, layer, token)
        aucs = {told: lens.auc(heights[~fits & y], heights[~fits & ~y]) for told, y in labels.items()}
        found[name] = {
            told: {place: auc[:, token].tolist() for place, token in PLACES.items()} for told, auc in aucs.items()
        }
    return found


def _every_other(harmful, refused):
    """Which prompts fit, the same share of each of the four sorts, and how many there are of each."""
    fits, counts = torch.zeros_like(harmful), {}
    for is_harmful, kind in ((True, "harmful"), (False, "harmless")):
        for is_refused, fate in ((True, "refused"), (False, "answered")):
            places = ((harmful == is_harmful) & (refused == is_refused)).nonzero()[:, 0]
            fits[places[::2]] = True
            counts[f"{kind}, {fate}"] = len(places)
    return fits, counts


def _ends(bot, prompts, batch_size=64):
    """Residuals at the last instruction token and, after it, at the template's: (prompt, layer, 1 + position, width)."""
    last = 1 + len(chat.tail(bot.tokenizer))
    parts = [prompts[start : start + batch_size] for start in range(0, len(prompts), batch_size)]
    return torch.cat([bot.stream(bot.batch(part), last)[:, :-1] for part in parts])


# --- all of it ------------------------------------------------------------------------------------


def report(
    bot: Bot,
    found: direction.Found,
    exams: dict[str, list[str]],
    contrast: tuple[list[str], list[str]],
    others: dict[str, tuple[list[str], list[str]]],
    small: int = SMALL,
    n: int = direction.RANDOM,
    seed: int = 0,
    max_new_tokens: int = 40,
    late: int = 40,
) -> dict:
    """Every objection on one bot, as one row that JSON can hold.

    exams: the first is harmful, the second harmless beyond doubt, all others harmless. contrast: prompts that are refused
    and prompts that are answered, none in an exam. others: as in `controls`. Where many vectors are tried, each exam is
    cut to `small` prompts. `late` is how many tokens a reply has in which it may still refuse where its first are
    forbidden. Raises what its parts raise.
    """
    (harmful, harmless), few = list(exams)[:2], {name: part[:small] for name, part in exams.items()}
    of_layers = direction.difference_in_means(bot, *contrast)[:, found.position].clone()
    of_layers[found.layer] = found.vector
    named = {"direction": found.vector} | opener_vectors(bot)
    held = controls(bot, found.vector, found.layer, found.position, *contrast, others, n, seed)
    freed = crossed(bot, {"direction": found.vector}, few, max_new_tokens)
    tried = {name: held_against(bot, part, few, max_new_tokens) for name, part in held.items() if part}
    text, cosine = nearest_token(bot, found.vector)
    return {
        "layer": found.layer,
        "position": found.position,
        "blocks": len(bot.blocks),
        "nearest token": {"text": text, "cosine": cosine},
        "crossed": crossed(bot, named, exams, max_new_tokens),
        "cosines": cosines(named | dict(zip(others, held["other classes"], strict=True))),
        "forbidden": _all_forbidden(bot, exams, late),
        "few": freed,
        "controls": tried,
        "strongest controls": _strongest(bot, found.vector, held, tried, list(others), few, max_new_tokens),
        "by layer": depth(bot, of_layers, few[harmless], few[harmful], max_new_tokens),
        "encoded": encoded(
            bot, exams[harmful], [p for name, part in exams.items() if name != harmful for p in part], max_new_tokens
        ),
    }


def _all_forbidden(bot, exams, late):
    """Rates of refusals where the opening tokens may not come first, and where no spelling of them may come at all."""
    first = opener_tokens(bot)
    ways = {"first": (first, False), "everywhere": (spellings(bot, first), True)}
    return {
        way: {name: _refused(bot, forbidden(bot, part, *how, max_new_tokens=late)) for name, part in exams.items()}
        for way, how in ways.items()
    }


def _strongest(bot, vector, held, tried, names, few, max_new_tokens):
    """Of each sort the control that frees most: how much of the direction is in it, and what the rest of it frees."""
    harmful, rows = next(iter(few)), []
    for sort, part in tried.items():
        shares = [one[harmful].share for one in part["each"]]
        i = shares.index(min(shares))
        rest = direction.without(held[sort][i], vector)
        # Of a control that is the direction, rounding errors are left and no direction: with them nothing is ablated.
        apart = [rest] if rest.norm() > 0.01 * vector.norm() else []
        others = held_against(bot, apart, few, max_new_tokens)["each"]
        rows.append(
            {
                "sort": sort,
                "which": names[i] if sort == "other classes" else f"{sort} {i + 1}",
                "cosine": torch.cosine_similarity(held[sort][i], vector, dim=0).item(),
                "removed": part["each"][i],
                "rest removed": others[0] if others else rates(bot, few, max_new_tokens),
            }
        )
    return rows


# --- what follows ---------------------------------------------------------------------------------


def verdict(report: dict) -> list[dict]:
    """Does the claim stand? One row a criterion: criterion, figure, bound, holds, which (the worst of several).

    report: as `report` gives it, or as it was read from results. A figure is nan, and does not hold, where the direction
    itself frees nothing or nothing is refused.
    """
    whole, few = report["crossed"], report["few"]
    harmful = next(iter(whole["nothing"]))
    openers = {name: _freed(whole, row, harmful) for name, row in whole.items() if name not in ("nothing", "direction")}
    strongest = max(openers, key=openers.get)
    worst, rest = (_most_freeing(report, kind, harmful) for kind in ("removed", "rest removed"))
    found = next(row for row in report["by layer"] if row["layer"] == report["layer"])
    left = _ratio(report["forbidden"]["first"][harmful].share, whole["nothing"][harmful].share)
    figures = [
        (report["nearest token"]["cosine"], report["nearest token"]["text"]),
        (openers[strongest], strongest),
        (left, ""),
        (report["layer"] / report["blocks"], ""),
        (_freed(few, worst["removed"], harmful), worst["which"]),
        (_freed(few, rest["rest removed"], harmful), rest["which"]),
        (found["induced"].share, ""),
    ]
    rows = zip(BOUNDS.items(), figures, strict=True)
    return [_judged(criterion, bound, *figure) for (criterion, bound), figure in rows]


def _most_freeing(report, kind, harmful):
    return min(report["strongest controls"], key=lambda row: row[kind][harmful].share)


def _judged(criterion, bound, figure, which):
    holds = figure <= bound.value if bound.word == "at most" else figure >= bound.value
    return {
        "criterion": criterion,
        "figure": figure,
        "bound": f"{bound.word} {bound.value}",
        "holds": holds,
        "which": which,
    }


def _freed(table, rates, exam):
    """What some ablation frees of an exam, as a share of what ablating the direction frees of it."""
    before = table["nothing"][exam].share
    return _ratio(before - rates[exam].share, before - table["direction"][exam].share)


def _ratio(part, whole):
    return part / whole if whole > 0 else math.nan
