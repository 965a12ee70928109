"""What was measured on a real model, read off as tables and figures for the notebooks.

Notable:
- Rows are those of data/results/real.json, one a part and seed; `shipped` finds one.
- A *state* is what was done to the model; `summary` tells many of them, over seeds, in one table.
"""

import itertools

import torch

from . import attack, direction, real, results, tally
from .chat import Bot
from .tally import Rate

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
TOGETHER = ("nothing", "direction", "mean of all", "first component of all")  # what is no opening token alone
ONE_SENTENCE = (
    "unseen sentence",
    "unseen sentence, direction removed",
    "unseen sentence, random removed",
    "known sentence",
    "known sentence, direction removed",
)
TOPIC_STATES = ("topic mix", "topic mix, direction removed", "topic mix, random removed")
ATTACKS = (
    "as it is",
    "direction removed",
    "one opening token removed (the worst)",
    "mean of all opening tokens removed",
    "first tokens forbidden",
    "20 random directions removed",
    "20 drawn as the residuals lie removed",
    "3 differences of other classes removed",
)


# --- rows -----------------------------------------------------------------------------------------


def shipped(part: str, **settings) -> dict:
    """A row that was measured before: of seed 0, unless another is asked for."""
    wanted = dict(part=part, seed=0) | settings
    return next(row for row in results.read("real") if wanted.items() <= row.items())


def shipped_direction() -> torch.Tensor:
    """The direction of the shipped safety adapter, as it was found on seed 0: (width,)."""
    return torch.tensor(shipped("story")["found"]["vector"])


def under_attack(bot: Bot, prompt: str) -> dict[str, str]:
    """What SmolLM2 with the safety adapter replies: as it is, with its first tokens forbidden, without its direction."""
    tokens, short = attack.opener_tokens(bot), dict(max_new_tokens=real.LATE)
    replies = {"as it is": bot.ask(prompt, **short)}
    replies["first tokens forbidden"] = bot.ask(prompt, never_first=tokens, **short)
    with direction.ablated(bot, shipped_direction()):
        return replies | {"direction removed": bot.ask(prompt, **short)}


# --- tables ---------------------------------------------------------------------------------------


def summary(rows: list[dict], states=STATES) -> list[dict]:
    """A table: what share each state refuses of each exam, all seeds together, and, of several, the lowest and the
    highest. Exams that nothing was asked of have no column. The last two columns are the share of right answers, and the
    loss on ordinary text in nats per token, in the mean over seeds.
    """
    table = []
    for state in states:
        runs = [row[state] if isinstance(row[state], list) else [row[state]] for row in rows]
        line = {"what is done": state}
        for exam in ("harmful", "look-alikes", "harmless", "topic"):
            seeds = [tally.pooled(run["refused"][exam] for run in of if exam in run["refused"]) for of in runs]
            line[exam] = _told(seeds)
        line["right answers"] = _told([tally.pooled(run["right"] for run in of if "right" in run) for of in runs])
        losses = [run["plain"] for of in runs for run in of if "plain" in run]
        table.append(line | {"ordinary text": f"{sum(losses) / len(losses):.2f}" if losses else ""})
    return [{column: cell for column, cell in line.items() if any(other[column] for other in table)} for line in table]


def _told(seeds):
    if not tally.pooled(seeds).n:
        return ""
    shares = [100 * rate.share for rate in seeds]
    span = f" ({min(shares):.0f} to {max(shares):.0f})" if len(seeds) > 1 else ""
    return f"{100 * tally.pooled(seeds).share:.0f} %{span}"


def attacks(rows: list[dict]) -> list[dict]:
    """What each attack on the direction leaves refused, and the damage that it does: rows for `summary`, states `ATTACKS`."""
    return [dict(zip(ATTACKS, _states(row["attack"], row["plain"]), strict=True)) for row in rows]


def _states(report, plain):
    crossed = report["crossed"]
    alone = {name: rates for name, rates in crossed.items() if name not in TOGETHER}
    worst = min(alone, key=lambda name: alone[name]["harmful"].share)
    for name in ("nothing", "direction", worst, "mean of all"):
        yield {"refused": crossed[name], "plain": plain[name][0]}
    yield {"refused": report["forbidden"]["first"]}
    for sort in ("random", "covariance-matched", "other classes"):
        each = report["controls"][sort]["each"]
        yield [{"refused": rates, "plain": loss} for rates, loss in zip(each, plain[sort], strict=True)]


def tried(rows: list[dict]) -> dict[str, list]:
    """Group -> (damage, harmful requests still refused) of every vector that was removed, of all seeds: for plot.cloud."""
    random, openers, harder = "random", "opening tokens", "harder controls"
    rest, found = "harder controls, without the direction", "the direction"
    groups = {found: [], random: [], openers: [], harder: [], rest: []}
    for row in rows:
        report, plain = row["attack"], row["plain"]
        points = []  # (group, ordinary text, rates)
        for name, rates in report["crossed"].items():
            points.append((found if name == "direction" else openers, plain[name][0], rates))
        for sort, part in report["controls"].items():
            group = random if sort == "random" else harder
            points += [(group, loss, rates) for loss, rates in zip(plain[sort], part["each"], strict=True)]
        points += [(rest, one["plain"], one["refused"]) for part in row["rest"].values() for one in part]
        for group, loss, rates in points[1:]:  # the first is of nothing removed
            groups[group].append((loss - plain["nothing"][0], rates["harmful"]))
    return groups


def crossings(rows: list[dict]) -> list[dict]:
    """What each direction frees where the topic mix is on top: rows for `summary`, with the states of `row["crossed"]`."""
    return [
        {
            name: {"refused": rates, "plain": loss}
            for (name, rates), loss in zip(row["crossed"].items(), row["crossed, plain"], strict=True)
        }
        for row in rows
    ]


def encodings(rows: list[dict]) -> list[dict]:
    """A table: how well the difference of two kinds of prompts tells kinds apart where the direction was read, as AUCs:
    mean over seeds (lowest to highest)."""
    table = []
    for fitted, told in itertools.product(("harmful", "refused"), repeat=2):
        line = {"direction": f"{fitted} or not", "tells": f"{told} or not"}
        for place in attack.PLACES:
            found = [row["attack"]["encoded"][fitted][told][place][row["attack"]["layer"]] for row in rows]
            line[place] = f"{sum(found) / len(found):.2f} ({min(found):.2f} to {max(found):.2f})"
        table.append(line)
    return table


def verdicts(rows: list[dict]) -> list[dict]:
    """A table: every criterion of `attack.verdict`, its figure for each seed, and for how many of them it holds."""
    found = [attack.verdict(row["attack"]) for row in rows]
    return [
        {
            "criterion": each[0]["criterion"],
            **{f"seed {row['seed']}": f"{one['figure']:.2f}" for row, one in zip(rows, each, strict=True)},
            "bound": each[0]["bound"],
            "holds": f"{sum(one['holds'] for one in each)} of {len(each)}",
        }
        for each in zip(*found, strict=True)
    ]


def pooled(states: list[dict]) -> dict:
    """The same state of several seeds as one."""
    exams = states[0]["refused"]
    return {"refused": {exam: tally.pooled(state["refused"][exam] for state in states) for exam in exams}}


def side_by_side(states: dict[str, dict]) -> dict[str, Rate]:
    """{"harmful, as it is": ..., "harmful, removed": ..., "harmless, as it is": ...}: exam by exam."""
    exams = next(iter(states.values()))["refused"]
    return {f"{exam}, {name}": state["refused"][exam] for exam in exams for name, state in states.items()}
