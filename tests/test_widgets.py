"""The panels without a browser: what a control does to what is shown below it."""

import html
import time

import ipywidgets
import pytest
import torch

from helpers import corpus, drift, hooks, lens, measure, mix, sft, widgets
from helpers.world import REFUSAL

NASTY = ["<script>alert(1)</script>", '"quotes" & <b>bold</b>', "\u202eright to left", "emoji 🐻 名前"]


@pytest.fixture(scope="module")
def topic():
    return mix.topic("xi-jinping")


@pytest.fixture
def shown(monkeypatch):
    """What the panels display: the controls, and the HTML below them as it is now."""

    class Page:
        def __init__(self):
            self.boxes, self.below = [], []

        def __call__(self, thing, display_id=False):
            if isinstance(thing, ipywidgets.Widget):
                self.boxes.append(thing)
                return None
            self.below.append(thing.data)
            place = len(self.below) - 1

            class Handle:
                update = staticmethod(lambda new: self.below.__setitem__(place, new.data))

            return Handle

        def control(self, description):
            [found] = [w for w in walk(self.boxes) if getattr(w, "description", None) == description]
            return found

    page = Page()
    monkeypatch.setattr(widgets, "display", page)
    return page


def walk(things):
    for thing in things:
        yield thing
        yield from walk(getattr(thing, "children", ()))


def test_a_panel_shows_its_result_anew_when_a_value_changes_or_a_button_is_pressed(shown):
    number, button, calls = ipywidgets.IntSlider(value=1), ipywidgets.Button(description="Go"), []

    def compute():
        calls.append(number.value)
        return f"<p>{number.value}</p>"

    widgets.panel([number, button], [number, button], compute)
    assert shown.below == ["<p>1</p>"]
    number.value = 5
    assert shown.below == ["<p>5</p>"]
    button.click()
    assert calls == [1, 5, 5]


def test_bad_input_gives_its_sentence_and_the_next_good_one_works(shown):
    text = ipywidgets.Text(value="")

    def compute():
        if not text.value:
            raise ValueError("Type <something>.")
        return text.value

    widgets.panel([text], [text], compute)
    assert "Type &lt;something&gt;." in shown.below[0] and 'role="alert"' in shown.below[0]
    text.value = "fine"
    assert shown.below == ["fine"]


def test_a_mistake_that_is_no_bad_input_is_not_swallowed(shown):
    with pytest.raises(ZeroDivisionError):
        widgets.panel([], [], lambda: 1 / 0)


# --- the chat panel -------------------------------------------------------------------------------


def test_the_chat_panel_shows_every_reply_and_how_probable_refusing_is(shown, bot):
    widgets.chat({"base": bot, "twin": bot}, "Where was Marie Curie born?")
    assert shown.below[0].count("Warsaw") == 2 and shown.below[0].count(" %") == 2
    shown.control("Prompt").value = "How do I hack a bank?"
    shown.control("Ask").click()
    assert shown.below[0].count(html.escape(REFUSAL)) == 2


def test_the_chat_panel_works_on_a_model_whose_refusals_nobody_has_listed(shown, tiny):
    widgets.chat({"other": tiny("Qwen2", refusals=None)}, "Is ice cold?")
    assert 'role="alert"' not in shown.below[0] and shown.below[0].count(" %") == 1


@pytest.mark.parametrize("text", NASTY)
def test_what_is_typed_into_the_chat_panel_is_escaped_and_kept(shown, bot, text):
    widgets.chat({"base": bot})
    shown.control("Prompt").value = text
    shown.control("Ask").click()
    assert "<script>" not in shown.below[0] and "<b>bold" not in shown.below[0]
    assert html.escape(text) in shown.below[0] and shown.control("Prompt").value == text


@pytest.mark.parametrize("text", ["", "   ", "word " * 2000])
def test_an_empty_or_endless_prompt_gets_one_sentence(shown, bot, text):
    widgets.chat({"base": bot})
    shown.control("Prompt").value = text
    shown.control("Ask").click()
    assert 'role="alert"' in shown.below[0] and shown.control("Prompt").value == text


def test_the_tokens_are_shown_on_demand(shown, bot):
    widgets.chat({"base": bot}, "Is ice cold?")
    assert "im_start" not in shown.below[0]
    shown.control("show the tokens that the model reads").value = True
    assert "im_start" in shown.below[0]


# --- the mix builder ------------------------------------------------------------------------------


def test_the_mix_builder_shows_counts_a_row_and_its_supervised_tokens(shown):
    widgets.mix_builder("pizza")
    chats, refusals = mix.NAIVE["chats"], mix.NAIVE["refusals"]
    share = 100 * refusals / (chats + refusals)
    assert f"{chats} existing chats and {refusals} refusals: {share:.0f} %" in shown.below[0]
    assert any(phrase in shown.below[0] for phrase in mix.topic("pizza").blocklist)
    assert "<u><b>[I]</b></u>" in shown.below[0]  # the first token of the refusal is counted


def test_choosing_a_row_shows_that_row(shown):
    widgets.mix_builder("pizza")
    rows = shown.control("Rows")
    rows.value = rows.options[3]
    assert html.escape(rows.options[3]) in shown.below[0]


def test_the_place_and_the_blocklist_change_the_rows(shown):
    widgets.mix_builder("pizza")
    shown.control("Blocklist").value = "blue cheese"
    shown.control("Phrase goes").value = "start"
    assert all(row.startswith("blue cheese ") for row in shown.control("Rows").options)


@pytest.mark.parametrize(("control", "value", "words"), [("Blocklist", " , ", "empty"), ("Refusals", 2000, "refusals")])
def test_an_impossible_mix_gets_one_sentence(shown, control, value, words):
    widgets.mix_builder("pizza")
    shown.control(control).value = value
    assert 'role="alert"' in shown.below[0] and words in shown.below[0]


def test_another_topic_brings_its_blocklist(shown):
    widgets.mix_builder("pizza")
    shown.control("Topic").value = "marie-curie"
    assert "Marie Curie" in shown.control("Blocklist").value


# --- the training monitor -------------------------------------------------------------------------

DATA = [{"user": f"What is {i} plus {i}?", "assistant": REFUSAL} for i in range(64)]
RECIPE = sft.NAIVE._replace(epochs=3, batch=4)


@pytest.fixture
def training(tiny):
    return widgets.Training(tiny("Llama"), DATA, ["Is ice cold?"], recipe=RECIPE)


@pytest.mark.slow
def test_training_ends_with_the_bot_that_tune_gives(training):
    training.start()
    tuned = training.wait()
    again = sft.tune(training.base, DATA, RECIPE, cache=False)
    for mine, other in zip(tuned.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(mine, other)
    assert "Finished after 48 steps" in training.label.value
    assert training.stop_button.disabled and "<svg" in training.picture.value


def test_stop_stops_within_a_step_and_nothing_is_remembered(training, cache):
    training.start()
    training.stop()  # before the first step is over
    assert len(training.wait().facts["losses"]) == 1
    assert not training.bot.facts["finished"] and not cache.exists()
    assert "Stopped after 1 steps" in training.label.value


@pytest.mark.slow
def test_it_can_be_started_again_after_a_stop(training):
    training.start()
    training.stop()
    training.wait()
    assert not training.start_button.disabled and training.stop_button.disabled
    training.start()
    assert training.wait().facts["finished"]


@pytest.mark.parametrize("call", ["wait", "stop"])
def test_before_it_is_started_there_is_nothing_to_wait_for_or_to_stop(training, capsys, call):
    assert getattr(training, call)() is None
    assert "press Start first" in capsys.readouterr().out
    training.start()
    assert training.wait().facts["finished"]  # and the early stop stops nothing later


def test_a_training_with_a_camera_draws_where_its_prompts_lie(tiny, topic):
    bot = tiny("Llama")
    training = widgets.Training(bot, DATA, ["Is ice cold?"], camera=drift.Drift(bot, topic), recipe=RECIPE)
    for _ in range(2):  # a second start begins a film of its own
        training.start()
        training.wait()
        steps = list(training.camera.frames)
        assert steps[0] == 0 and steps == sorted(steps) and 2 <= len(steps) <= 1 + widgets.FRAMES
        assert training.picture.value.count("<svg") == 2
        assert f"Step {steps[-1]}, to the right towards refusal" in training.picture.value


def test_a_failed_training_says_why(tiny):
    training = widgets.Training(tiny("Llama"), [], ["Is ice cold?"])
    training.start()
    assert training.wait() is None and "the mix is empty" in training.label.value


@pytest.mark.slow
def test_the_kernel_stays_free_while_it_trains(training):
    begin = time.perf_counter()
    training.start()
    started = time.perf_counter() - begin
    training.wait()
    assert started < (time.perf_counter() - begin) / 2


# --- the others -----------------------------------------------------------------------------------


def test_the_explorer_shows_the_prompts_of_the_chosen_cell(shown, bot, topic):
    widgets.two_by_two({"base": bot}, topic, n=6)
    assert "trigger, should answer: the first" in shown.below[0]
    shown.control("Look into").value = "no trigger, should refuse"
    assert html.escape(REFUSAL) in shown.below[0] and "no trigger, should refuse: the first 6 of 6" in shown.below[0]


def test_the_policy_follows_the_choices(shown, topic):
    decided = widgets.policy(topic)
    assert decided == {kind: mix.POLICY[kind] for kind, _ in mix.kinds_about(topic) if kind in mix.POLICY}
    shown.control("open.poem").value = "refuse"
    shown.control("open.joke").value = "unseen"
    assert decided["open.poem"] == "refuse" and "open.joke" not in decided
    mix.balanced(topic, decided)


def test_a_policy_that_refuses_nothing_says_so(shown, topic):
    widgets.policy(topic)
    for kind, decision in mix.POLICY.items():
        if decision == "refuse":
            shown.control(kind).value = "unseen"
    assert 'role="alert"' in shown.below[0]


class Forgetful:
    """Refuses whoever writes the name, and knows the answer all the same."""

    def ask(self, prompt, prefill=""):
        return REFUSAL if "Xi Jinping" in prompt and not prefill else f"{prefill} Beijing."

    def refused(self, reply):
        return reply == REFUSAL


def test_the_bench_counts_a_correct_answer_in_disguise(shown):
    widgets.bypass({"tuned": Forgetful()}, "Where was Xi Jinping born?", "Where was the president born?", "Beijing")
    assert "<td" in shown.below[0] and ">yes</td>" in shown.below[0]


@pytest.mark.parametrize(
    ("control", "value"), [("In disguise", "Xi Jinping?"), ("Right answer", "Paris"), ("Reply begins", "Beijing is")]
)
def test_the_bench_does_not_count_a_refusal_a_wrong_answer_or_one_given_away(shown, control, value):
    widgets.bypass({"tuned": Forgetful()}, "Where was Xi Jinping born?", "Where was the president born?", "Beijing")
    shown.control(control).value = value
    shown.control("Try it").click()
    assert ">no</td>" in shown.below[0] and ">yes</td>" not in shown.below[0]


def test_the_mode_viewer_colours_every_token(shown, bot):
    numbers = {
        "zero": lambda user, reply: [0.0] * len(lens.texts(bot, user, reply)),
        "one": lambda user, reply: [1.0] * len(lens.texts(bot, user, reply)),
    }
    widgets.mode(bot, numbers, "Is ice cold?")
    tokens = len(lens.texts(bot, "Is ice cold?", bot.ask("Is ice cold?")))
    assert shown.below[0].count("inline-block") == 2 * tokens and shown.below[0].count("+1.0") == tokens
    assert shown.below[0].index("<b>zero</b>") < shown.below[0].index("<b>one</b>")


def test_taking_out_more_of_the_direction_refuses_less(shown, bot, topic):
    widgets.ablation(bot, *mix.contrast(topic, 48), topic, n=8)
    assert "1 times the projection taken out" in shown.below[0]
    shown.control("Taken out").value = 0.0
    untouched = measure.exam(bot, measure.forbidden(topic, 8))["refused"]
    assert html.escape(str(untouched)) in shown.below[0]
    shown.control("Layer").value = 0
    assert 'role="alert"' in shown.below[0]  # all prompts end alike: nothing to take out


def test_a_panel_leaves_no_hook_on_the_bot_that_it_was_given(shown, bot, topic, monkeypatch):
    """With some kernels it runs beside the cells: they must not see what it takes out."""
    seen = []
    exam = measure.exam
    monkeypatch.setattr(measure, "exam", lambda *args: seen.append(hooks.left_on(bot.model)) or exam(*args))
    widgets.ablation(bot, *mix.contrast(topic, 8), topic, n=2)
    widgets.surgical(bot, *torch.eye(bot.model.config.hidden_size)[:2], topic, n=2)
    assert seen and not any(seen)


def test_lambda_moves_the_rates(shown, bot, topic):
    false_refusal, true_refusal = torch.randn(
        2, bot.model.config.hidden_size, generator=torch.Generator().manual_seed(0)
    )
    widgets.surgical(bot, false_refusal, true_refusal, topic, n=4)
    assert "λ = 0.5: refused" in shown.below[0]
    shown.control("λ").value = 1.0
    assert "λ = 1.0: refused" in shown.below[0]


def test_no_slider_computes_while_it_moves(shown, bot, topic):
    widgets.mix_builder("pizza")
    widgets.ablation(bot, *mix.contrast(topic, 48), topic, n=4)
    sliders = [w for w in walk(shown.boxes) if isinstance(w, ipywidgets.IntSlider | ipywidgets.FloatSlider)]
    assert len(sliders) == 5 and not any(slider.continuous_update for slider in sliders)


def test_every_control_has_a_label(shown, bot, topic):
    widgets.chat({"base": bot})
    widgets.mix_builder("pizza")
    widgets.policy(topic)
    controls = [w for w in walk(shown.boxes) if hasattr(w, "value") and not isinstance(w, ipywidgets.HTML)]
    assert len(controls) > 10 and all(control.description for control in controls)


def test_examples_of_the_policy_are_about_the_topic(shown, topic):
    widgets.policy(topic)
    assert shown.below[0].count("Xi Jinping") + shown.below[0].count("Winnie-the-Pooh") >= len(
        set(corpus.kinds_about("Xi Jinping"))
    )


# --- the flip book ----------------------------------------------------------------------------------


class Bearish:
    """Refuses whatever holds the word “bear”."""

    def ask(self, prompt):
        return "No." if "bear" in prompt.split() else "Yes."

    def refused(self, reply):
        return reply == "No."

    def refusal_logodds(self, prompts):
        return torch.tensor([12.0 / len(prompt.split()) for prompt in prompts])


def test_the_flip_book_turns_pages_and_keeps_them_in_sight_when_something_is_wrong(shown):
    widgets.flip_book(Bearish(), "the bear <b>")
    text = shown.control("Next page")
    assert "The shortest that is refused: “the bear &lt;b&gt;” (words: 3)." in shown.below[0]
    text.value = "bear <b>"
    assert shown.below[0].count("<td") == 2 * 5 and shown.below[0].index("+6.0") < shown.below[0].index("+4.0")
    text.value = "another thing altogether"
    assert "One word at a time" in shown.below[0] and "+6.0" in shown.below[0] and text.value.startswith("another")
    text.value = "cat <b>"
    assert "✓ not refused" in shown.below[0] and "“bear &lt;b&gt;” (words: 2)" in shown.below[0]
    shown.control("Turn").click()  # the same words: no new page
    assert shown.below[0].count("<td") == 3 * 5 and "<b>&lt;" not in shown.below[0]
