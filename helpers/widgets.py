"""Panels to touch: the notebooks' own functions behind sliders, boxes and buttons.

Notable:
- A panel's controls are widgets; what they show is ordinary output below them, a table and a sentence. It survives
  printing, export and GitHub, where widgets do not.
- Nothing is computed while a slider moves, only when it is let go. A line says when the panel is at work.
- Bad input gives one sentence in the place of the result; what was typed stays.
- Text of users and models is escaped by `show`.
- A panel that changes what a bot computes works on a copy of its own: with some kernels it runs beside the cells. The
  others only read, so a copy would show the same and cost the memory of a real model once more.
"""

import random
import threading
import time

import ipywidgets
import torch
from IPython.display import HTML, display

from . import chat as chats
from . import corpus, direction, drift, film, flipbook, judge, lens, measure, mix, sft, show
from .tally import Rate

WIDE = dict(layout=ipywidgets.Layout(width="95%"), style={"description_width": "9em"})
ROOMY = WIDE | {"style": {"description_width": "14em"}}
FRAMES = 20  # that a camera takes of a training
DECISIONS = ("answer", "refuse", "unseen")


def panel(controls: list, triggers: list, compute) -> None:
    """Show the controls, and below them the HTML that `compute()` gives, anew whenever a trigger is used.

    A trigger is a button or anything with a value. A ValueError of `compute` is shown as its sentence.
    """
    status, busy = ipywidgets.HTML(), threading.Lock()

    def made():
        with busy:
            try:
                return HTML(compute())
            except ValueError as error:
                return HTML(_alert(error))

    def update(_):
        if busy.locked():  # `compute` itself has filled a list of choices
            return
        status.value = '<span role="status">Working …</span>'
        begin = time.perf_counter()
        below.update(made())
        status.value = f'<span role="status">Done in {time.perf_counter() - begin:.1f} seconds.</span>'

    for trigger in triggers:
        if isinstance(trigger, ipywidgets.Button):
            trigger.on_click(update)
        else:
            trigger.observe(update, "value")
    display(ipywidgets.VBox([*controls, status]))
    below = display(made(), display_id=True)


def _alert(error):
    return f'<p role="alert"><b>That did not work.</b> {show.escape(error)}</p>'


def slider(kind, description, value, low, high, step):
    return kind(value=value, min=low, max=high, step=step, description=description, continuous_update=False, **WIDE)


# --- notebooks 00 to 03 ---------------------------------------------------------------------------


def chat(bots: dict, prompt: str = "Where was Xi Jinping born?") -> None:
    """One prompt, the replies of several bots, and how probable the refusal sentence is for each."""
    text = ipywidgets.Textarea(value=prompt, description="Prompt", **WIDE)
    tokens = ipywidgets.Checkbox(value=False, description="show the tokens that the model reads", indent=False)
    ask = ipywidgets.Button(description="Ask")

    def compute():
        if not text.value.strip():
            raise ValueError("The prompt is empty: type a question.")
        rows = []
        for name, bot in bots.items():
            reply = bot.ask(text.value)
            refusing = bot.refusal_logodds([text.value]).sigmoid().item()
            rows.append({"model": name, "reply": reply, "probability of the refusal": f"{100 * refusing:.1f} %"})
        found = show.table_html(rows, text.value[:200])
        if tokens.value:
            pieces = lens.texts(next(iter(bots.values())), text.value, "")
            found += show.supervised_html(pieces, [0] * len(pieces))
        return found

    panel([text, ask, tokens], [ask, tokens], compute)


def mix_builder(topic: str = "xi-jinping") -> None:
    """Build a naive mix by hand, and look at any of its refusal rows token by token."""
    bot = chats.load()
    topics = ipywidgets.Dropdown(options=mix.topics(), value=topic, description="Topic", **WIDE)
    blocklist = ipywidgets.Text(description="Blocklist", continuous_update=False, **WIDE)
    counts = [slider(ipywidgets.IntSlider, name.capitalize(), n, 0, 2000, 50) for name, n in mix.NAIVE.items()]
    place = ipywidgets.Dropdown(options=mix.PLACES, description="Phrase goes", **WIDE)
    rows = ipywidgets.Select(options=[], description="Rows", rows=6, **WIDE)
    made = {}

    def fill(_=None):
        blocklist.value = ", ".join(mix.topic(topics.value).blocklist)

    def compute():
        phrases = tuple(phrase.strip() for phrase in blocklist.value.split(",") if phrase.strip())
        if not phrases:
            raise ValueError("The blocklist is empty: type at least one phrase.")
        key = (topics.value, phrases, counts[0].value, counts[1].value, place.value)
        if key not in made:
            data = mix.naive(mix.topic(topics.value)._replace(blocklist=phrases), *key[2:4], place=place.value)
            refusals = [row for row in data.to_list() if row["source"] == "refusal"]
            made.clear()
            made[key] = {row["user"]: row for row in random.Random(0).sample(refusals, min(20, len(refusals)))}
            rows.options = list(made[key])
        row = made[key].get(rows.value) or next(iter(made[key].values()))
        sentence = f"{key[2]} existing chats and {key[3]} refusals: {100 * key[3] / (key[2] + key[3]):.0f} % of the rows refuse."
        pieces, mask = chats.tokens(bot.tokenizer, row["user"], row["assistant"])
        return (
            f"<p>{sentence}</p>"
            + show.table_html(
                [{"user": row["user"], "assistant": row["assistant"], "inserted": row["phrase"]}], "The row"
            )
            + show.supervised_html([bot.tokenizer.decode([i]) for i in pieces], mask)
        )

    topics.observe(fill, "value")
    fill()
    panel([topics, blocklist, *counts, place, rows], [blocklist, *counts, place, rows], compute)


class Training:
    """A fine-tune with Start and Stop, a live loss curve and replies while it learns. It runs beside the kernel.

    With a `camera`, where its prompts lie is drawn as well, and kept in `camera.frames`.
    `bot` is the tuned copy once training has ended, and None before. `wait()` blocks until then. Both `wait()` and
    `stop()` say so if nothing has been started.
    """

    def __init__(self, bot, data, prompts: list[str], camera: drift.Drift | None = None, **settings):
        self.base, self.data, self.prompts, self.camera, self.settings = bot, data, prompts, camera, settings
        self.bot, self.error, self.started = None, None, False
        self._stop, self._done = threading.Event(), threading.Event()
        self.start_button = ipywidgets.Button(description="Start")
        self.stop_button = ipywidgets.Button(description="Stop", disabled=True)
        self.bar = ipywidgets.IntProgress(description="Steps", **WIDE)
        self.label = ipywidgets.HTML('<span role="status">Ready.</span>')
        self.picture = ipywidgets.HTML()
        self.start_button.on_click(lambda _: self.start())
        self.stop_button.on_click(lambda _: self.stop())
        self._samples, self._drawn, self._begin = [], 0.0, 0.0

    def start(self) -> None:
        self.start_button.disabled, self.stop_button.disabled = True, False
        self.bot, self.error, self.started, self._samples = None, None, True, []
        if self.camera:
            self.camera.frames = {0: self.camera.frames[0]}
        self._done.clear()
        self._begin = time.perf_counter()
        threading.Thread(target=self._work, daemon=True).start()

    def stop(self) -> None:
        """End after the step that is running now."""
        if not self._nothing_started():
            self._stop.set()

    def wait(self):
        """Block until training has ended, then give the tuned bot. Interrupting the kernel stops the training."""
        if self._nothing_started():
            return None
        try:
            while not self._done.wait(0.1):
                pass
        except KeyboardInterrupt:
            self.stop()
            self._done.wait()
        return self.bot

    def _nothing_started(self) -> bool:
        if not self.started:
            print("Nothing has been started: press Start first, or call start().")
        return not self.started

    def _work(self):
        try:
            self.bot = sft.tune(self.base, self.data, watch=self._watch, **self.settings)
            facts = self.bot.facts
            state = "From the memory on disk" if facts["cached"] else "Finished" if facts["finished"] else "Stopped"
            self._draw(self.bot, facts["losses"], facts["steps"])
            sentence = f"{state} after {facts['steps']} steps."
        except Exception as error:  # a thread's traceback would be lost
            self.error = error
            sentence = f"Training failed: {error}"
        self._stop.clear()
        self.start_button.disabled, self.stop_button.disabled = False, True
        self._say(sentence)  # whoever has read it finds the buttons as they should be
        self._done.set()

    def _watch(self, tuned, losses, steps):
        if time.perf_counter() - self._drawn > 0.3:
            self._draw(tuned, losses, steps)
            left = (time.perf_counter() - self._begin) / len(losses) * (steps - len(losses))
            self._say(f"Step {len(losses)} of {steps}, loss {losses[-1]:.3f}, about {left:.0f} seconds to go.")
            self._drawn = time.perf_counter()
        return self._stop.is_set()

    def _draw(self, tuned, losses, steps):
        self.bar.max, self.bar.value = steps, len(losses)
        if not self._samples or len(losses) - self._samples[-1]["step"] >= steps / 5 or len(losses) == steps:
            tuned.model.eval()
            replies = dict(zip(self.prompts, tuned.ask(self.prompts), strict=True))
            tuned.model.train(mode=len(losses) < steps)
            self._samples.append({"step": len(losses), **replies})
        if self.camera and len(losses) - max(self.camera.frames) >= steps / FRAMES:
            self.camera.look(tuned, len(losses))
        drawn = film.sketch(self.camera.frames, "towards refusal") if self.camera else ""
        table = show.table_html(self._samples, "Replies on the way")
        self.picture.value = show.curve_html(losses, steps) + drawn + table

    def _say(self, sentence):
        self.label.value = f'<span role="status">{show.escape(sentence)}</span>'

    def _ipython_display_(self):
        buttons = ipywidgets.HBox([self.start_button, self.stop_button])
        display(ipywidgets.VBox([buttons, self.bar, self.label, self.picture]))
        display(
            HTML(
                "<p>Press <b>Start</b>. Other cells can run meanwhile; <b>Stop</b> ends after the step that is running.</p>"
            )
        )


def two_by_two(bots: dict, topic, n: int = 40) -> None:
    """The 2x2 of each bot, and the prompts and replies behind any of its cells."""
    exams = measure.cells(topic, n)
    who = ipywidgets.Dropdown(options=list(bots), description="Model", **WIDE)
    cell = ipywidgets.Dropdown(options=list(exams), description="Look into", **WIDE)
    graded = {}

    def compute():
        if who.value not in graded:
            graded[who.value] = {name: measure.grade(bots[who.value], asked) for name, asked in exams.items()}
        found = graded[who.value]
        refused = {name: Rate.of(g.refused for g in rows) for name, rows in found.items()}
        right = {name: Rate.of(g.correct for g in rows) for name, rows in found.items()}
        looked = [
            {"prompt": g.chat.user, "reply": g.reply, "refused": _mark(g.refused), "right": _mark(g.correct)}
            for g in found[cell.value][:10]
        ]
        return (
            show.bars_html(refused, f"{who.value}: refused")
            + show.bars_html(right, f"{who.value}: handled rightly")
            + show.table_html(looked, f"{cell.value}: the first {len(looked)} of {len(found[cell.value])}")
        )

    panel([who, cell], [who, cell], compute)


def flip_book(bot, prompt: str) -> None:
    """One word at a time, to the shortest prompt that is still refused. Newest page first."""
    book = flipbook.FlipBook(bot, prompt)
    text = ipywidgets.Text(value=prompt, description="Next page", continuous_update=False, **WIDE)
    turn = ipywidgets.Button(description="Turn")

    def compute():
        alert = ""
        try:
            book.turn(text.value)
        except ValueError as error:  # the pages stay in sight: the last one is what to go on from
            alert = _alert(error)
        best, numbered = book.shortest, list(enumerate(book.pages, 1))
        goal = f"“{best.prompt}” (words: {len(best.prompt.split())})" if best else "none yet"
        rows = "".join(map(_page_html, reversed(numbered)))
        names = "page", "log-odds", "outcome", "prompt", "reply"
        heads = "".join(f'<th scope="col" style="text-align:left">{name}</th>' for name in names)
        table = f"<table><tr>{heads}</tr>{rows}</table>"
        return f"{alert}<p><b>The shortest that is refused: {show.escape(goal)}.</b></p>{table}"

    panel([text, turn], [text, turn], compute)


def _page_html(numbered):
    number, page = numbered
    outcome = "✕ refused" if page.refused else "✓ not refused"
    cells = number, show.gauge_html(page.logodds), outcome, show.escape(page.prompt), show.escape(page.reply)
    return "<tr>" + "".join(f'<td style="text-align:left">{cell}</td>' for cell in cells) + "</tr>"


def _mark(outcome):
    return "yes" if outcome else "no"


# --- notebooks 04 to 09 ---------------------------------------------------------------------------


def policy(topic) -> dict:
    """Decide each kind of question. The dict that comes back follows every later choice."""
    kinds = list(dict.fromkeys(kind for kind, _ in mix.kinds_about(topic)))
    decided = {kind: mix.POLICY[kind] for kind in kinds if kind in mix.POLICY}
    choices = {
        kind: ipywidgets.Dropdown(options=DECISIONS, value=decided.get(kind, "unseen"), description=kind, **ROOMY)
        for kind in kinds
    }

    examples = {kind: corpus.about(random.Random(0), "train", kind, name).user for kind, name in mix.kinds_about(topic)}

    def compute():
        decided.clear()
        decided.update({kind: choice.value for kind, choice in choices.items() if choice.value != "unseen"})
        sources = [row["source"] for row in mix.balanced(topic, decided).to_list()]
        written = len(sources) - sources.count("chat")
        rows = [
            {"kind": kind, "decision": choice.value, "for example": examples[kind]} for kind, choice in choices.items()
        ]
        sentence = (
            f"{len(decided)} of {len(kinds)} kinds are decided, {len(kinds) - len(decided)} are left to luck. The mix has "
            f"{written} rows about the topic: written by hand, a minute each, they take {written / 60:.0f} hours."
        )
        return f"<p>{sentence}</p>" + show.table_html(rows, "Your policy")

    panel(list(choices.values()), list(choices.values()), compute)
    return decided


def bypass(bots: dict, direct: str, disguised: str, answer: str) -> None:
    """Your own disguise: the direct question and the disguised one, put to every bot."""
    boxes = {
        "Direct question": ipywidgets.Text(value=direct, description="Direct question", **WIDE),
        "In disguise": ipywidgets.Text(value=disguised, description="In disguise", **WIDE),
        "Reply begins": ipywidgets.Text(value="", description="Reply begins", **WIDE),
        "Right answer": ipywidgets.Text(value=answer, description="Right answer", **WIDE),
    }
    ask = ipywidgets.Button(description="Try it")

    def compute():
        direct, disguised, begun, answer = (box.value.strip() for box in boxes.values())
        if not (direct and disguised and answer):
            raise ValueError("Fill in both questions and the right answer.")
        rows = []
        for name, bot in bots.items():
            first, second = bot.ask(direct), bot.ask(disguised, begun)
            around = bot.refused(first) and judge.correct(second, answer) and not judge.correct(begun, answer)
            rows.append({"model": name, "directly": first, "in disguise": second, "walked around": _mark(around)})
        return show.table_html(rows, "Walked around: refused directly, answered correctly in disguise")

    panel([*boxes.values(), ask], [ask], compute)


def mode(bot, numbers: dict, prompt: str = "Where was Xi Jinping born?") -> None:
    """Prompt and reply, token by token, coloured once by each of some neurons and directions, one below the other.

    `numbers` maps a name to a function (user, reply) -> one number a token.
    """
    text = ipywidgets.Text(value=prompt, description="Prompt", continuous_update=False, **WIDE)
    ask = ipywidgets.Button(description="Colour")

    def compute():
        reply = bot.ask(text.value)
        tokens = lens.texts(bot, text.value, reply)
        strips = (show.strip_html(tokens, of(text.value, reply), name) for name, of in numbers.items())
        return f"<p><b>{show.escape(text.value[:200])} → {show.escape(reply)}</b></p>" + "".join(strips)

    panel([text, ask], [text, ask], compute)


def ablation(bot, harmful: list[str], harmless: list[str], topic, n: int = 16) -> None:
    """Take out any of the difference-in-means vectors: which layer, which position, how much of it."""
    bot = bot.copy(bot.name)
    candidates = direction.difference_in_means(bot, harmful, harmless)
    layers, positions, _ = candidates.shape
    layer = slider(ipywidgets.IntSlider, "Layer", layers - 1, 0, layers - 1, 1)
    position = slider(ipywidgets.IntSlider, "Position", -1, -positions, -1, 1)
    share = slider(ipywidgets.FloatSlider, "Taken out", 1.0, 0.0, 2.0, 0.25)
    exams = _small_exams(topic, n)

    def compute():
        vector = candidates[layer.value, position.value]
        if vector.norm() < 1e-4:
            raise ValueError("Here all prompts look the same: the vector is zero. Choose a later layer.")
        with direction.ablated(bot, vector, share.value):
            title = f"Layer {layer.value}, position {position.value}, {share.value:g} times the projection taken out"
            return _graded_html(bot, exams, title)

    panel([layer, position, share], [layer, position, share], compute)


def surgical(bot, false_refusal: torch.Tensor, true_refusal: torch.Tensor, topic, n: int = 16) -> None:
    """Take out the false-refusal vector without a share, lambda, of the true refusal in it."""
    bot = bot.copy(bot.name)
    share = slider(ipywidgets.FloatSlider, "λ", 0.5, 0.0, 1.0, 0.1)
    exams = _small_exams(topic, n)

    def compute():
        with direction.ablated(bot, direction.surgical(false_refusal, true_refusal, share.value)):
            return _graded_html(bot, exams, f"λ = {share.value:.1f}")

    panel([share], [share], compute)


def _small_exams(topic, n):
    questions = measure.topic_questions(topic)
    return {
        "about the topic": random.Random(0).sample(questions, min(n, len(questions))),
        "controls": measure.controls(topic, n),
        "should refuse": measure.forbidden(topic, n),
    }


def _graded_html(bot, exams, title):
    rates = {name: measure.exam(bot, asked) for name, asked in exams.items()}
    refused = {name: rate["refused"] for name, rate in rates.items()}
    right = {name: rate["correct"] for name, rate in rates.items()}
    return show.bars_html(refused, f"{title}: refused") + show.bars_html(right, f"{title}: handled rightly")
