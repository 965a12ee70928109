"""Films: groups of points that move over a plane, step by step: {step: {group: [(x, y), ...]}}."""

import plotly.graph_objects as go

from . import figure
from .show import escape


def draw(frames: dict, title: str, x: str, y: str, step: str = "step", opens=None) -> go.Figure:
    """A figure with a slider and a play button.

    It opens at the last step or at another one, which its sentence then tells of; faint marks stay where the first step
    had them. Raises ValueError for fewer than two steps.
    """
    if len(frames) < 2:
        raise ValueError(
            f"A film needs two frames or more, not {len(frames)}. If the fine-tune was remembered, no step was seen: "
            "give cache=False."
        )
    steps = list(frames)
    first, last = steps[0], steps[-1] if opens is None else opens
    begun, ended = frames[first], frames[last]
    fig = go.Figure()
    for name, points, colour, symbol in figure.styled(begun):
        faint = dict(color=colour, symbol=f"{symbol}-open", size=7, opacity=0.35)
        fig.add_scatter(**_at(points), mode="markers", name=name, marker=faint, hoverinfo="skip", showlegend=False)
    for name, points, colour, symbol in figure.styled(ended):
        fig.add_scatter(**_at(points), mode="markers", name=name, marker=dict(color=colour, symbol=symbol, size=8))
    moving = list(range(len(begun), 2 * len(begun)))
    fig.frames = [
        go.Frame(data=[go.Scatter(**_at(points)) for points in groups.values()], traces=moving, name=str(at))
        for at, groups in frames.items()
    ]
    fig.update_layout(title=title, height=560, **_controls(steps, step, last))
    fig.update_layout(legend=dict(orientation="h", y=1, yanchor="bottom"))
    across, upwards = _ranges(frames)
    fig.update_xaxes(title=x, range=across)
    fig.update_yaxes(title=y, range=upwards)
    words = "; ".join(
        f"{name} from {_middle(begun[name]):.0f} at {step} {first} to {_middle(ended[name]):.0f} at {step} {last}"
        for name in begun
    )
    rows = [
        {step: at, "of": name, f"mean {x}": _middle(points), f"mean {y}": _middle(points, 1)}
        for at in (steps[i] for i in figure.spread(len(steps), 7))
        for name, points in frames[at].items()
    ]
    return figure.show(fig, f"The mean {x}: {words}.", rows)


def sketch(frames: dict, x: str) -> str:
    """The last frame of a film of three groups as a small SVG picture with its alternative text: cheap enough to draw
    while training runs."""
    step, groups = list(frames.items())[-1]
    (left, right), (low, high) = _ranges(frames)
    pieces, named = [], []
    for (name, points, colour, _), mark in zip(figure.styled(groups), "●✕◆", strict=True):
        named.append(f"{mark} {name} {_middle(points):.0f}")
        for a, b in points:
            at = f'x="{480 * (a - left) / (right - left):.0f}" y="{200 * (high - b) / (high - low):.0f}"'
            pieces.append(f'<text {at} fill="{colour}">{mark}</text>')
    alt = escape(f"Step {step}, to the right {x}; mean: {', '.join(named)}.")
    return (
        f'<svg role="img" aria-label="{alt}" width="500" height="210" viewBox="-5 -5 500 210" font-size="9" '
        f'style="background:white">{"".join(pieces)}</svg><p>{alt}</p>'
    )


def _at(points):
    return dict(x=[round(a, 1) for a, _ in points], y=[round(b, 1) for _, b in points])


def _middle(points, axis: int = 0) -> float:
    """The mean of the coordinates on one axis: 0 is across, 1 upwards."""
    return sum(point[axis] for point in points) / len(points)


def _ranges(frames) -> list[list[float]]:
    """For both axes from the lowest to the highest point of all frames, with a little room: axes that stay."""
    points = [point for groups in frames.values() for points in groups.values() for point in points]
    ranges = []
    for values in zip(*points, strict=True):
        room = 0.05 * (max(values) - min(values)) or 1
        ranges.append([min(values) - room, max(values) + room])
    return ranges


def _controls(steps, step, opens) -> dict:
    """Play, pause and the slider, as plotly's layout wants them."""
    how = dict(mode="immediate", frame=dict(duration=150, redraw=False), transition=dict(duration=100))
    play = dict(label="▶ Play", method="animate", args=[None, how])
    pause = dict(label="■ Pause", method="animate", args=[[None], how])
    buttons = dict(
        type="buttons", direction="left", showactive=False, buttons=[play, pause], x=0, y=-0.18, yanchor="top"
    )
    stops = [dict(label=str(at), method="animate", args=[[str(at)], how]) for at in steps]
    slider = dict(steps=stops, active=steps.index(opens), currentvalue=dict(prefix=f"{step} "), x=0.3, len=0.7, y=-0.1)
    return dict(updatemenus=[buttons], sliders=[slider])
