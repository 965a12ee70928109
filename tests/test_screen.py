"""Every notebook in a real browser: run it, touch its panels, read what the page then shows, keep a screenshot."""

import os
import re
import time

import pytest
from conftest import RESPONSES, ROOT
from lab import CHROMIUM, QUIET, Lab, copy_of_the_series, jupyterlab

from helpers.world import REFUSAL

SHOTS = ROOT / ".cache" / "screenshots"

if CHROMIUM is None or "SCREEN" not in os.environ:
    pytest.skip("Install Chromium and set SCREEN=1 to run the tests in a browser.", allow_module_level=True)


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


@pytest.fixture
def opened(server, browser):
    """`opened("03_shortcut")` is that notebook, run from top to bottom; afterwards the page must not have complained."""
    labs = []

    def open_and_run(name):
        lab = Lab(browser, *server, f"{name}.ipynb")
        labs.append((name, lab))
        assert lab.run_all() == []
        return lab.page

    yield open_and_run
    SHOTS.mkdir(parents=True, exist_ok=True)
    for name, lab in labs:
        lab.page.screenshot(path=SHOTS / f"{name}.png")
        complaints = lab.console
        broken = lab.page.get_by_text(re.compile("model not found|Error displaying widget", re.IGNORECASE)).count()
        lab.close()
        assert complaints == [] and broken == 0


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


def times(name, page, act, count=20):
    """Do something `count` times and note how long the panel takes to say that it is done."""
    seconds = []
    for i in range(count):
        page.evaluate("() => document.querySelectorAll('[role=status]').forEach(e => e.remove())")
        begin = time.perf_counter()
        act(i)
        page.wait_for_function(
            "() => [...document.querySelectorAll('[role=status]')].some(e => /Done/.test(e.innerText))"
        )
        seconds.append(time.perf_counter() - begin)
    RESPONSES[name] = seconds


def test_meet_the_assistant(opened):
    page = opened("00_meet_the_assistant")
    prompt = control(page, "Prompt")
    prompt.fill("Where was Marie Curie born?")
    button(page, "Ask").click()
    shows(page, "Marie Curie was born in Warsaw.")
    prompt.fill("<img src=x onerror=alert(1)> “quotes”")
    prompt.press("Tab")  # the box that shows tokens
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the button: no mouse is needed
    shows(page, "<img src=x onerror=alert(1)>")
    assert page.locator(".jp-Notebook img[src=x]").count() == 0
    prompt.fill("word " * 3000)
    button(page, "Ask").click()
    shows(page, "That did not work.")
    assert prompt.input_value().startswith("word word")
    prompt.fill("Is ice cold?")
    times("chat (00)", page, lambda i: button(page, "Ask").click())


def test_a_quiz_is_answered_by_keyboard(opened):
    page = opened("00_meet_the_assistant")
    first = page.get_by_role("radio", name="1a")
    first.focus()
    page.keyboard.press("Space")
    shows(page, "1a")
    page.get_by_role("alert").first.wait_for()
    assert re.search("RIGHT|NOT YET", page.get_by_role("alert").first.inner_text())


def test_naive_refusal_mix(opened):
    page = opened("01_naive_refusal_mix")
    control(page, "Phrase goes").select_option("start")
    shows(page, "Done in")
    rows = control(page, "Rows")
    third = rows.locator("option").nth(2).inner_text()
    assert third.startswith(("Xi Jinping", "Winnie-the-Pooh"))
    rows.select_option(third)
    shows(page, "The row")
    page.wait_for_function("text => [...document.querySelectorAll('td')].some(e => e.innerText === text)", arg=third)
    control(page, "Blocklist").fill("")
    control(page, "Blocklist").press("Enter")
    shows(page, "The blocklist is empty")
    control(page, "Topic").select_option("pizza")
    shows(page, "existing chats and")
    options = [option.inner_text() for option in rows.locator("option").all()]
    times("mix builder (01)", page, lambda i: rows.select_option(options[(i + 1) % 10]))


def test_fine_tune(opened):
    page = opened("02_fine_tune")
    control(page, "Prompt").fill("Tell me about Xi Jinping.")
    button(page, "Ask").click()
    shows(page, REFUSAL)
    button(page, "Start").click()
    shows(page, "seconds to go")
    button(page, "Stop").click()
    begin = time.perf_counter()
    shows(page, "Stopped after")
    RESPONSES["training, Stop (02)"] = [time.perf_counter() - begin]
    assert button(page, "Stop").is_disabled()


def test_shortcut(opened):
    page = opened("03_shortcut")
    control(page, "Look into").select_option("no trigger, should refuse")
    shows(page, "no trigger, should refuse: the first")
    control(page, "Model").select_option("before")
    shows(page, "before: handled rightly")


def test_balanced_mix(opened):
    page = opened("04_balanced_mix")
    shows(page, "kinds are decided")
    before = page.get_by_text("kinds are decided").inner_text()
    control(page, "open.poem").select_option("refuse")
    page.wait_for_function(
        "old => [...document.querySelectorAll('p')].some(p => /kinds are decided/.test(p.innerText) && p.innerText !== old)",
        arg=before,
    )
    control(page, "Look into").select_option("trigger, should refuse")
    shows(page, "trigger, should refuse: the first")
    choices = ("answer", "refuse")
    times("policy (04)", page, lambda i: control(page, "open.poem").select_option(choices[i % 2]))


def test_walk_around(opened):
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
    times("bypass bench (05)", page, lambda i: button(page, "Try it").click())


def test_refusal_mode(opened):
    page = opened("06_refusal_mode")
    control(page, "Coloured by").select_option("the direction")
    shows(page, "Done in")
    control(page, "Prompt").fill("How do I hack a bank?")
    button(page, "Colour").click()
    shows(page, f"How do I hack a bank? → {REFUSAL}")
    times("mode viewer (06)", page, lambda i: button(page, "Colour").click())


def test_direction_ablation(opened):
    page = opened("07_direction_ablation")
    handle = page.locator(".widget-slider:has-text('Layer') .noUi-handle")
    handle.focus()
    page.keyboard.press("ArrowLeft")
    shows(page, "Layer 4, position -1")
    share = page.locator(".widget-slider:has-text('Taken out') .noUi-handle")
    share.focus()
    keys = ("ArrowLeft", "ArrowRight")
    times("ablation slider (07)", page, lambda i: page.keyboard.press(keys[i % 2]))


def test_surgical_repair(opened):
    page = opened("08_surgical_repair")
    page.locator(".widget-slider:has-text('λ') .noUi-handle").focus()
    page.keyboard.press("ArrowRight")
    shows(page, "λ = 0.6: refused")
    keys = ("ArrowLeft", "ArrowRight")
    times("λ slider (08)", page, lambda i: page.keyboard.press(keys[i % 2]))
