"""Plots: dots, curves, planes and maps over seeds, doses, steps and layers.

Notable:
- Every function shows its figure with a sentence and a table, and gives it back (see `figure`).
- Without anything to draw it raises ValueError. A rate of no cases is called so and not drawn.
"""

import math

import plotly.graph_objects as go

from . import figure
from .figure import BLUE, label_of, per_cent
from .tally import Rate, Seeds


def losses(values: list[float], title: str = "Loss on the reply tokens, step by step") -> go.Figure:
    """The loss at every step."""
    figure.something(values)
    fig = go.Figure(go.Scatter(y=values, mode="lines", line_color=BLUE, name="loss"))
    fig.update_layout(title=title, xaxis_title="training step", yaxis_title="loss (nats per token)", height=320)
    fig.update_yaxes(rangemode="tozero")
    tenth = max(1, len(values) // 10)
    first, last = sum(values[:tenth]) / tenth, sum(values[-tenth:]) / tenth
    rows = [{"step": i, "loss": round(values[i], 3)} for i in figure.spread(len(values), 6)]
    moves = "falls" if last < first else "rises" if last > first else "stays"
    alt = f"The loss {moves} from {first:.2f} (mean of the first tenth) to {last:.3f} (mean of the last tenth)."
    return figure.show(fig, alt, rows)


def projections(groups: dict[str, list[float]], title: str, axis: str = "projection on the direction") -> go.Figure:
    """How groups of prompts differ in one number: one row of dots a group, with its mean."""
    figure.something(groups)
    fig = go.Figure()
    for name, values, colour, symbol in figure.styled(groups):
        marker = dict(color=colour, symbol=symbol, size=8, opacity=0.5)
        fig.add_box(x=values, name=name, boxpoints="all", jitter=0.6, pointpos=0, marker=marker, line_color=colour)
    fig.update_layout(title=title, xaxis_title=axis, height=360, showlegend=False)
    fig.update_yaxes(automargin=True)
    rows = [
        {"prompts": name, "n": len(v), "mean": sum(v) / len(v), "lowest": min(v), "highest": max(v)}
        for name, v in groups.items()
    ]
    return figure.show(fig, "; ".join(f"{row['prompts']}: mean {row['mean']:.2f}" for row in rows) + ".", rows)


def seeds(rows: list[dict], measures: dict, title: str) -> go.Figure:
    """One dot a run for each measure (a function of a row that gives a Rate); the table pools the runs of a topic."""
    figure.something(rows)
    fig = go.Figure()
    topics = {row["topic"]: [other for other in rows if other["topic"] == row["topic"]] for row in rows}
    for topic, runs, colour, symbol in figure.styled(topics):
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
    return figure.show(fig, f"In all {len(rows)} runs, from the lowest to the highest: {'; '.join(words)}.", table)


def heat(kinds: dict[str, list[Rate]], columns: list[str], title: str) -> go.Figure:
    """Refusal rates as a heat map, one row a kind of question, one column a seed; every cell carries its number."""
    figure.something(kinds)
    names = list(kinds)[::-1]  # plotly draws the first row at the bottom
    shares = [[100 * rate.share for rate in kinds[name]] for name in names]
    text = [[label_of(rate) for rate in kinds[name]] for name in names]
    fig = go.Figure(go.Heatmap(z=shares, x=columns, y=names, text=text, texttemplate="%{text}", colorscale="Cividis"))
    fig.update_traces(zmin=0, zmax=100, colorbar_title="% refused", reversescale=True)
    fig.update_layout(title=title, height=120 + 26 * len(names))
    fig.update_yaxes(automargin=True)
    rows = [
        {"kind": name, **{column: per_cent(rate) for column, rate in zip(columns, kinds[name], strict=True)}}
        for name in kinds
    ]
    ranges = {name: _range(found) for name, found in kinds.items()}
    widest = max(ranges, key=lambda name: ranges[name][1] - ranges[name][0])
    low, high = ranges[widest]
    alt = f"{widest} has the widest range: from {low:.0f} % refused to {high:.0f} %."
    return figure.show(fig, alt if low < high else "Every kind is refused equally often in all columns.", rows)


def _range(rates) -> tuple[float, float]:
    """The lowest and the highest share, in per cent; nan if there are no cases."""
    shares = [100 * rate.share for rate in rates if rate.n] or [math.nan]
    return min(shares), max(shares)


def doses(curves: dict[str, dict[float, list[Rate]]], title: str, axis: str, here: dict | None = None) -> go.Figure:
    """Dose-response: for each curve the pooled rate at every dose with its interval, one faint mark a seed.

    `here` maps a curve's name to (dose, rate): the point that was just measured.
    """
    figure.something(curves)
    fig, rows = go.Figure(), []
    for name, doses, colour, symbol in figure.styled(curves):
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
    return figure.show(fig, f"Along the axis “{axis}”: {'; '.join(words)}.", rows)


def lines(curves: dict[str, list[float]], title: str, x: str, y: str, first: int = 0) -> go.Figure:
    """A few curves over the same steps, counted from `first`, each with its own symbol."""
    figure.something(curves)
    fig = go.Figure()
    for name, values, colour, symbol in figure.styled(curves):
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
    return figure.show(fig, f"{'; '.join(words)}.", rows)


def grid(values, rows: list[str], columns: list[str], title: str, unit: str) -> go.Figure:
    """A heat map of numbers, for instance layer by token; the lowest is named in words.

    The table has a row a column of the map: there are many tokens and few layers, and nobody likes to scroll sideways.
    """
    figure.something(rows)
    values = [[round(float(value), 2) for value in row] for row in values]
    columns = [f"{i + 1}. {column}".replace("\n", "⏎") for i, column in enumerate(columns)]  # tokens may look the same
    fig = go.Figure(go.Heatmap(z=values, x=columns, y=rows, text=values, texttemplate="%{text:.0f}"))
    fig.update_traces(colorscale="Cividis", colorbar_title=unit)
    fig.update_layout(title=title, height=160 + 40 * len(rows))
    fig.update_yaxes(autorange="reversed")  # the first row on top
    cells = {(row, column): values[i][j] for i, row in enumerate(rows) for j, column in enumerate(columns)}
    row, column = min(cells, key=cells.get)
    table = [{"token": column} | {row: cells[row, column] for row in rows} for column in columns]
    return figure.show(fig, f"The lowest {unit}, {cells[row, column]:.1f}, is at {row}, token {column}.", table)


def plane(points: dict[str, tuple[Rate, Rate]], title: str, x: str, y: str) -> go.Figure:
    """Methods as points with two rates each, and the 95 % intervals of both."""
    figure.something(points)
    fig = go.Figure()
    for name, rates, colour, symbol in figure.styled(points):
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
    words = "; ".join(f"{name}: {x} {per_cent(a)}, {y} {per_cent(b)}" for name, (a, b) in points.items())
    return figure.show(fig, words + ".", [{"": name, x: str(a), y: str(b)} for name, (a, b) in points.items()])


def cloud(groups: dict[str, list[tuple[float, Rate]]], title: str, x: str, y: str) -> go.Figure:
    """Many points in named groups: a number along, a rate upwards."""
    figure.something(groups)
    fig = go.Figure()
    for name, points, colour, symbol in figure.styled(groups):
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
    return figure.show(fig, words + ".", rows)
