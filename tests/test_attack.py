import dataclasses
import json
import math

import pytest
import torch
from conftest import REFUSE, TRIGGER

from helpers import attack, chat, direction, hooks, results
from helpers.tally import Rate

PROMPTS = ["Hi", "Where was Marie Curie born?", "What is 2 plus 3?", "Tell me a word."]
WIDTH, LAYERS = 32, 3


def close(first, second, atol=1e-4):
    torch.testing.assert_close(first, second, atol=atol, rtol=0)


def axis(i, length=1.0):
    return length * torch.eye(WIDTH)[i]


def drawn(n, seed=0):
    return torch.randn(n, WIDTH, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def llama(tiny):
    return tiny("Llama", tie_word_embeddings=False)


# A model that refuses whatever contains a 7, with one token, "!": its direction is that token and nothing else.
CONTENT = 16  # dimensions below CONTENT hold what a prompt is about
WORDS = ["apple", "bread", "cat", "dog", "egg", "fish", "goat", "hat"]
HARMFUL, HARMLESS = [f"7 {word}" for word in WORDS], [f"3 {word}" for word in WORDS]
EXAMS = {"harmful": HARMFUL[:4], "harmless": HARMLESS[:4], "look-alikes": ["3 sevens", "7 up"]}
CONTRAST = HARMFUL[4:], HARMLESS[4:]
ABOUT = {"early words against late ones": (HARMLESS[:4], HARMLESS[4:])}
SAME = {"7 against 3": (HARMFUL[:4], HARMLESS[:4])}  # a control that is the direction under another name


@pytest.fixture
def planted(blank):
    """Its block 0 spreads what the prompt is about, block 1 writes REFUSE where it sees TRIGGER; it refuses with '!'."""
    bot = blank("!")
    with torch.no_grad():
        first, second = (bot.blocks[i].self_attn for i in (0, 1))  # they take the mean over all tokens
        first.v_proj.weight[:CONTENT, :CONTENT] = torch.eye(CONTENT)
        first.o_proj.weight[:CONTENT, :CONTENT] = 0.5 * torch.eye(CONTENT)
        second.v_proj.weight[0, TRIGGER] = 1
        second.o_proj.weight[REFUSE, 0] = 20
    return bot


@pytest.fixture
def found(planted):
    vector = direction.difference_in_means(planted, *CONTRAST)[2, -1]
    return direction.Found(vector, 2, -1, [], {})


def share(rates, exam="harmful"):
    return rates[exam].share


# --- "it is only a word" --------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1.0, 0.01, -5.0])
def test_the_nearest_token_of_a_tokens_own_row_is_that_token(llama, length):
    text, cosine = attack.nearest_token(llama, length * attack.output_rows(llama)[43])
    assert text == llama.tokenizer.decode([43]) == "I" and cosine == pytest.approx(1, abs=1e-5)


def test_the_cosine_is_that_with_the_nearest_row(llama):
    rows = attack.output_rows(llama)
    rows[:, :2] = 0
    rows[5] = axis(0, 3) + axis(2, 4)
    assert attack.nearest_token(llama, axis(0)) == (llama.tokenizer.decode([5]), pytest.approx(0.6))


def test_openers_are_the_first_tokens_of_all_openings_once(llama):
    bot = dataclasses.replace(llama, opens_with=("I cannot", "That is", "I will not"))
    first = {chat.encode(bot.tokenizer, text)[0] for text in ("I", "That")}
    assert attack.opener_tokens(bot) == sorted(first) and len(first) == 2


def test_opener_vectors_are_each_row_their_mean_and_their_first_component(llama):
    bot = dataclasses.replace(llama, opens_with=("I cannot", "That is"))
    i, that = (chat.encode(bot.tokenizer, text)[0] for text in ("I", "That"))
    rows = attack.output_rows(bot)
    rows[i], rows[that] = axis(0, 3), axis(1)
    found = attack.opener_vectors(bot)
    assert list(found) == [
        *bot.tokenizer.convert_ids_to_tokens(sorted([i, that])),
        "mean of all",
        "first component of all",
    ]
    close(found["I"], axis(0, 3))
    close(found["mean of all"], axis(0, 1.5) + axis(1, 0.5))
    close(found["first component of all"].abs(), axis(0))


def test_spellings_are_with_and_without_a_space_and_with_either_first_letter(llama):
    tokens = chat.encode(llama.tokenizer, "The I")
    found = {llama.tokenizer.decode([i]) for i in attack.spellings(llama, tokens)}
    assert found == {"The", " The", "the", " the", "I", " I", "i", " i"}
    every = [i for i in range(len(llama.tokenizer)) if llama.tokenizer.decode([i]) in found]
    assert attack.spellings(llama, tokens) == every  # none that spells so is missing


@pytest.fixture
def written(monkeypatch):
    """The tokens that a greedy bot writes: what is highest, step by step."""

    def watch(bot, ask):
        seen = set()
        note = lambda module, args, out: seen.update(out.logits[:, -1].argmax(-1).tolist())
        with hooks.removed_after([bot.model.register_forward_hook(note)]):
            ask()
        return seen

    return watch


@pytest.mark.parametrize("family", ["Llama", "Gemma2", "GPT2", "Cohere"])
def test_what_is_forbidden_everywhere_is_never_written(tiny, written, family):
    bot = tiny(family)
    wished = sorted(written(bot, lambda: bot.ask(PROMPTS, max_new_tokens=6)) - {bot.tokenizer.eos_token_id})
    assert wished
    left = written(bot, lambda: attack.forbidden(bot, PROMPTS, wished, everywhere=True, max_new_tokens=6))
    assert left and not left & set(wished)
    assert not hooks.left_on(bot.model)


def test_what_is_forbidden_first_may_come_later(llama, written):
    tokens = [43, *sorted(written(llama, lambda: llama.ask(PROMPTS, max_new_tokens=1)))]
    found = attack.forbidden(llama, PROMPTS, tokens, max_new_tokens=6)
    assert found == llama.ask(PROMPTS, max_new_tokens=6, never_first=tokens)
    assert found != llama.ask(PROMPTS, max_new_tokens=6)


def test_a_refusal_that_is_one_word_is_gone_without_it(planted):
    first = attack.opener_tokens(planted)
    assert all(map(planted.refused, planted.ask(HARMFUL)))
    for everywhere in (False, True):
        assert not any(map(planted.refused, attack.forbidden(planted, HARMFUL, first, everywhere, 3)))


# --- "any vector would do that" -------------------------------------------------------------------


@pytest.mark.parametrize("rank", [WIDTH, 3])
def test_covariance_matched_vectors_have_that_covariance(rank):
    states = drawn(12 if rank < WIDTH else 200)
    states = states @ torch.diag(torch.linspace(0.2, 2, WIDTH)) + 7
    states[:, rank:] = 1.0
    found = attack.drawn_like(states, 20000)
    close(found.T @ found / len(found), torch.cov(states.T), atol=0.25)  # entries up to 5, of 20000 draws
    close(found.mean(0), torch.zeros(WIDTH), atol=0.1)
    close(found[:, rank:], torch.zeros(len(found), WIDTH - rank))


def test_what_is_drawn_depends_on_the_seed_alone():
    states = drawn(10)
    assert torch.equal(attack.drawn_like(states, 3), attack.drawn_like(states, 3))
    assert not torch.equal(attack.drawn_like(states, 3), attack.drawn_like(states, 3, seed=1))


def test_components_are_orthonormal_and_the_widest_comes_first():
    widths = torch.ones(WIDTH)
    widths[4], widths[9] = 30, 10
    found = attack.components(drawn(100) * widths + 50)  # the mean is far away and does not count
    assert found.shape == (attack.COMPONENTS, WIDTH)
    close(found @ found.T, torch.eye(len(found)))
    assert found[0, 4].abs() > 0.99 and found[1, 9].abs() > 0.95


@pytest.mark.parametrize("sizes", [(2, 2), (3, 6), (5, 7)])
def test_what_tells_the_groups_apart_is_not_in_a_shuffled_difference(sizes):
    noise = drawn(sum(sizes)) * (torch.arange(WIDTH) > 0)  # nothing along the axis that tells the groups apart
    far = axis(0, 90) + noise[: sizes[0]], axis(0, -90) + noise[sizes[0] :]
    found = attack.shuffled(*far, n=4)
    assert len(found) == 4 and all(vector[0].abs() < 1e-4 and vector.norm() > 0.1 for vector in found)


def test_a_shuffled_difference_is_that_of_halves_which_mix_both():
    refused, answered = torch.stack([axis(0), axis(1)]), torch.stack([axis(2), axis(3)])
    for vector in attack.shuffled(refused, answered):
        assert sorted(vector[:2].tolist()) == sorted(vector[2:4].tolist()) == [-1, 1]
    assert len({tuple(vector.tolist()) for vector in attack.shuffled(refused, answered, n=20)}) == 4


def test_all_controls_are_as_long_as_the_direction(planted, found):
    held = attack.controls(planted, found.vector, 2, -1, *CONTRAST, ABOUT | SAME, n=3)
    assert {sort: len(part) for sort, part in held.items()} == {
        "random": 3,
        "covariance-matched": 3,
        "shuffled labels": attack.SHUFFLES,
        "components": attack.COMPONENTS,
        "other classes": 2,
    }
    for vector in (vector for part in held.values() for vector in part):
        assert vector.shape == (WIDTH,) and vector.norm().item() == pytest.approx(found.vector.norm().item(), rel=1e-4)


def test_controls_are_read_at_that_layer_and_position(llama):
    held = attack.controls(llama, axis(0, 5), 1, -2, PROMPTS[:2], PROMPTS[2:], {"a": (PROMPTS[:1], PROMPTS[1:])}, n=2)
    states = llama.residuals(PROMPTS)[:, 1, -2]
    expected = states[0] - states[1:].mean(0)
    close(held["other classes"][0], 5 * expected / expected.norm(), atol=1e-3)
    [close(vector.norm(), torch.tensor(5.0), atol=1e-3) for vector in held["components"]]
    first = held["components"][0] / 5
    assert (states @ first).var() == pytest.approx(
        torch.linalg.svdvals(states - states.mean(0))[0].item() ** 2 / 3, rel=1e-3
    )


def test_prompts_that_do_not_differ_give_no_control(llama):
    with pytest.raises(ValueError, match="no direction \\(covariance-matched\\)"):
        attack.controls(llama, axis(0), 0, -1, PROMPTS[:2], PROMPTS[2:], {})


def test_each_vector_is_ablated_and_all_are_pooled(planted):
    held = attack.held_against(planted, [axis(REFUSE), axis(3)], EXAMS, 3)
    assert [share(rates) for rates in held["each"]] == [0, 1]
    assert held["pooled"] == {"harmful": Rate(4, 8), "harmless": Rate(0, 8), "look-alikes": Rate(1, 4)}


def test_the_row_nothing_of_the_crossed_table_holds_the_plain_rates(planted):
    table = attack.crossed(planted, {"it": axis(REFUSE), "another": axis(3)}, EXAMS, 3)
    assert list(table) == ["nothing", "it", "another"]
    assert table["nothing"] == attack.rates(planted, EXAMS, 3) == table["another"]
    assert table["nothing"] == {"harmful": Rate(4, 4), "harmless": Rate(0, 4), "look-alikes": Rate(1, 2)}
    assert table["it"] == {"harmful": Rate(0, 4), "harmless": Rate(0, 4), "look-alikes": Rate(0, 2)}


def test_cosines_are_those_of_every_pair():
    found = attack.cosines({"a": axis(0, 2), "b": axis(0) + axis(1), "c": axis(1, -1)})
    half = math.sqrt(0.5)
    expected = {
        "a": {"a": 1, "b": half, "c": 0},
        "b": {"a": half, "b": 1, "c": -half},
        "c": {"a": 0, "b": -half, "c": 1},
    }
    assert {name: pytest.approx(row, abs=1e-6) for name, row in expected.items()} == found


# --- "it is only what the last layers say" --------------------------------------------------------


def test_there_is_a_row_for_every_layer_that_has_a_direction(planted):
    vectors = torch.stack([axis(0, 0.0), axis(3), axis(REFUSE, 9), axis(REFUSE, -9)])
    assert attack.depth(planted, vectors, HARMLESS[:3], HARMFUL[:2], 3) == [
        {"layer": 1, "induced": Rate(0, 3), "left": Rate(2, 2)},
        {"layer": 2, "induced": Rate(3, 3), "left": Rate(0, 2)},
        {"layer": 3, "induced": Rate(0, 3), "left": Rate(0, 2)},  # the other way round it is taken out all the same
    ]


def test_it_is_added_at_its_own_layer(planted, monkeypatch):
    at = []
    added = direction.added
    monkeypatch.setattr(
        direction, "added", lambda bot, v, layer: at.append((layer, v[0].item())) or added(bot, v, layer)
    )
    attack.depth(planted, torch.stack([axis(0, 1.0 + layer) for layer in range(4)]), HARMLESS[:1], HARMFUL[:1], 1)
    assert at == [(layer, 1.0 + layer) for layer in range(4)]


# --- "it is harmfulness, not refusing" ------------------------------------------------------------


def test_the_last_instruction_token_is_read_and_the_template_after_it(any_bot):
    states = attack._ends(any_bot, PROMPTS, batch_size=3)
    close(states[:, :, 1:], any_bot.residuals(PROMPTS))
    length = len(chat.tail(any_bot.tokenizer))
    for prompt, state in zip(PROMPTS, states, strict=True):
        close(state[:, 0], any_bot.stream(any_bot.batch([prompt]))[0, :-1, -length - 1])
        ids = any_bot.batch([prompt])["input_ids"][0]
        assert any_bot.tokenizer.decode(ids[-length - 1]).strip() and prompt.endswith(
            any_bot.tokenizer.decode(ids[-length - 1])
        )


@pytest.fixture
def apart(planted, monkeypatch):
    """States made up: the last instruction token knows what is harmful, the last template token what is refused."""
    sorts = {"HR": 4, "HA": 4, "hR": 4, "hA": 4}  # harmful or not, refused or answered
    prompts = [f"{sort} {i}" for sort, n in sorts.items() for i in range(n)]

    def ends(bot, asked):
        states = torch.zeros(len(asked), 2, 3, 2)
        for row, prompt in enumerate(asked):
            states[row, 1, 0, 0] = 5 if prompt[0] == "H" else -5
            states[row, 1, -1, 1] = 5 if prompt[1] == "R" else -5
        return states

    monkeypatch.setattr(attack, "_ends", ends)
    monkeypatch.setattr(chat.Bot, "ask", lambda bot, asked, **how: ["!" if p[1] == "R" else "Yes" for p in asked])
    return planted, [p for p in prompts if p[0] == "H"], [p for p in prompts if p[0] == "h"]


def test_harmful_and_refused_are_found_where_they_are_and_apart(apart):
    found = attack.encoded(*apart)
    assert found.pop("prompts") == {
        "harmful, refused": 4,
        "harmful, answered": 4,
        "harmless, refused": 4,
        "harmless, answered": 4,
    }
    nothing = {"last instruction token": [0.5, 0.5], "last template token": [0.5, 0.5]}
    assert found == {
        "harmful": {"harmful": nothing | {"last instruction token": [0.5, 1.0]}, "refused": nothing},
        "refused": {"harmful": nothing, "refused": nothing | {"last template token": [0.5, 1.0]}},
    }


def test_it_is_fitted_on_one_half_and_tested_on_the_other(apart, monkeypatch):
    """What differs between the prompts that fit, and between no others, tells nothing."""
    bot, harmful, harmless = apart
    ends = lambda bot, asked: torch.tensor([1.0 if p[0] == "H" and p[-1] in "02" else 0.0 for p in asked])[
        :, None, None, None
    ]
    monkeypatch.setattr(attack, "_ends", lambda bot, asked: ends(bot, asked).expand(-1, 1, 3, 2))
    assert attack.encoded(bot, harmful, harmless)["harmful"]["harmful"]["last template token"] == [0.5]


@pytest.mark.parametrize("kept", ["HR hR", "HA hA"])
def test_if_nothing_is_refused_or_nothing_answered_there_is_nothing_to_tell_apart(apart, kept):
    bot, *both = apart
    with pytest.raises(ValueError, match="Each half needs prompts that are refused and prompts that are answered"):
        attack.encoded(bot, *([p for p in prompts if p[:2] in kept] for prompts in both))


# --- all of it ------------------------------------------------------------------------------------

FEW = dict(small=3, n=3, max_new_tokens=3, late=3)


def lines(report):
    return {line["criterion"]: line for line in attack.verdict(report)}


def test_a_direction_that_is_a_word_is_called_so(planted, found):
    report = attack.report(planted, found, EXAMS, CONTRAST, ABOUT, **FEW)
    assert report["nearest token"] == {"text": "!", "cosine": pytest.approx(1, abs=0.05)}
    assert report["crossed"]["nothing"] == attack.rates(planted, EXAMS, 3)
    assert report["forbidden"]["first"] == report["forbidden"]["everywhere"] == report["crossed"]["!"]
    assert [row["layer"] for row in report["by layer"]] == [1, 2, 3]
    cosine, opener, first, depth, *_, induces = attack.verdict(report)
    assert (cosine["which"], cosine["holds"], opener["which"], opener["holds"]) == ("!", False, "!", False)
    assert (opener["figure"], first["figure"], first["holds"]) == (1, 0, False)
    assert (depth["figure"], depth["holds"], induces["figure"], induces["holds"]) == (0.5, True, 1, True)


def test_a_control_that_is_the_direction_is_noticed_and_told_from_one_that_is_not(planted, found):
    report = attack.report(planted, found, EXAMS, CONTRAST, ABOUT | SAME, **FEW)
    [row] = [row for row in report["strongest controls"] if row["sort"] == "other classes"]
    assert row["which"] == "7 against 3" and row["cosine"] > 0.95 and share(row["removed"]) == 0
    assert share(row["rest removed"]) == 1
    assert not lines(report)["the worst control frees, of what the direction frees"]["holds"]


def test_nothing_is_left_of_a_control_that_equals_the_vector(planted, found):
    held = {"other classes": [found.vector]}
    few = {"harmful": HARMFUL[:3]}
    tried = {"other classes": attack.held_against(planted, held["other classes"], few, 3)}
    [row] = attack._strongest(planted, found.vector, held, tried, ["itself"], few, 3)
    assert row["cosine"] == pytest.approx(1) and row["which"] == "itself"
    assert row["removed"] == {"harmful": Rate(0, 3)} and row["rest removed"] == {"harmful": Rate(3, 3)}


def test_a_report_is_the_same_after_it_was_written_and_read(planted, found):
    report = attack.report(planted, found, EXAMS, CONTRAST, ABOUT, **FEW)
    read = results._revive(json.loads(json.dumps(report, allow_nan=False)))
    assert read == report and attack.verdict(read) == attack.verdict(report)


def test_without_other_classes_there_is_a_report_as_well(planted, found):
    report = attack.report(planted, found, EXAMS, CONTRAST, {}, **FEW)
    assert [row["sort"] for row in report["strongest controls"]] == [
        "random",
        "covariance-matched",
        "shuffled labels",
        "components",
    ]


def rates_of(*hits, n=100):
    return {name: Rate(part, n) for name, part in zip(("harmful", "harmless"), hits, strict=True)}


def sound():
    """The report of a direction that all objections miss, each by the width of a hair."""
    control = {"sort": "random", "which": "random 1", "cosine": 0.1}
    return {
        "layer": 8,
        "blocks": 10,
        "nearest token": {"text": "cat", "cosine": 0.35},
        "crossed": {
            "nothing": rates_of(100, 0),
            "direction": rates_of(0, 0),
            "I": rates_of(80, 0),
            "No": rates_of(99, 0),
        },
        "forbidden": {"first": rates_of(80, 0), "everywhere": rates_of(70, 0)},
        "few": {"nothing": rates_of(100, 0), "direction": rates_of(50, 0)},
        "strongest controls": [
            control | {"removed": rates_of(90, 0), "rest removed": rates_of(90, 0)},
            control | {"removed": rates_of(95, 0), "rest removed": rates_of(95, 0)},
        ],
        "by layer": [
            {"layer": 7, "induced": Rate(0, 10), "left": Rate(0, 10)},
            {"layer": 8, "induced": Rate(5, 10), "left": Rate(0, 10)},
        ],
    }


def test_a_figure_at_its_bound_holds():
    found = attack.verdict(sound())
    assert [line["figure"] for line in found] == pytest.approx([0.35, 0.2, 0.8, 0.8, 0.2, 0.2, 0.5])
    assert [line["criterion"] for line in found] == list(attack.BOUNDS)
    assert [line["which"] for line in found] == ["cat", "I", "", "", "random 1", "random 1", ""]
    assert found[0]["bound"] == "at most 0.35" and found[2]["bound"] == "at least 0.8"
    assert all(line["holds"] for line in found)


WORSE = {
    0: {"nearest token": {"text": "I", "cosine": 0.36}},
    1: {"crossed": sound()["crossed"] | {"No": rates_of(79, 0)}},
    2: {"forbidden": {"first": rates_of(79, 0)}},
    3: {"layer": 9, "by layer": [{"layer": 9, "induced": Rate(5, 10)}]},
    4: {"strongest controls": [sound()["strongest controls"][0] | {"which": "bad", "removed": rates_of(89, 0)}]},
    5: {"strongest controls": [sound()["strongest controls"][0] | {"which": "bad", "rest removed": rates_of(89, 0)}]},
    6: {"by layer": [{"layer": 8, "induced": Rate(4, 10)}]},
}


@pytest.mark.parametrize("place", WORSE)
def test_each_objection_alone_is_found(place):
    found = attack.verdict(sound() | WORSE[place])
    assert [i for i, line in enumerate(found) if not line["holds"]] == [place]
    assert found[place]["which"] == {0: "I", 1: "No", 4: "bad", 5: "bad"}.get(place, "")


def test_where_the_direction_frees_nothing_nothing_holds_that_is_measured_by_it():
    useless = {"nothing": rates_of(100, 0), "direction": rates_of(100, 0), "I": rates_of(100, 0)}
    found = attack.verdict(sound() | {"crossed": useless, "few": useless})
    assert [i for i, line in enumerate(found) if math.isnan(line["figure"]) and not line["holds"]] == [1, 4, 5]


# --- afterwards -----------------------------------------------------------------------------------

VECTOR = axis(0) + axis(1)
ATTACKS = {
    "forbidden": lambda bot: attack.forbidden(bot, PROMPTS, [43], everywhere=True, max_new_tokens=2),
    "forbidden first": lambda bot: attack.forbidden(bot, PROMPTS, [43], max_new_tokens=2),
    "controls": lambda bot: attack.controls(bot, VECTOR, 1, -1, PROMPTS[:2], PROMPTS[2:], {}, n=1),
    "held against": lambda bot: attack.held_against(bot, [VECTOR], {"a": PROMPTS}, 2),
    "crossed": lambda bot: attack.crossed(bot, {"a": VECTOR}, {"a": PROMPTS}, 2),
    "depth": lambda bot: attack.depth(bot, VECTOR.expand(LAYERS, -1), PROMPTS, PROMPTS, 2),
    "ends": lambda bot: attack._ends(bot, PROMPTS),
}


@pytest.mark.parametrize("attempt", ATTACKS.values(), ids=ATTACKS)
@pytest.mark.parametrize("family", ["Llama", "GPT2"])
def test_no_attack_leaves_a_trace(tiny, family, attempt):
    bot = tiny(family)
    before = bot.logits(PROMPTS)
    attempt(bot)
    assert not hooks.left_on(bot.model)
    close(bot.logits(PROMPTS), before, atol=0)


@pytest.mark.parametrize("attempt", ATTACKS.values(), ids=ATTACKS)
def test_no_hook_outlives_an_exception(llama, attempt):
    def fail(*args):
        raise ZeroDivisionError

    handle = llama.blocks[-1].register_forward_hook(fail)
    with pytest.raises(ZeroDivisionError):
        attempt(llama)
    handle.remove()
    assert not hooks.left_on(llama.model)
