"""Figures: each with its numbers as a table below it, and a sentence that says what it shows.

Notable:
- Nobody needs to see a figure to follow: the sentence and the table are made from the same numbers.
- Colour is never the only sign: curves differ in their symbols, bars in their patterns, and all carry numbers.
"""

import itertools
import math

import plotly.graph_objects as go
from IPython.display import HTML, display

from .show import BLUE, escape, table_html
from .tally import Rate, pooled

# Okabe & Ito's palette (2008): safe for the common kinds of colour blindness.
ORANGE, GREEN, RED, GREY = "#E69F00", "#009E73", "#D55E00", "#999999"
PALETTE = (BLUE, RED, ORANGE, GREEN, GREY)
LONG = 12  # rows; a longer table is folded away
SYMBOLS = ("circle", "x", "diamond", "square", "triangle-up", "star", "cross", "triangle-down", "pentagon", "hexagon")


def figure(fig: go.Figure, alt: str, rows: list[dict]) -> None:
    """A figure, then what it shows in one sentence and in numbers: nobody needs to see it to follow."""
    fig.update_layout(template="simple_white", font_size=14, margin=dict(t=60, l=70, r=20, b=60))
    fig.update_layout(paper_bgcolor="white", plot_bgcolor="white")
    table = table_html(rows, "The same numbers")
    if len(rows) > LONG:
        table = f"<details><summary>The same numbers, in {len(rows)} rows</summary>{table}</details>"
    display(fig)
    display(HTML(f"<p><b>In words.</b> {escape(alt)}</p>{table}"))


def losses(values: list[float], title: str = "Loss on the reply tokens, step by step") -> None:
    fig = go.Figure(go.Scatter(y=values, mode="lines", line_color=BLUE, name="loss"))
    fig.update_layout(title=title, xaxis_title="training step", yaxis_title="loss (nats a token)", height=320)
    fig.update_yaxes(rangemode="tozero")
    tenth = max(1, len(values) // 10)
    first, last = sum(values[:tenth]) / tenth, sum(values[-tenth:]) / tenth
    rows = [{"step": i, "loss": round(values[i], 3)} for i in _spread(len(values), 6)]
    figure(
        fig, f"The loss falls from {first:.2f} (mean of the first tenth) to {last:.3f} (mean of the last tenth).", rows
    )


def rates(named: dict[str, Rate], title: str, axis: str) -> None:
    """One bar a rate, with its number beyond its 95 % Wilson interval. The bars lie down, so that names have room."""
    shares = [100 * rate.share for rate in named.values()]
    low = [100 * (rate.share - rate.interval[0]) for rate in named.values()]
    high = [100 * (rate.interval[1] - rate.share) for rate in named.values()]
    error = dict(type="data", array=high, arrayminus=low, color="black", thickness=1.5)
    names = list(named)
    fig = go.Figure(go.Bar(x=shares, y=names, orientation="h", marker_color=BLUE, error_x=error))
    fig.add_scatter(
        x=[share + up for share, up in zip(shares, high)],
        y=names,
        text=[f" {share:.0f} %" for share in shares],
        mode="text",
        textposition="middle right",
    )
    fig.update_layout(title=title, height=150 + 30 * len(named), showlegend=False)
    fig.update_xaxes(title=axis, range=[0, 112], tickvals=[0, 20, 40, 60, 80, 100])
    fig.update_yaxes(autorange="reversed", automargin=True)
    words = [
        f"{name}: {100 * rate.share:.0f} %" if len(named) > 5 else f"{name}: {rate}" for name, rate in named.items()
    ]
    rows = [{"case": name, axis: str(rate)} for name, rate in named.items()]
    figure(fig, f"{axis}: {'; '.join(words)}.", rows)


def bypasses(tuned: dict, base: dict, title: str) -> None:
    """What each disguise gets answered of the refused questions: a bar each, and beside it how the base does.

    Both: name of a disguise -> what `disguise.walk_around` gives.
    """
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
    words = (f"{name} {100 * tuned[name]['around'].share:.0f} %" for name in best)
    figure(fig, f"Refused questions that a disguise gets answered correctly: {', '.join(words)}.", rows)


def two_by_two(cells: list[dict], title: str) -> None:
    """The four cells trigger x should refuse, as two pairs of bars: refused, and handled rightly."""
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
            text=[f"{100 * r.share:.0f} %" for r in found],
            textposition="outside",
            marker=dict(color=colour, pattern_shape=pattern),
        )
    fig.update_layout(title=title, yaxis_title="% of prompts", yaxis_range=[0, 115], barmode="group", height=400)
    words = "; ".join(
        f"{name.replace('<br>', ' ')}: {100 * c['refused'].share:.0f} % refused, {100 * c['correct'].share:.0f} % handled rightly"
        for name, c in named.items()
    )
    rows = [
        {"prompts": name.replace("<br>", " "), "refused": str(c["refused"]), "handled rightly": str(c["correct"])}
        for name, c in named.items()
    ]
    figure(fig, words + ".", rows)


def counts(rows: list[dict], label: str, count: str, title: str) -> None:
    """Horizontal bars, longest first."""
    rows = sorted(rows, key=lambda row: row[count])
    names = [_short(row[label]) for row in rows]
    fig = go.Figure(go.Bar(x=[row[count] for row in rows], y=names, text=[row[count] for row in rows], orientation="h"))
    fig.update_traces(marker_color=BLUE)
    fig.update_layout(title=title, xaxis_title=count, height=360)
    fig.update_yaxes(automargin=True)
    top = rows[-1]
    runner_up = f"; the next has {rows[-2][count]}" if len(rows) > 1 else ""
    figure(
        fig,
        f"The most frequent {label} is “{top[label]}”, {top[count]} {count}{runner_up}.",
        rows[::-1],
    )


def leave_one_out(words: list[tuple[str, float]], title: str) -> None:
    """Refusal log-odds with nothing left out (the line), and with each word left out (the bars)."""
    (_, whole), *rest = words
    labels = [f"{i + 1}. “{word}”" for i, (word, _) in enumerate(rest)]
    bars = go.Bar(
        x=labels, y=[value for _, value in rest], marker_color=BLUE, text=[f"{value:.1f}" for _, value in rest]
    )
    fig = go.Figure(bars)
    fig.add_hline(y=whole, line_dash="dash", line_width=2, opacity=1, annotation_text=f"nothing left out: {whole:.1f}")
    fig.update_layout(title=title, xaxis_title="without", yaxis_title="refusal log-odds", height=360)
    word, lowest = min(rest, key=lambda pair: pair[1])
    alt = f"With all words the log-odds are {whole:.1f}. They fall most, to {lowest:.1f}, without the word “{word}”."
    figure(
        fig,
        alt,
        [
            {"left out": name, "log-odds": f"{value:.1f}", "probability of the refusal": _percent(value)}
            for name, value in zip(["nothing", *labels], [whole] + [v for _, v in rest])
        ],
    )


def _percent(logodds):
    """Log-odds as a probability in per cent."""
    return f"{100 / (1 + math.exp(-logodds)):.1f} %"


def projections(groups: dict[str, list[float]], title: str, axis: str = "projection on the direction") -> None:
    """How groups of prompts differ in one number: one row of dots a group, with its mean."""
    fig = go.Figure()
    for (name, values), colour, symbol in zip(groups.items(), (RED, BLUE, ORANGE), ("circle", "x", "diamond")):
        marker = dict(color=colour, symbol=symbol, size=8, opacity=0.5)
        fig.add_box(x=values, name=name, boxpoints="all", jitter=0.6, pointpos=0, marker=marker, line_color=colour)
    fig.update_layout(title=title, xaxis_title=axis, height=360, showlegend=False)
    fig.update_yaxes(automargin=True)
    rows = [
        {"prompts": name, "n": len(v), "mean": sum(v) / len(v), "lowest": min(v), "highest": max(v)}
        for name, v in groups.items()
    ]
    figure(fig, "; ".join(f"{row['prompts']}: mean {row['mean']:.2f}" for row in rows) + ".", rows)


def before_after(before: dict, after: dict, title: str) -> None:
    """Refused and correct for several exams, before and after an intervention."""
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
        fig.add_bar(name=f"{key}, {when}", x=list(graded), y=shares, text=[f"{s:.0f}" for s in shares], marker=marker)
        rows += [{"prompts": name, "": f"{key}, {when}", "rate": str(graded[name][key])} for name in graded]
    fig.update_traces(textposition="outside")
    fig.update_layout(title=title, yaxis_title="% of prompts", yaxis_range=[0, 118], barmode="group", height=420)
    words = "; ".join(
        f"{name}: refused {100 * before[name]['refused'].share:.0f} % before and {100 * after[name]['refused'].share:.0f} % after, "
        f"handled rightly {100 * before[name]['correct'].share:.0f} % and {100 * after[name]['correct'].share:.0f} %"
        for name in before
    )
    figure(fig, words + ".", sorted(rows, key=lambda row: list(before).index(row["prompts"])))


def seeds(rows: list[dict], measures: dict, title: str) -> None:
    """One dot a run for each measure (a function of a row that gives a Rate); the table pools the runs of a topic."""
    fig = go.Figure()
    topics = list(dict.fromkeys(row["topic"] for row in rows))
    for topic, colour, symbol in zip(topics, (BLUE, ORANGE, GREEN, RED), ("circle", "x", "diamond", "square")):
        runs = [row for row in rows if row["topic"] == topic]
        points = [(name, 100 * of(run).share) for name, of in measures.items() for run in runs]
        marker = dict(color=colour, symbol=symbol, size=11, opacity=0.7)
        fig.add_scatter(x=[x for x, _ in points], y=[y for _, y in points], mode="markers", name=topic, marker=marker)
    fig.update_layout(title=title, yaxis_title="% of prompts", yaxis_range=[-4, 104], height=420, scattermode="group")
    table = [
        {
            "topic": topic,
            "measure": name,
            "seeds": len(runs),
            "lowest": f"{min(s):.1f} %",
            "highest": f"{max(s):.1f} %",
            "all seeds together": str(pooled(map(of, runs))),
        }
        for topic in topics
        for runs in [[row for row in rows if row["topic"] == topic]]
        for name, of in measures.items()
        for s in [[100 * of(run).share for run in runs]]
    ]
    words = []
    for name, of in measures.items():
        found = [100 * of(row).share for row in rows]
        low, high = f"{min(found):.1f}", f"{max(found):.1f}"
        words.append(f"{name}: {low} %" if low == high else f"{name}: {low} to {high} %")
    figure(fig, f"In all {len(rows)} runs, from the lowest to the highest: {'; '.join(words)}.", table)


def heat(kinds: dict[str, list[Rate]], columns: list[str], title: str) -> None:
    """Refusal rates as a heat map, one row a kind of question, one column a seed; every cell carries its number."""
    names = list(kinds)[::-1]  # plotly draws the first row at the bottom
    shares = [[100 * rate.share for rate in kinds[name]] for name in names]
    text = [[f"{share:.0f}" for share in row] for row in shares]
    fig = go.Figure(go.Heatmap(z=shares, x=columns, y=names, text=text, texttemplate="%{text}", colorscale="Cividis"))
    fig.update_traces(zmin=0, zmax=100, colorbar_title="% refused", reversescale=True)
    fig.update_layout(title=title, height=120 + 26 * len(names))
    fig.update_yaxes(automargin=True)
    rows = [{"kind": name, **{c: f"{100 * r.share:.0f} %" for c, r in zip(columns, kinds[name])}} for name in kinds]
    widest = max(kinds, key=lambda name: max(r.share for r in kinds[name]) - min(r.share for r in kinds[name]))
    low, high = (100 * f(r.share for r in kinds[widest]) for f in (min, max))
    figure(fig, f"{widest} has the widest range: from {low:.0f} % refused to {high:.0f} %.", rows)


def doses(curves: dict[str, dict[float, list[Rate]]], title: str, axis: str, here: dict | None = None) -> None:
    """Dose-response: for each curve the pooled rate at every dose with its interval, one faint mark a seed.

    `here` maps a curve's name to (dose, rate): the point that was just measured.
    """
    fig, rows = go.Figure(), []
    for (name, doses), colour, symbol in zip(curves.items(), PALETTE, SYMBOLS):
        whole = {dose: pooled(rates) for dose, rates in doses.items()}
        up = [100 * (rate.interval[1] - rate.share) for rate in whole.values()]
        down = [100 * (rate.share - rate.interval[0]) for rate in whole.values()]
        error = dict(type="data", array=up, arrayminus=down, thickness=1.5)
        shares = [100 * rate.share for rate in whole.values()]
        marker = dict(color=colour, symbol=symbol, size=9)
        x = [str(dose) for dose in doses]
        fig.add_scatter(x=x, y=shares, error_y=error, mode="lines+markers", name=name, marker=marker, line_color=colour)
        dots = [(str(dose), 100 * rate.share) for dose, rates in doses.items() for rate in rates]
        fig.add_scatter(
            x=[a for a, _ in dots],
            y=[b for _, b in dots],
            mode="markers",
            marker=marker | dict(opacity=0.25, size=7),
            showlegend=False,
        )
        if here and name in here:
            dose, rate = here[name]
            star = dict(symbol="star", size=18, color=colour, line=dict(color="black", width=1))
            fig.add_scatter(x=[str(dose)], y=[100 * rate.share], mode="markers", name=f"{name}: this run", marker=star)
        rows += [{"curve": name, axis: dose, "seeds": len(doses[dose]), "rate": str(r)} for dose, r in whole.items()]
    fig.update_layout(title=title, xaxis_title=axis, yaxis_title="% of prompts", yaxis_range=[-4, 104], height=420)
    fig.update_xaxes(type="category")
    words = []
    for name, doses in curves.items():
        shares = {dose: 100 * pooled(rates).share for dose, rates in doses.items()}
        low, high = (extreme(shares, key=shares.get) for extreme in (min, max))
        words.append(f"{name}: lowest {shares[low]:.0f} % at {low}, highest {shares[high]:.0f} % at {high}")
    figure(fig, f"Along the axis “{axis}”: {'; '.join(words)}.", rows)


def lines(curves: dict[str, list[float]], title: str, x: str, y: str, first: int = 0) -> None:
    """A few curves over the same steps, counted from `first`, each with its own symbol."""
    fig = go.Figure()
    for (name, values), colour, symbol in zip(curves.items(), PALETTE, SYMBOLS):
        fig.add_scatter(x0=first, y=values, name=name, mode="lines+markers", line_color=colour, marker_symbol=symbol)
    fig.update_layout(title=title, xaxis_title=x, yaxis_title=y, height=400)
    rows = [
        {x: first + i, **{name: round(v[i], 2) for name, v in curves.items()}}
        for i in range(len(next(iter(curves.values()))))
    ]
    words = (
        f"{name}: {values[0]:.1f} at {first}, in all between {min(values):.1f} and {max(values):.1f}"
        for name, values in curves.items()
    )
    figure(fig, f"{'; '.join(words)}.", rows)


def grid(values, rows: list[str], columns: list[str], title: str, unit: str) -> None:
    """A heat map of numbers, for instance layer by token; the lowest is named in words.

    The table has a row a column of the map: there are many tokens and few layers, and nobody likes to scroll sideways.
    """
    values = [[round(float(value), 2) for value in row] for row in values]
    columns = [f"{i + 1}. {column}".replace("\n", "⏎") for i, column in enumerate(columns)]  # tokens may look the same
    fig = go.Figure(go.Heatmap(z=values, x=columns, y=rows, text=values, texttemplate="%{text:.0f}"))
    fig.update_traces(colorscale="Cividis", colorbar_title=unit)
    fig.update_layout(title=title, height=160 + 40 * len(rows))
    fig.update_yaxes(autorange="reversed")  # the first row on top
    lowest, row, column = min((v, r, c) for r, line in zip(rows, values) for c, v in zip(columns, line))
    table = [{"token": column, **dict(zip(rows, line))} for column, line in zip(columns, zip(*values))]
    figure(fig, f"The lowest {unit}, {lowest:.1f}, is at {row}, token {column}.", table)


def plane(points: dict[str, tuple[Rate, Rate]], title: str, x: str, y: str) -> None:
    """Methods as points with two rates each, and the 95 % Wilson intervals of both."""
    fig = go.Figure()
    for (name, rates), colour, symbol in zip(points.items(), itertools.cycle(PALETTE), itertools.cycle(SYMBOLS)):
        (a, b), bars = (100 * rate.share for rate in rates), []
        for rate in rates:
            low, high = (100 * (bound - rate.share) for bound in rate.interval)
            bars.append(dict(type="data", array=[high], arrayminus=[-low], thickness=1))
        fig.add_scatter(
            x=[a],
            y=[b],
            error_x=bars[0],
            error_y=bars[1],
            mode="markers",
            name=name,
            marker=dict(color=colour, symbol=symbol, size=13),
        )
    fig.update_layout(title=title, xaxis_title=f"{x}, %", yaxis_title=f"{y}, %", height=460)
    fig.update_layout(xaxis_range=[-6, 106], yaxis_range=[-6, 112])
    words = "; ".join(
        f"{name}: {x} {100 * a.share:.0f} %, {y} {100 * b.share:.0f} %" for name, (a, b) in points.items()
    )
    figure(fig, words + ".", [{"": name, x: str(a), y: str(b)} for name, (a, b) in points.items()])


def _short(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _spread(n: int, count: int) -> list[int]:
    """`count` indices spread evenly over range(n), the first and the last included."""
    return sorted({round(i * (n - 1) / (count - 1)) for i in range(count)})
