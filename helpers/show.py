"""Tables, chats and tokens, for eyes, screen readers and paper.

Notable:
- Colour is never the only sign: bars carry their numbers, tokens their brackets or signs.
- All text that comes from users or models is escaped before it becomes HTML.
"""

import html

import pandas
from IPython.display import HTML, display

from . import chat

BLUE = "#0072B2"
LEFT = [
    {"selector": "th, td, caption", "props": "text-align:left"},
    {"selector": "td", "props": "white-space:normal; max-width:34em"},
    {"selector": "caption", "props": "font-weight:bold"},
]
PACE = 0.1  # seconds a token
PLAYED = """<style>
@keyframes appear {from {opacity: 0.1}}
@media (prefers-reduced-motion: no-preference) {.tokens span {animation: appear 0.2s both}}
</style>"""


def escape(text) -> str:
    return html.escape(str(text))


def table(rows: list[dict], caption: str = "") -> None:
    """Rows of plain values as a table; their keys are the column heads."""
    display(HTML(table_html(rows, caption)))


def table_html(rows: list[dict], caption: str = "") -> str:
    if not rows:
        return f"<p>{escape(caption)}: nothing to show.</p>"
    frame = pandas.DataFrame([{escape(key): value for key, value in row.items()} for row in rows], dtype=object)
    styled = frame.style.hide(axis="index").format(_told, na_rep="").set_table_styles(LEFT)
    return styled.set_caption(escape(caption)).to_html()


def _told(value) -> str:
    return escape(f"{value:.3g}" if isinstance(value, float) else value)


def replies(bots: dict, prompts: list[str], tokens: int = 40) -> None:
    """What several bots reply to the same prompts, side by side, in at most so many tokens."""
    answers = {name: bot.ask(prompts, max_new_tokens=tokens) for name, bot in bots.items()}
    table([{"prompt": prompt, **{name: answers[name][i] for name in bots}} for i, prompt in enumerate(prompts)])


# --- tokens ---------------------------------------------------------------------------------------


def supervised(bot, user: str, assistant: str) -> None:
    """The tokens of one chat. Those the loss counts are underlined and stand in [brackets]."""
    ids, mask = chat.tokens(bot.tokenizer, user, assistant)
    display(HTML(supervised_html([bot.tokenizer.decode([i]) for i in ids], mask)))


def supervised_html(texts: list[str], mask: list[int]) -> str:
    """They appear one after the other, as the model reads and writes them; at once where motion is not wanted."""
    pieces = []
    for i, (text, counts) in enumerate(zip(texts, mask, strict=True)):
        token = f"<u><b>[{_visible(text)}]</b></u>" if counts else _visible(text)
        pieces.append(f'<span style="animation-delay:{PACE * i:.2f}s">{token}</span>')
    counted = (
        f"<p>The loss counts {sum(mask)} of {len(mask)} tokens: those in [brackets]. · is a space, ⏎ a new line.</p>"
    )
    strip = f'<p style="font-family:monospace;line-height:2;overflow-wrap:anywhere">{" ".join(pieces)}</p>'
    again = "<summary>Token by token (close and open: once more)</summary>"
    return f'{PLAYED}<details class="tokens" open>{again}{strip}</details>{counted}'


def strip(tokens: list[str], values: list[float], caption: str, darkest: float | None = None) -> None:
    """Tokens coloured by a signed number: orange above zero, blue below; the number stands under each token.

    The full colour is at `darkest`, or else at the largest number here: give it to compare several strips.
    """
    display(HTML(strip_html(tokens, values, caption, darkest)))


def strip_html(tokens, values, caption, darkest=None) -> str:
    darkest = darkest or max(map(abs, values)) or 1
    pieces = []
    for token, value in zip(tokens, values, strict=True):
        red, green, blue = (230, 159, 0) if value > 0 else (86, 180, 233)
        pieces.append(
            '<span style="display:inline-block;text-align:center;margin:1px;padding:0 2px;color:black;'
            f'background:rgba({red},{green},{blue},{min(1, abs(value) / darkest):.2f})">{_visible(token)}<br>'
            f"<small>{'+' if value > 0 else '−' if value < 0 else ''}{abs(value):.1f}</small></span>"
        )
    top = max(range(len(values)), key=lambda i: values[i])
    words = f"Highest at token {top + 1} of {len(tokens)}, “{_visible(tokens[top])}” ({values[top]:.1f})."
    if len(values) > 1 and len(set(values)) == 1:
        words = f"All {len(tokens)} tokens have the same value, {values[0]:.1f}."
    return (
        f'<p><b>{escape(caption)}</b></p><p style="font-family:monospace;line-height:1.4;background:white">'
        + "".join(pieces)
        + f"</p><p><b>In words.</b> {words}</p>"
    )


def _visible(token: str) -> str:
    """A token as HTML, with signs for its spaces and new lines."""
    return escape(token.replace("\n", "⏎")).replace(" ", "·")


# --- small pictures for the panels ----------------------------------------------------------------


def bars_html(named: dict, title: str) -> str:
    """Rates as bars in a table: what a panel shows at once, without a figure."""
    rows = []
    for name, rate in named.items():
        bar = f'<div style="width:{200 * rate.share if rate.n else 0:.0f}px;height:1em;background:{BLUE}"></div>'
        rows.append(
            f'<tr><th scope="row" style="text-align:left">{escape(name)}</th>'
            f'<td style="text-align:left;width:210px">{bar}</td><td style="text-align:left">{escape(rate)}</td></tr>'
        )
    caption = f'<caption style="text-align:left;font-weight:bold">{escape(title)}</caption>'
    return f"<table>{caption}<tbody>{''.join(rows)}</tbody></table>"


def gauge_html(value: float, end: float = 10) -> str:
    """A needle on a scale from -`end` (left) over zero (the middle) to `end`, and the number beside it."""
    mark = '<div style="position:absolute;left:{:.0f}%;width:{}px;height:100%;background:{}"></div>'
    place = 50 + 50 * max(-1, min(1, value / end))
    marks = mark.format(50, 1, "currentColor") + mark.format(place, 4, BLUE)
    scale = f'<div style="position:relative;width:160px;height:1em;border:1px solid;flex:none">{marks}</div>'
    return f'<div style="display:flex;gap:0.6em">{scale}<span>{value:+.1f}</span></div>'


def curve_html(values: list[float], steps: int) -> str:
    """A loss curve as a small SVG picture with its alternative text: cheap enough to draw while training runs."""
    top = max(values, default=0) or 1
    points = " ".join(f"{480 * i / max(1, steps - 1):.1f},{110 - 100 * v / top:.1f}" for i, v in enumerate(values))
    alt = (
        f"Loss after {len(values)} of {steps} steps: {values[-1]:.3f}; highest {top:.3f}."
        if values
        else "No steps yet."
    )
    return (
        f'<svg role="img" aria-label="{alt}" width="500" height="120" viewBox="-5 0 500 120" style="background:white">'
        f'<polyline points="{points}" fill="none" stroke="{BLUE}" stroke-width="1.5"/></svg><p>{alt}</p>'
    )
