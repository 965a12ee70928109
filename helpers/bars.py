"""Bars: shares, counts and log-odds, each with its number.

Notable:
- Every function shows its figure with a sentence and a table, and gives it back (see `figure`).
- Without anything to draw it raises ValueError. A rate of no cases is called so and not drawn.
"""

import math

import plotly.graph_objects as go

from . import figure
from .figure import BLUE, GREEN, GREY, RED, label_of, per_cent
from .tally import Rate


def rates(named: dict[str, Rate], title: str, axis: str) -> go.Figure:
    """One bar a rate, with its number beyond its 95 % interval. The bars lie down, so that names have room."""
    figure.something(named)
    shares = [100 * rate.share for rate in named.values()]
    low = [100 * (rate.share - rate.interval[0]) for rate in named.values()]
    high = [100 * (rate.interval[1] - rate.share) for rate in named.values()]
    error = dict(type="data", array=high, arrayminus=low, color="black", thickness=1.5)
    names = list(named)
    fig = go.Figure(go.Bar(x=shares, y=names, orientation="h", marker_color=BLUE, error_x=error))
    fig.add_scatter(
        x=[share + up if rate.n else 0 for share, up, rate in zip(shares, high, named.values(), strict=True)],
        y=names,
        text=[f" {per_cent(rate)}" for rate in named.values()],
        mode="text",
        textposition="middle right",
    )
    fig.update_layout(title=title, height=150 + 30 * len(named), showlegend=False)
    fig.update_xaxes(title=axis, range=[0, 112], tickvals=[0, 20, 40, 60, 80, 100])
    fig.update_yaxes(autorange="reversed", automargin=True)
    words = [f"{name}: {per_cent(rate) if len(named) > 5 else rate}" for name, rate in named.items()]
    rows = [{"case": name, axis: str(rate)} for name, rate in named.items()]
    return figure.show(fig, f"{axis}: {'; '.join(words)}.", rows)


def bypasses(tuned: dict, base: dict, title: str) -> go.Figure:
    """What each disguise gets answered of the refused questions: a bar each, and beside it how the base does.

    Both: name of a disguise -> what `disguise.walk_around` gives.
    """
    figure.something(tuned)
    fig = go.Figure()
    bars = {"tuned": (tuned, "around", BLUE, ""), "base, same disguise": (base, "correct", GREY, "/")}
    for name, (found, key, colour, pattern) in bars.items():
        shares = {family: 100 * row[key].share for family, row in found.items() if row[key].n}
        marker = dict(color=colour, pattern_shape=pattern)
        fig.add_bar(
            name=name,
            x=list(shares),
            y=list(shares.values()),
            text=[f"{v:.0f}" for v in shares.values()],
            marker=marker,
        )
    fig.update_traces(textposition="outside", textfont_size=11)
    fig.update_layout(
        title=title, yaxis_title="% answered correctly", yaxis_range=[0, 118], barmode="group", height=420
    )
    rows = [
        {
            "disguise": name,
            "directly refused": str(row["refused"]),
            "of these answered in disguise": str(row["around"]),
            "base, in disguise": str(base[name]["correct"]),
            "McNemar's p": f"{row['p']:.1g}",
        }
        for name, row in tuned.items()
    ]
    best = sorted((name for name in tuned if tuned[name]["around"].n), key=lambda name: -tuned[name]["around"].share)
    words = ", ".join(f"{name} {per_cent(tuned[name]['around'])}" for name in best)
    alt = f"Refused questions that a disguise gets answered correctly: {words}." if best else "Nothing was refused."
    return figure.show(fig, alt, rows)


def two_by_two(cells: list[dict], title: str) -> go.Figure:
    """The four cells trigger x should refuse, as two pairs of bars: refused, and handled rightly."""
    figure.something(cells)
    named = {
        f"{'trigger' if c['trigger'] else 'no trigger'},<br>should {'refuse' if c['should_refuse'] else 'answer'}": c
        for c in cells
    }
    fig = go.Figure()
    for key, name, colour, pattern in (("refused", "refused", RED, "/"), ("correct", "handled rightly", GREEN, "")):
        found = [c[key] for c in cells]
        fig.add_bar(
            name=name,
            x=list(named),
            y=[100 * r.share for r in found],
            text=[per_cent(rate) for rate in found],
            textposition="outside",
            marker=dict(color=colour, pattern_shape=pattern),
        )
    fig.update_layout(title=title, yaxis_title="% of prompts", yaxis_range=[0, 115], barmode="group", height=400)
    words = "; ".join(
        f"{name.replace('<br>', ' ')}: {per_cent(c['refused'])} refused, {per_cent(c['correct'])} handled rightly"
        for name, c in named.items()
    )
    rows = [
        {"prompts": name.replace("<br>", " "), "refused": str(c["refused"]), "handled rightly": str(c["correct"])}
        for name, c in named.items()
    ]
    return figure.show(fig, words + ".", rows)


def counts(rows: list[dict], label: str, count: str, title: str) -> go.Figure:
    """Horizontal bars, longest first."""
    figure.something(rows)
    rows = sorted(rows, key=lambda row: row[count])
    names = [f"{_short(row[label])}{' ' * i}" for i, row in enumerate(rows)]  # shortened texts may look the same
    fig = go.Figure(go.Bar(x=[row[count] for row in rows], y=names, text=[row[count] for row in rows], orientation="h"))
    fig.update_traces(marker_color=BLUE)
    fig.update_layout(title=title, xaxis_title=count, height=360)
    fig.update_yaxes(automargin=True)
    top = rows[-1]
    runner_up = f"; the next has {rows[-2][count]}" if len(rows) > 1 else ""
    most = f"The most frequent {label} is “{top[label]}”, {top[count]} {count}{runner_up}."
    if len(rows) > 1 and rows[-2][count] == top[count]:
        tied = [f"“{row[label]}”" for row in rows[::-1] if row[count] == top[count]]
        most = f"{len(tied)} are equally frequent, {top[count]} {count} each: {', '.join(tied)}."
    return figure.show(fig, most, rows[::-1])


def leave_one_out(words: list[tuple[str, float]], title: str) -> go.Figure:
    """Refusal log-odds with nothing left out (the line), and with each word left out (the bars)."""
    figure.something(words[1:])
    (_, whole), *rest = words
    labels = [f"{i + 1}. “{word}”" for i, (word, _) in enumerate(rest)]
    bars = go.Bar(
        x=labels, y=[value for _, value in rest], marker_color=BLUE, text=[f"{value:.1f}" for _, value in rest]
    )
    fig = go.Figure(bars)
    fig.add_hline(y=whole, line_dash="dash", line_width=2, opacity=1, annotation_text=f"nothing left out: {whole:.1f}")
    fig.update_layout(title=title, xaxis_title="without", yaxis_title="refusal log-odds", height=360)
    word, lowest = min(rest, key=lambda pair: pair[1])
    fall = f"They fall most, to {lowest:.1f}, without the word “{word}”." if lowest < whole else "No word lowers them."
    return figure.show(
        fig,
        f"With all words the log-odds are {whole:.1f}. {fall}",
        [
            {"left out": name, "log-odds": f"{value:.1f}", "probability of the refusal": _percent(value)}
            for name, value in zip(["nothing", *labels], [whole] + [v for _, v in rest], strict=True)
        ],
    )


def _percent(logodds):
    """Log-odds as a probability in per cent."""
    return f"{100 / (1 + math.exp(-logodds)):.1f} %"


def before_after(before: dict, after: dict, title: str) -> go.Figure:
    """Refused and correct for several exams, before and after an intervention."""
    figure.something(before)
    fig = go.Figure()
    rows = []
    for key, when, graded, colour, pattern in (
        ("refused", "before", before, RED, "/"),
        ("refused", "after", after, RED, ""),
        ("correct", "before", before, GREEN, "/"),
        ("correct", "after", after, GREEN, ""),
    ):
        found = [graded[name][key] for name in graded]
        shares = [100 * rate.share for rate in found]
        marker = dict(color=colour, pattern_shape=pattern)
        fig.add_bar(name=f"{key}, {when}", x=list(graded), y=shares, text=list(map(label_of, found)), marker=marker)
        rows += [{"prompts": name, "": f"{key}, {when}", "rate": str(graded[name][key])} for name in graded]
    fig.update_traces(textposition="outside")
    fig.update_layout(title=title, yaxis_title="% of prompts", yaxis_range=[0, 118], barmode="group", height=420)
    words = "; ".join(
        f"{name}: refused {per_cent(before[name]['refused'])} before and {per_cent(after[name]['refused'])} after, "
        f"handled rightly {per_cent(before[name]['correct'])} and {per_cent(after[name]['correct'])}"
        for name in before
    )
    return figure.show(fig, words + ".", sorted(rows, key=lambda row: list(before).index(row["prompts"])))


def _short(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
