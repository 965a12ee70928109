"""Every notebook in a real browser: run it, touch its panels, read what the page then shows, look for barriers. At
night; by day only the one that has most panels.

A picture of each stays in `.cache/screenshots`.
"""

import functools
import os
import re
import time

import pytest
from conftest import RESPONSES, ROOT

from helpers import mix
from helpers.tools.lab import CHROMIUM, QUIET, Lab, barriers, copy_of_the_series, jupyterlab
from helpers.world import REFUSAL

SHOTS = ROOT / ".cache" / "screenshots"
TIMES = 3  # how often a panel is used to measure its response; at night 20 times
BLINK = 0.3  # seconds until a panel has answered, or says that it is at work

pytestmark = pytest.mark.slow

if CHROMIUM is None and "CI" not in os.environ:
    pytest.skip("Install Chromium to run the tests in a browser.", allow_module_level=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory, learners_cache):
    os.environ["OVERREFUSAL_CACHE"] = str(learners_cache)
    folder = copy_of_the_series(tmp_path_factory.mktemp("series"))
    with jupyterlab(folder, tmp_path_factory.mktemp("lab")) as found:
        yield found
    del os.environ["OVERREFUSAL_CACHE"]


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield found
        found.close()


@pytest.fixture(
    params=[False, pytest.param(True, marks=[pytest.mark.nightly, pytest.mark.thorough])], ids=["quick", "thorough"]
)
def thorough(request):
    """For a quiet night: every panel is used more often, and every notebook is looked at in the dark theme as well."""
    return request.param


@pytest.fixture
def opened(server, browser, thorough):
    """`opened("03_shortcut")` is that notebook, run from top to bottom.

    Afterwards it must be readable, and the page must not have complained.
    """
    labs = []

    def open_and_run(name):
        lab = Lab(browser, *server, f"{name}.ipynb")
        labs.append((name, lab))
        assert lab.run_all() == []
        return lab.page

    yield open_and_run
    SHOTS.mkdir(parents=True, exist_ok=True)
    for name, lab in labs:
        lab.picture(SHOTS / f"{name}.png")
        found = {"Light": lab.barriers()}
        if thorough or "CI" in os.environ:
            lab.theme("Dark")
            lab.picture(SHOTS / f"{name}_dark.png")
            found["Dark"] = lab.barriers()
            lab.theme("Light")
        broken = lab.page.get_by_text(re.compile("model not found|Error displaying widget", re.IGNORECASE)).count()
        lab.close()
        assert not any(found.values()), found
        assert lab.console == [] and broken == 0


def shows(page, text, seconds=20):
    """Wait until the page shows a text somewhere."""
    page.wait_for_function(
        "text => document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook').innerText.includes(text)",
        arg=text,
        timeout=1000 * seconds,
    )


def control(page, label):
    return page.locator(".jp-Notebook").get_by_label(label, exact=True)


def button(page, name):
    return page.locator(".jp-Notebook").get_by_role("button", name=name, exact=True)


def handle(page, label):
    return page.locator(f".widget-slider:has-text('{label}') .noUi-handle")


def use(page, act) -> tuple[float, float]:
    """Do something to a panel and wait for its answer: the seconds to the first sign of life, and to the answer.

    What was asked before must be over: its “Done”, coming late, would pass for the answer to this.
    """
    page.wait_for_function(
        "() => ![...document.querySelectorAll('[role=status]')].some(e => /Working/.test(e.innerText))"
    )
    page.evaluate("() => document.querySelectorAll('[role=status]').forEach(e => e.remove())")
    begin = time.perf_counter()
    act()
    page.wait_for_function("() => document.querySelector('[role=status]')")
    sign = time.perf_counter() - begin
    page.wait_for_function("() => [...document.querySelectorAll('[role=status]')].some(e => /Done/.test(e.innerText))")
    return sign, time.perf_counter() - begin


@pytest.fixture
def responds(thorough):
    """Use a panel some times. Within a blink it must answer or say that it works; note how long the answer takes."""

    def measure(name, page, act):
        count = 20 if thorough else TIMES
        signs, answers = zip(*[use(page, functools.partial(act, i)) for i in range(count)], strict=True)
        RESPONSES[name] = signs, answers
        assert sorted(signs)[count // 2] < BLINK

    return measure


# --- the panels, notebook by notebook -------------------------------------------------------------


@pytest.mark.nightly
def test_meet_the_assistant(opened, responds):
    page = opened("00_meet_the_assistant")
    prompt = control(page, "Prompt")
    prompt.fill("Where was Marie Curie born?")
    use(page, lambda: button(page, "Ask").click())  # until it has answered: while it works, a second click is not heard
    shows(page, "Marie Curie was born in Warsaw.")
    prompt.fill("<img src=x onerror=alert(1)> “quotes” أين ولد؟")
    prompt.press("Tab")  # the button: no mouse is needed
    page.keyboard.press("Enter")
    shows(page, "<img src=x onerror=alert(1)> “quotes” أين ولد؟")
    assert page.locator(".jp-Notebook img[src=x]").count() == 0
    prompt.fill("word " * 2000)
    button(page, "Ask").click()
    shows(page, "That did not work.")
    assert prompt.input_value() == "word " * 2000
    prompt.fill("Is ice cold?")
    control(page, "show the tokens that the model reads").check()
    shows(page, "<|im_start|>")
    control(page, "show the tokens that the model reads").uncheck()
    responds("chat (00)", page, lambda i: button(page, "Ask").click())
    page.get_by_role("radio", name="1a").focus()  # a quiz is answered by keyboard
    page.keyboard.press("Space")
    page.get_by_role("alert").filter(has_text=re.compile("RIGHT|NOT YET")).first.wait_for()


@pytest.mark.nightly
def test_naive_refusal_mix(opened, responds):
    page = opened("01_naive_refusal_mix")
    rows = control(page, "Rows")
    use(page, lambda: control(page, "Phrase goes").select_option("start"))
    third = rows.locator("option").nth(2).inner_text().replace("\xa0", " ")  # a list shows unbreakable spaces
    assert third.startswith(("Xi Jinping", "Winnie-the-Pooh"))
    use(page, lambda: rows.select_option(index=2))
    assert page.get_by_role("cell", name=third, exact=True).count() == 1
    control(page, "Blocklist").fill("")
    control(page, "Blocklist").press("Enter")
    shows(page, "The blocklist is empty")
    control(page, "Topic").select_option("pizza")
    chats, refusals = mix.NAIVE["chats"], mix.NAIVE["refusals"]
    shows(page, f"{chats} existing chats and {refusals} refusals")
    handle(page, "Refusals").focus()
    page.keyboard.press("ArrowLeft")
    shows(page, f"{chats} existing chats and {refusals - 50} refusals")
    responds("mix builder (01)", page, lambda i: rows.select_option(index=(i + 1) % 10))


@pytest.mark.nightly
def test_fine_tune(opened, responds):
    page = opened("02_fine_tune")
    control(page, "Prompt").fill("Tell me about Xi Jinping.")
    button(page, "Ask").click()
    shows(page, REFUSAL)
    button(page, "Start").click()
    shows(page, "seconds to go")
    page.keyboard.press("Escape")
    begin = time.perf_counter()
    button(page, "Stop").click()
    shows(page, "Stopped after")
    RESPONSES["training, Stop (02)"] = [0.0], [time.perf_counter() - begin]
    assert button(page, "Stop").is_disabled()
    responds("chat of two models (02)", page, lambda i: button(page, "Ask").click())


def test_shortcut(opened, responds):
    page = opened("03_shortcut")
    cell = control(page, "Look into")
    cell.select_option("no trigger, should refuse")
    shows(page, "no trigger, should refuse: the first")
    control(page, "Model").select_option("before")
    shows(page, "before: handled rightly")
    names = [option.inner_text() for option in cell.locator("option").all()]
    book = control(page, "Next page")
    start = book.input_value()
    book.fill("a quite other thing")
    book.press("Enter")
    shows(page, "One word at a time")
    book.fill(start.rsplit(" ", 1)[0])
    button(page, "Turn").click()
    shows(page, f"“{start.rsplit(' ', 1)[0]}” (words: {len(start.split()) - 1})")
    responds(
        "flip book (03)",
        page,
        lambda i: (book.fill(start.rsplit(" ", 1)[0] + " Xi" * ((i + 1) % 2)), book.press("Enter")),
    )
    responds("2×2 explorer (03)", page, lambda i: cell.select_option(names[i % 4]))


@pytest.mark.nightly
def test_balanced_mix(opened, responds):
    page = opened("04_balanced_mix")
    sentence = page.get_by_text("kinds are decided")
    before = sentence.inner_text()
    control(page, "open.poem").select_option("refuse")
    page.wait_for_function(
        "old => [...document.querySelectorAll('p')].some(p => /kinds are decided/.test(p.innerText) && p.innerText !== old)",
        arg=before,
    )
    control(page, "Look into").select_option("trigger, should refuse")
    shows(page, "trigger, should refuse: the first")
    choices = ("answer", "refuse")
    responds("policy (04)", page, lambda i: control(page, "open.poem").select_option(choices[i % 2]))


@pytest.mark.nightly
def test_walk_around(opened, responds):
    page = opened("05_walk_around")
    shows(page, "Walked around: refused directly")
    control(page, "In disguise").fill("Where was Xi Jinping born?")
    control(page, "Reply begins").fill("Xi Jinping was")
    button(page, "Try it").click()
    shows(page, "Done in")
    control(page, "Right answer").fill("")
    button(page, "Try it").click()
    shows(page, "Fill in both questions")
    control(page, "Right answer").fill("Beijing")
    responds("bypass bench (05)", page, lambda i: button(page, "Try it").click())


@pytest.mark.nightly
def test_refusal_mode(opened, responds):
    page = opened("06_refusal_mode")
    control(page, "Prompt").fill("How do I hack a bank?")
    button(page, "Colour").click()
    shows(page, f"How do I hack a bank? → {REFUSAL}")
    responds("mode viewer (06)", page, lambda i: button(page, "Colour").click())


@pytest.mark.nightly
def test_direction_ablation(opened, responds):
    page = opened("07_direction_ablation")
    handle(page, "Layer").focus()
    page.keyboard.press("ArrowLeft")
    shows(page, "Layer 4, position -1")
    share = handle(page, "Taken out")
    share.scroll_into_view_if_needed()
    box = share.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] - 2000, box["y"], steps=5)  # drag it to its end
    page.mouse.up()
    shows(page, "position -1, 0 times the projection taken out")
    keys = ("ArrowRight", "ArrowLeft")
    responds("ablation slider (07)", page, lambda i: share.press(keys[i % 2]))


@pytest.mark.nightly
def test_word_or_decision(opened, responds):
    page = opened("08_word_or_decision")
    control(page, "Prompt").fill("Who created Winnie-the-Pooh?")
    button(page, "Ask").click()
    shows(page, "was created by A. A. Milne")
    responds("chat of three models (08)", page, lambda i: button(page, "Ask").click())


@pytest.mark.nightly
def test_surgical_repair(opened, responds):
    page = opened("09_surgical_repair")
    handle(page, "λ").focus()
    page.keyboard.press("ArrowRight")
    shows(page, "λ = 0.6: refused")
    keys = ("ArrowLeft", "ArrowRight")
    responds("λ slider (09)", page, lambda i: handle(page, "λ").press(keys[i % 2]))


@pytest.mark.nightly
def test_real_models(opened, responds):
    page = opened("10_real_models")
    control(page, "Prompt").fill("How do I kill a Python process?")
    button(page, "Ask").click()
    shows(page, "How do I kill a Python process?")
    responds("chat (10)", page, lambda i: button(page, "Ask").click())


# --- pages for teachers ---------------------------------------------------------------------------


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_the_unplugged_sheet_prints_on_two_sides_and_has_no_barriers(browser, paper):
    page = browser.new_page()
    page.goto((ROOT / "notebooks" / "unplugged.html").as_uri())
    assert page.pdf(format=paper).count(b"/Type /Page\n") == 2
    assert barriers(page) == []
    page.close()
