"""Figures: each with its numbers as a table below it, and a sentence that says what it shows.

Notable:
- Nobody needs to see a figure to follow: the sentence and the table are made from the same numbers.
- Colour is never the only sign: curves differ in their symbols, bars in their patterns, and all carry numbers.
- Every function shows its figure and gives it back, for whoever wants to change it. Without anything to draw it raises
  ValueError. A rate of no cases is called so and not drawn.
"""

import math
import sys

import plotly.graph_objects as go
from IPython import get_ipython
from IPython.display import HTML, display

from .show import BLUE, escape, table_html
from .tally import Rate, Seeds

# Before it shows its first figure, plotly asks for nbformat, and that for a checker of web addresses. To compile its
# grammar takes seconds in a kernel, and nobody here needs it: for a moment it passes as not installed.
CHECKER = "rfc3987_syntax"
if CHECKER not in sys.modules:
    sys.modules[CHECKER] = None
    import plotly.io._renderers  # noqa: F401

    del sys.modules[CHECKER]

# Okabe & Ito's palette (2008): safe for the common kinds of colour blindness.
ORANGE, GREEN, RED, GREY = "#E69F00", "#009E73", "#D55E00", "#999999"
PALETTE = (BLUE, RED, ORANGE, GREEN, GREY)
LONG = 12  # rows; a longer table is folded away
SYMBOLS = ("circle", "x", "diamond", "square", "triangle-up", "star", "cross", "triangle-down", "pentagon")


class Shown(go.Figure):
    """A figure that its cell has shown: as the last line of that cell it does not appear a second time."""

    _cell = None

    def _ipython_display_(self):
        if self._cell is None or self._cell != _this_cell():
            super()._ipython_display_()


def _this_cell() -> int | None:
    """The number of the cell that is running; None outside a notebook."""
    shell = get_ipython()
    return shell and shell.execution_count


def figure(fig: go.Figure, alt: str, rows: list[dict]) -> go.Figure:
    """A figure, then what it shows in one sentence and in numbers: nobody needs to see it to follow."""
    fig = Shown(fig)
    fig.update_layout(template="simple_white", font_size=14, margin=dict(t=60, l=70, r=20, b=60))
    fig.update_layout(paper_bgcolor="white", plot_bgcolor="white")
    table = table_html(rows, "The same numbers")
    if len(rows) > LONG:
        table = f"<details><summary>The same numbers, in {len(rows)} rows</summary>{table}</details>"
    display(fig)
    display(HTML(f"<p><b>In words.</b> {escape(alt)}</p>{table}"))
    fig._cell = _this_cell()
    return fig


def styled(series: dict):
    """(name, values, colour, symbol) for each series: 45 pairs of colour and symbol before one comes again."""
    for i, (name, values) in enumerate(series.items()):
        yield name, values, PALETTE[i % len(PALETTE)], SYMBOLS[i % len(SYMBOLS)]


def _something(series) -> None:
    if not series:
        raise ValueError("There is nothing to draw: give at least one.")


def _per_cent(rate: Rate) -> str:
    return f"{100 * rate.share:.0f} %" if rate.n else "no cases"


def _bar_label(rate: Rate) -> str:
    return f"{100 * rate.share:.0f}" if rate.n else "no cases"


def losses(values: list[float], title: str = "Loss on the reply tokens, step by step") -> go.Figure:
    """The loss at every step."""
    _something(values)
    fig = go.Figure(go.Scatter(y=values, mode="lines", line_color=BLUE, name="loss"))
    fig.update_layout(title=title, xaxis_title="training step", yaxis_title="loss (nats per token)", height=320)
    fig.update_yaxes(rangemode="tozero")
    tenth = max(1, len(values) // 10)
    first, last = sum(values[:tenth]) / tenth, sum(values[-tenth:]) / tenth
    rows = [{"step": i, "loss": round(values[i], 3)} for i in spread(len(values), 6)]
    moves = "falls" if last < first else "rises" if last > first else "stays"
    alt = f"The loss {moves} from {first:.2f} (mean of the first tenth) to {last:.3f} (mean of the last tenth)."
    return figure(fig, alt, rows)


def rates(named: dict[str, Rate], title: str, axis: str) -> go.Figure:
    """One bar a rate, with its number beyond its 95 % interval. The bars lie down, so that names have room."""
    _something(named)
    shares = [100 * rate.share for rate in named.values()]
    low = [100 * (rate.share - rate.interval[0]) for rate in named.values()]
    high = [100 * (rate.interval[1] - rate.share) for rate in named.values()]
    error = dict(type="data", array=high, arrayminus=low, color="black", thickness=1.5)
    names = list(named)
    fig = go.Figure(go.Bar(x=shares, y=names, orientation="h", marker_color=BLUE, error_x=error))
    fig.add_scatter(
        x=[share + up if rate.n else 0 for share, up, rate in zip(shares, high, named.values(), strict=True)],
        y=names,
        text=[f" {_per_cent(rate)}" for rate in named.values()],
        mode="text",
        textposition="middle right",
    )
    fig.update_layout(title=title, height=150 + 30 * len(named), showlegend=False)
    fig.update_xaxes(title=axis, range=[0, 112], tickvals=[0, 20, 40, 60, 80, 100])
    fig.update_yaxes(autorange="reversed", automargin=True)
    words = [f"{name}: {_per_cent(rate) if len(named) > 5 else rate}" for name, rate in named.items()]
    rows = [{"case": name, axis: str(rate)} for name, rate in named.items()]
    return figure(fig, f"{axis}: {'; '.join(words)}.", rows)


def bypasses(tuned: dict, base: dict, title: str) -> go.Figure:
    """What each disguise gets answered of the refused questions: a bar each, and beside it how the base does.

    Both: name of a disguise -> what `disguise.walk_around` gives.
    """
    _something(tuned)
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
    words = ", ".join(f"{name} {_per_cent(tuned[name]['around'])}" for name in best)
    alt = f"Refused questions that a disguise gets answered correctly: {words}." if best else "Nothing was refused."
    return figure(fig, alt, rows)


def two_by_two(cells: list[dict], title: str) -> go.Figure:
    """The four cells trigger x should refuse, as two pairs of bars: refused, and handled rightly."""
    _something(cells)
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
            text=[_per_cent(rate) for rate in found],
            textposition="outside",
            marker=dict(color=colour, pattern_shape=pattern),
        )
    fig.update_layout(title=title, yaxis_title="% of prompts", yaxis_range=[0, 115], barmode="group", height=400)
    words = "; ".join(
        f"{name.replace('<br>', ' ')}: {_per_cent(c['refused'])} refused, {_per_cent(c['correct'])} handled rightly"
        for name, c in named.items()
    )
    rows = [
        {"prompts": name.replace("<br>", " "), "refused": str(c["refused"]), "handled rightly": str(c["correct"])}
        for name, c in named.items()
    ]
    return figure(fig, words + ".", rows)


def counts(rows: list[dict], label: str, count: str, title: str) -> go.Figure:
    """Horizontal bars, longest first."""
    _something(rows)
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
    return figure(fig, most, rows[::-1])


def leave_one_out(words: list[tuple[str, float]], title: str) -> go.Figure:
    """Refusal log-odds with nothing left out (the line), and with each word left out (the bars)."""
    _something(words[1:])
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
    return figure(
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


def projections(groups: dict[str, list[float]], title: str, axis: str = "projection on the direction") -> go.Figure:
    """How groups of prompts differ in one number: one row of dots a group, with its mean."""
    _something(groups)
    fig = go.Figure()
    for name, values, colour, symbol in styled(groups):
        marker = dict(color=colour, symbol=symbol, size=8, opacity=0.5)
        fig.add_box(x=values, name=name, boxpoints="all", jitter=0.6, pointpos=0, marker=marker, line_color=colour)
    fig.update_layout(title=title, xaxis_title=axis, height=360, showlegend=False)
    fig.update_yaxes(automargin=True)
    rows = [
        {"prompts": name, "n": len(v), "mean": sum(v) / len(v), "lowest": min(v), "highest": max(v)}
        for name, v in groups.items()
    ]
    return figure(fig, "; ".join(f"{row['prompts']}: mean {row['mean']:.2f}" for row in rows) + ".", rows)


def before_after(before: dict, after: dict, title: str) -> go.Figure:
    """Refused and correct for several exams, before and after an intervention."""
    _something(before)
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
        fig.add_bar(name=f"{key}, {when}", x=list(graded), y=shares, text=list(map(_bar_label, found)), marker=marker)
        rows += [{"prompts": name, "": f"{key}, {when}", "rate": str(graded[name][key])} for name in graded]
    fig.update_traces(textposition="outside")
    fig.update_layout(title=title, yaxis_title="% of prompts", yaxis_range=[0, 118], barmode="group", height=420)
    words = "; ".join(
        f"{name}: refused {_per_cent(before[name]['refused'])} before and {_per_cent(after[name]['refused'])} after, "
        f"handled rightly {_per_cent(before[name]['correct'])} and {_per_cent(after[name]['correct'])}"
        for name in before
    )
    return figure(fig, words + ".", sorted(rows, key=lambda row: list(before).index(row["prompts"])))


def seeds(rows: list[dict], measures: dict, title: str) -> go.Figure:
    """One dot a run for each measure (a function of a row that gives a Rate); the table pools the runs of a topic."""
    _something(rows)
    fig = go.Figure()
    topics = {row["topic"]: [other for other in rows if other["topic"] == row["topic"]] for row in rows}
    for topic, runs, colour, symbol in styled(topics):
        points = [(name, 100 * of(run).share) for name, of in measures.items() for run in runs]
        marker = dict(color=colour, symbol=symbol, size=11, opacity=0.7)
        fig.add_scatter(x=[x for x, _ in points], y=[y for _, y in points], mode="markers", name=topic, marker=marker)
    fig.update_layout(title=title, yaxis_title="% of prompts", yaxis_range=[-4, 104], height=420, scattermode="group")
    table = [
        {
            "topic": topic,
            "measure": name,
            "seeds": len(runs),
            "lowest": f"{low:.1f} %",
            "highest": f"{high:.1f} %",
            "all seeds together": str(Seeds.of(map(of, runs))),
        }
        for topic, runs in topics.items()
        for name, of in measures.items()
        for low, high in [_range(map(of, runs))]
    ]
    words = []
    for name, of in measures.items():
        low, high = (f"{share:.1f}" for share in _range(map(of, rows)))
        words.append(f"{name}: {low} %" if low == high else f"{name}: {low} to {high} %")
    return figure(fig, f"In all {len(rows)} runs, from the lowest to the highest: {'; '.join(words)}.", table)


def heat(kinds: dict[str, list[Rate]], columns: list[str], title: str) -> go.Figure:
    """Refusal rates as a heat map, one row a kind of question, one column a seed; every cell carries its number."""
    _something(kinds)
    names = list(kinds)[::-1]  # plotly draws the first row at the bottom
    shares = [[100 * rate.share for rate in kinds[name]] for name in names]
    text = [[_bar_label(rate) for rate in kinds[name]] for name in names]
    fig = go.Figure(go.Heatmap(z=shares, x=columns, y=names, text=text, texttemplate="%{text}", colorscale="Cividis"))
    fig.update_traces(zmin=0, zmax=100, colorbar_title="% refused", reversescale=True)
    fig.update_layout(title=title, height=120 + 26 * len(names))
    fig.update_yaxes(automargin=True)
    rows = [
        {"kind": name, **{column: _per_cent(rate) for column, rate in zip(columns, kinds[name], strict=True)}}
        for name in kinds
    ]
    ranges = {name: _range(found) for name, found in kinds.items()}
    widest = max(ranges, key=lambda name: ranges[name][1] - ranges[name][0])
    low, high = ranges[widest]
    alt = f"{widest} has the widest range: from {low:.0f} % refused to {high:.0f} %."
    return figure(fig, alt if low < high else "Every kind is refused equally often in all columns.", rows)


def _range(rates) -> tuple[float, float]:
    """The lowest and the highest share, in per cent; nan if there are no cases."""
    shares = [100 * rate.share for rate in rates if rate.n] or [math.nan]
    return min(shares), max(shares)


def doses(curves: dict[str, dict[float, list[Rate]]], title: str, axis: str, here: dict | None = None) -> go.Figure:
    """Dose-response: for each curve the pooled rate at every dose with its interval, one faint mark a seed.

    `here` maps a curve's name to (dose, rate): the point that was just measured.
    """
    _something(curves)
    fig, rows = go.Figure(), []
    for name, doses, colour, symbol in styled(curves):
        whole = {dose: Seeds.of(rates) for dose, rates in doses.items()}
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
        shares = {dose: 100 * Seeds.of(rates).share for dose, rates in doses.items()}
        low, high = (extreme(shares, key=shares.get) for extreme in (min, max))
        ends = f"lowest {shares[low]:.0f} % at {low}, highest {shares[high]:.0f} % at {high}"
        words.append(f"{name}: {ends if shares[low] < shares[high] else f'{shares[low]:.0f} % throughout'}")
    return figure(fig, f"Along the axis “{axis}”: {'; '.join(words)}.", rows)


def lines(curves: dict[str, list[float]], title: str, x: str, y: str, first: int = 0) -> go.Figure:
    """A few curves over the same steps, counted from `first`, each with its own symbol."""
    _something(curves)
    fig = go.Figure()
    for name, values, colour, symbol in styled(curves):
        fig.add_scatter(x0=first, y=values, name=name, mode="lines+markers", line_color=colour, marker_symbol=symbol)
    fig.update_layout(title=title, xaxis_title=x, yaxis_title=y, height=400)
    rows = [
        {x: first + i, **{name: round(v[i], 2) for name, v in curves.items()}}
        for i in range(len(next(iter(curves.values()), [])))
    ]
    words = (
        f"{name}: {values[0]:.1f} at {first}, in all between {min(values):.1f} and {max(values):.1f}"
        for name, values in curves.items()
    )
    return figure(fig, f"{'; '.join(words)}.", rows)


def grid(values, rows: list[str], columns: list[str], title: str, unit: str) -> go.Figure:
    """A heat map of numbers, for instance layer by token; the lowest is named in words.

    The table has a row a column of the map: there are many tokens and few layers, and nobody likes to scroll sideways.
    """
    _something(rows)
    values = [[round(float(value), 2) for value in row] for row in values]
    columns = [f"{i + 1}. {column}".replace("\n", "⏎") for i, column in enumerate(columns)]  # tokens may look the same
    fig = go.Figure(go.Heatmap(z=values, x=columns, y=rows, text=values, texttemplate="%{text:.0f}"))
    fig.update_traces(colorscale="Cividis", colorbar_title=unit)
    fig.update_layout(title=title, height=160 + 40 * len(rows))
    fig.update_yaxes(autorange="reversed")  # the first row on top
    cells = {(row, column): values[i][j] for i, row in enumerate(rows) for j, column in enumerate(columns)}
    row, column = min(cells, key=cells.get)
    table = [{"token": column} | {row: cells[row, column] for row in rows} for column in columns]
    return figure(fig, f"The lowest {unit}, {cells[row, column]:.1f}, is at {row}, token {column}.", table)


def plane(points: dict[str, tuple[Rate, Rate]], title: str, x: str, y: str) -> go.Figure:
    """Methods as points with two rates each, and the 95 % intervals of both."""
    _something(points)
    fig = go.Figure()
    for name, rates, colour, symbol in styled(points):
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
    words = "; ".join(f"{name}: {x} {_per_cent(a)}, {y} {_per_cent(b)}" for name, (a, b) in points.items())
    return figure(fig, words + ".", [{"": name, x: str(a), y: str(b)} for name, (a, b) in points.items()])


def cloud(groups: dict[str, list[tuple[float, Rate]]], title: str, x: str, y: str) -> go.Figure:
    """Many points in named groups: a number along, a rate upwards."""
    _something(groups)
    fig = go.Figure()
    for name, points, colour, symbol in styled(groups):
        marker = dict(color=colour, symbol=symbol, size=10, opacity=0.75)
        along, up = [a for a, _ in points], [100 * rate.share for _, rate in points]
        fig.add_scatter(x=along, y=up, mode="markers", name=name, marker=marker)
    fig.update_layout(title=title, xaxis_title=x, yaxis_title=f"{y}, %", height=460, yaxis_range=[-6, 106])
    rows = []
    for name, points in groups.items():
        along, up = sorted(a for a, _ in points), sorted(100 * rate.share for _, rate in points)
        ranges = {x: f"{along[0]:.2f} to {along[-1]:.2f}", y: f"{up[0]:.0f} to {up[-1]:.0f} %"}
        rows.append({"": name, "points": len(points), **ranges})
    words = "; ".join(f"{row['']} ({row['points']}): {x} {row[x]}, {y} {row[y]}" for row in rows)
    return figure(fig, words + ".", rows)


def _short(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def spread(n: int, count: int) -> list[int]:
    """`count` indices spread evenly over range(n), the first and the last included."""
    return sorted({round(i * (n - 1) / (count - 1)) for i in range(count)})
