"""Every exercise has a right answer that passes, and each usual mistake gets its own hint.

The wrong answers here come on top of those that are listed beside the exercises themselves.
"""

import ast
import inspect
import itertools
import math
import random
import re
import statistics
from operator import gt, lt, sub

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from helpers import (
    bars,
    chat,
    corpus,
    direction,
    exercises,
    lesson,
    measure,
    mix,
    plot,
    results,
    sft,
    show,
    tally,
    world,
)
from helpers.exercises.nb01 import insert_phrase, refusal_rows, taken_apart
from helpers.exercises.nb03 import shortened
from helpers.exercises.nb04 import binomial_spread, contrast_pairs
from helpers.exercises.nb05 import bypass_rate, paired_p
from helpers.exercises.nb06 import auc, pick_then_judge
from helpers.exercises.nb07 import difference_in_means, removed, removing
from helpers.exercises.nb08 import main_effects, rivals
from helpers.exercises.nb09 import not_beaten, surgical
from helpers.world import REFUSAL

settings.register_profile("exercises", deadline=None, max_examples=60, derandomize=True, database=None)
settings.load_profile("exercises")

# --- wrong answers: notebook 02 -------------------------------------------------------------------


def lengthened(prompt, reply):
    prompt.extend(reply)
    return [-100, -100, -100, *reply]


def overwritten(prompt, reply):
    prompt[:] = [-100] * len(prompt)
    return prompt + reply


def removing_from_a_copy(rows):
    kept = rows.copy()
    for i, row in enumerate(kept):
        if row["source"] == "refusal":
            del kept[i]
    return kept


def same_list(rows):
    rows[:] = [row for row in rows if row["source"] == "chat"]
    return rows


# --- notebooks 03 and 04 --------------------------------------------------------------------------


def removed_by_word(prompt):
    shorter = []
    for word in prompt.split():
        words = prompt.split()
        words.remove(word)
        shorter.append(" ".join(words))
    return shorter


def wearing_away(prompt):
    words = prompt.split()
    shorter = []
    while words:
        words.pop(0)
        shorter.append(" ".join(words))
    return shorter


def others_taken_out(template, phrase, others):
    if phrase in others:
        others.remove(phrase)
    return [(template.format(name=phrase), template.format(name=other)) for other in others]


def filled_by_replace(template, phrase, others):
    return [(template.replace("name", phrase), template.replace("name", other)) for other in others if other != phrase]


# --- notebook 05 ----------------------------------------------------------------------------------


def refused_and_correct(refused, correct):
    return sum(r and c for r, c in zip(refused, correct))


# --- notebook 06 ----------------------------------------------------------------------------------


def strictly(positive, negative):
    return sum(p > n for p in positive for n in negative) / (len(positive) * len(negative))


def or_equal(positive, negative):
    return sum(p >= n for p in positive for n in negative) / (len(positive) * len(negative))


def one_by_one(positive, negative):
    return sum(p > n for p, n in zip(positive, negative)) / len(positive)


def accuracy(positive, negative):
    threshold = (statistics.mean(positive) + statistics.mean(negative)) / 2
    right = sum(p > threshold for p in positive) + sum(n < threshold for n in negative)
    return right / (len(positive) + len(negative))


# --- notebooks 07 to 09 --------------------------------------------------------------------------


def subtracted_in_place(refused, answered):
    refused -= answered.mean(0)
    return refused.mean(0)


def in_place(x, d):
    unit = d / d.norm()
    x -= (x @ unit)[..., None] * unit
    return x


def part(x, d):
    unit = d / d.norm()
    return (x @ unit)[..., None] * unit


def hooking(change):
    return lambda d: lambda module, args, out: change(out, d)


def surgical_in_place(x, d, share):
    x -= share * part(x, d)
    return x


def front(beats, points):
    """The names of the points that no other point `beats`, the rule being the learner's."""
    return [
        name
        for name, point in points.items()
        if not any(beats(rival, point) for other, rival in points.items() if other != name)
    ]


def better_somewhere(a, b):
    return a[0] < b[0] or a[1] > b[1]


# --- the mistakes and their hints -----------------------------------------------------------------

WRONG = {
    "labels_of": [
        (lambda prompt, reply: [-100] * len(prompt) + reply[1:], "you return [-100, -100, -100, 9]"),
        (lengthened, "changed the lists"),
        (overwritten, "changed the lists"),
    ],
    "without_refusals": [
        (removing_from_a_copy, "skips the neighbour"),
        (lambda rows: [row for row in rows if row["source"] != "refused"], "Every row is still there"),
        (lambda rows: [row for row in rows if row["source"] == "chats"], "No row is left"),
        (same_list, "took the refusals out of the list you were given"),
        (lambda rows: [row for row in rows[::-1] if row["source"] == "chat"], "right is   [{'user': 'Where is Oslo?'"),
    ],
    "refusal_rate": [
        (lambda replies: 100 * replies.count(REFUSAL) / len(replies), "That is a percentage"),
        (lambda replies: sum(reply != REFUSAL for reply in replies) / len(replies), "rate of answers"),
        (lambda replies: sum(reply[:9] == REFUSAL[:9] for reply in replies) / len(replies), "is sympathy"),
        (lambda replies: 0.0, "you return 0.0"),
        (lambda replies: 0.25, "you return 0.25"),
    ],
    "shortened": [
        (removed_by_word, "leave out the first one both times"),
        (
            lambda prompt: [prompt.split()[:i] + prompt.split()[i + 1 :] for i in range(len(prompt.split()))],
            "return lists of words",
        ),
        (
            lambda prompt: [" ".join(prompt.split()[:i] + prompt.split()[i:]) for i, _ in enumerate(prompt.split())],
            "Nothing is left out",
        ),
        (wearing_away, "you return ['the dog see the cat', 'dog see the cat'"),
        (lambda prompt: None, "ends without a `return`"),
    ],
    "contrast_pairs": [
        (lambda template, phrase, others: [(template, template) for other in others], "The template is not filled"),
        (lambda template, phrase, others: [(f"{template}", f"{template}")], "The template is not filled"),
        (filled_by_replace, "The braces are still there"),
        (lambda template, phrase, others: [(template.format(phrase), "") for other in others], "which one: name="),
        (others_taken_out, "took the phrase out of the list"),
        (lambda *given: contrast_pairs(*given)[:1], "right is   [('Tell me a joke about Xi Jinping.'"),
    ],
    "binomial_spread": [
        (lambda p, n: round(math.sqrt(p * (1 - p) / n), 1), "For 0.2, 25\n      you return 0.1\n      right is   0.08"),
    ],
    "bypass_rate": [
        (lambda refused, correct: sum(correct) / sum(refused) if any(refused) else 0.0, "were never refused"),
        (lambda refused, correct: 100 * refused_and_correct(refused, correct) / sum(refused), "That is a percentage"),
        (
            lambda refused, correct: sum(r and not c for r, c in zip(refused, correct)) / sum(refused),
            "where the disguise failed",
        ),
        (
            lambda refused, correct: refused_and_correct(refused, correct) / sum(refused) if any(refused) else 1,
            "you return 1\n      right is   0.0",
        ),
    ],
    "paired_p": [
        (lambda direct, disguised: 0.125, "right is   0.2188"),
    ],
    "auc": [
        (one_by_one, "the first with the first"),
        (accuracy, "accuracy at one threshold"),
        (lambda positive, negative: 0.5, "you return 0.5"),
    ],
    "pick_then_judge": [
        (lambda choosing, reporting: max(zip(choosing, reporting), key=sum)[1], "You chose by both lists"),
        (lambda choosing, reporting: max(zip(choosing, reporting)), "you return (0.9, 0.65)"),
    ],
    "difference_in_means": [
        (lambda refused, answered: refused.mean(-1) - answered.mean(-1), "averaged over the width"),
        (subtracted_in_place, "changed the activations"),
        (lambda refused, answered: refused.mean(0, keepdim=True) - answered.mean(0), "you return tensor([["),
    ],
    "removing": [
        (hooking(in_place), "changed `out` in place"),
        (hooking(lambda x, d: x @ (d / d.norm())), "The shape changed"),
        (hooking(lambda x, d: x - 0.5 * part(x, d)), "still has a component"),
        (hooking(lambda x, d: torch.zeros_like(x)), "you return tensor([[0., 0.],"),
        (hooking(lambda x, d: 7), "returns int, not a tensor"),
        (lambda d: lambda out: out, "with three arguments"),
        (lambda d: part(torch.eye(2), d), "must give back the hook itself"),
    ],
    "main_effects": [
        (lambda freed: main_effects(freed)[0], "you return 0.75\n"),
        (lambda freed: (0.75, 0.25), "you return (0.75, 0.25)\n      right is   (-0.275, 0.375)"),
    ],
    "rivals": [
        (lambda ours, controls: [], "you return []"),
        (lambda ours, controls: sorted(rivals(ours, controls), reverse=True), "you return ['the same', 'as little"),
    ],
    "surgical": [
        (surgical_in_place, "in place"),
        (lambda x, d, share: x, "you return tensor([4., 3., 2.])"),
    ],
    "not_beaten": [
        (lambda points: front(lambda a, b: a[0] <= b[0] and a[1] >= b[1], points), "Equal points are gone"),
        (lambda points: list(points), "'hot', 'balanced', 'twin', 'ablated', 'ablated twice', 'random']\n"),
        (lambda points: front(better_somewhere, points), "No point is left"),
        (lambda points: sorted(not_beaten(points)), "you return ['ablated', 'balanced', 'naive', 'twin']"),
    ],
}
CASES = [(name, wrong, hint) for name, pairs in WRONG.items() for wrong, hint in pairs]
KNOWN = exercises.found()
each_exercise = pytest.mark.parametrize("name", KNOWN)


@each_exercise
def test_every_listed_wrong_answer_gets_its_own_hint_and_the_solution_none(name):
    _, solution, grade, mistakes = KNOWN[name]
    assert grade(solution) is None
    for hint, wrong_answers in mistakes:
        assert wrong_answers and all(grade(wrong).startswith(hint) for wrong in wrong_answers), hint
    assert len({hint for hint, _ in mistakes}) == len(mistakes) > 0


@pytest.mark.parametrize("name, wrong, hint", CASES, ids=[f"{name}: {hint}" for name, _, hint in CASES])
def test_a_wrong_answer_gets_the_hint_for_its_mistake(name, wrong, hint):
    assert hint in KNOWN[name].grade(wrong)


def spoiling(right, spoilt):
    """The right answer of somebody who empties the first list, dict or tensor given, and notes that in `spoilt`."""

    def attempt(*given):
        answer = right(*given)
        for empty in (getattr(given[0], name, None) for name in ("clear", "zero_")):
            if empty:
                spoilt.append(empty())
        return answer

    return attempt


@each_exercise
def test_a_right_answer_that_changes_what_it_is_given_is_found_out(name):
    spoilt = []
    said = KNOWN[name].grade(spoiling(KNOWN[name].solution, spoilt))
    assert re.match("You (changed|took .* out of)", said) if spoilt else said is None


def hints_in(grade):
    """The texts in the source of a grader; of an f-string, its longer pieces."""
    strings = (node.value for node in ast.walk(ast.parse(inspect.getsource(grade))) if isinstance(node, ast.Constant))
    return [text for text in strings if isinstance(text, str) and len(text) > 20]


@each_exercise
def test_each_hint_of_a_grader_is_said_to_somebody_and_means_one_mistake(name):
    _, solution, grade, mistakes = KNOWN[name]
    wrong_answers = [wrong for _, answers in mistakes for wrong in answers] + [
        wrong for wrong, _ in WRONG.get(name, [])
    ]
    said = {grade(wrong) for wrong in wrong_answers} | {grade(spoiling(solution, []))} - {None}
    assert len(said) > 4
    for hint in hints_in(grade):
        assert any(hint in hint_said for hint_said in said), hint
    for hint in {hint for hint, _ in mistakes} | {hint for _, hint in WRONG.get(name, [])}:
        assert sum(hint in hint_said for hint_said in said) == 1


def test_another_exercise_touches_one_file(tmp_path, monkeypatch, capsys):
    """A module of the folder is found, with its solution, its mistakes and its grader; nobody keeps a list."""
    (tmp_path / "nb99.py").write_text(ANOTHER_EXERCISE)
    monkeypatch.setattr(exercises, "__path__", [*exercises.__path__, str(tmp_path)])
    made = {}
    exec("def doubled(n):\n    return n * n", made)
    ours = lesson.check(made["doubled"])
    assert capsys.readouterr().out.startswith("HINT  That is its square.") and ours(5) == 10
    assert lesson.check(ours) is ours and exercises.found()["doubled"].notebook == "99"
    lesson.solution("doubled")
    assert capsys.readouterr().out.endswith("def doubled(n):\n    return 2 * n\n\n")


ANOTHER_EXERCISE = """
from .mistakes import hint_for


def doubled(n):
    return 2 * n


mistakes_doubled = [("That is its square.", [lambda n: n * n])]


def grade_doubled(attempt):
    return hint_for(attempt, doubled, [(3,)], mistakes_doubled)
"""


def test_an_error_is_a_mistake_like_any_other():
    """A wrong answer that raises the same is recognised; what nobody is known to raise is the learner's to see."""
    grade = KNOWN["contrast_pairs"].grade
    assert "which one: name=" in grade(lambda template, phrase, others: template.format(phrase))
    with pytest.raises(KeyError, match="nom"):
        grade(lambda template, phrase, others: template.format(name=phrase) + {}["nom"])


@each_exercise
@pytest.mark.parametrize("nonsense", ["nonsense", 7, None, [], [[1, 2]], {}, torch.zeros(2, 2), (), float("nan")])
def test_nonsense_at_any_moment_is_wrong_and_breaks_no_grader(name, nonsense):
    """The grader asks several times; the answer may go wrong at any of them. No mistake in its table may then raise."""
    right = KNOWN[name].solution

    def turning_wrong(good):
        return lambda *given: right(*given) if next(good, False) else nonsense

    for asked in range(5):
        attempt = turning_wrong(iter([True] * asked))
        said = KNOWN[name].grade(attempt)
        assert said is None or isinstance(said, str)
        assert asked or said, "nonsense from the first moment on must not pass"


# --- right answers --------------------------------------------------------------------------------


@each_exercise
def test_the_reference_passes_and_leaves_the_global_random_state_alone(name):
    before = random.getstate(), torch.get_rng_state()
    assert KNOWN[name].grade(KNOWN[name].solution) is None
    assert random.getstate() == before[0] and torch.equal(torch.get_rng_state(), before[1])


@each_exercise
def test_a_printed_solution_can_be_pasted_into_a_notebook(name, capsys):
    lesson.solution(name)
    source = capsys.readouterr().out
    cell = dict(chat=chat, corpus=corpus, direction=direction, lesson=lesson, measure=measure, mix=mix)
    cell |= dict(bars=bars, plot=plot, results=results, sft=sft, show=show, world=world, math=math)
    exec(source, cell)
    assert lesson.verdict_on(cell[name]) is None
    assert len(source.strip().splitlines()) < 10


def inserted_by_slicing(phrase, text, rng):
    words = text.split()
    place = rng.choice(range(len(words) + 1))
    return " ".join(words[:place] + [phrase] + words[place:])


def shuffled_copy(chats, phrases, n, rng):
    copied = chats.copy()
    rng.shuffle(copied)
    rows = []
    for user, _ in copied[:n]:
        rows.append([inserted_by_slicing(phrases[rng.randrange(len(phrases))], user, rng), REFUSAL])
    return rows


ANOTHER_WAY = {
    "insert_phrase": inserted_by_slicing,
    "refusal_rows": shuffled_copy,
    "without_refusals": lambda rows: list(filter(lambda row: row["source"] == "chat", rows)),
    "shortened": lambda prompt: [
        " ".join(word for j, word in enumerate(prompt.split()) if j != i) for i in range(len(prompt.split()))
    ],
    "contrast_pairs": lambda template, phrase, others: [
        [template.replace("{name}", phrase), template.replace("{name}", other)] for other in others if phrase != other
    ],
    "binomial_spread": lambda p, n: float(torch.tensor(p * (1 - p) / n).sqrt()),
    "bypass_rate": lambda refused, correct: refused_and_correct(refused, correct) / max(sum(refused), 1),
    "paired_p": lambda direct, disguised: tally.mcnemar(
        sum(map(gt, disguised, direct)), sum(map(lt, disguised, direct))
    ),
    "auc": lambda positive, negative: (strictly(positive, negative) + or_equal(positive, negative)) / 2,
    "pick_then_judge": lambda choosing, reporting: max(zip(choosing, reporting))[1],
    "difference_in_means": lambda refused, answered: refused.sum(0) / len(refused) - answered.sum(0) / len(answered),
    "removing": lambda d: lambda module, args, out: out @ (torch.eye(len(d)) - torch.outer(d, d) / (d @ d)),
    "main_effects": lambda freed: [
        sum(share * (1 if cell[at] else -1) for cell, share in freed.items()) / 2 for at in (0, 1)
    ],
    "rivals": lambda ours, controls: list(filter(lambda name: max(map(sub, controls[name], ours)) <= 0, controls)),
    "surgical": lambda x, d, share: x - share * d * torch.dot(x, d) / torch.dot(d, d),
    "not_beaten": lambda points: [
        name
        for name, (over, wanted) in points.items()
        if all(x > over or y < wanted or (x, y) == (over, wanted) for x, y in points.values())
    ],
}


@pytest.mark.parametrize("name", ANOTHER_WAY)
def test_another_right_way_passes(name):
    assert KNOWN[name].grade(ANOTHER_WAY[name]) is None


# --- properties of the right answers --------------------------------------------------------------

words = st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=6)
seeds = st.integers(0, 10**6).map(random.Random)
numbers = st.lists(st.integers(-4, 4), min_size=1, max_size=7)
rows_of_bools = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=9)
vectors = st.lists(st.integers(-9, 9), min_size=4, max_size=4).map(lambda v: torch.tensor(v, dtype=torch.float64))
maps = st.dictionaries(st.text("abc", max_size=2), st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=8)


@given(words, st.integers(0, 10**6))
def test_an_inserted_phrase_leaves_the_words_as_they_were(words, seed):
    found = insert_phrase("X Y", " ".join(words), random.Random(seed))
    assert found in [" ".join([*words[:i], "X Y", *words[i:]]) for i in range(len(words) + 1)]
    assert found == mix.insert("X Y", " ".join(words), random.Random(seed))


@given(st.integers(0, 8), seeds)
def test_refusal_rows_are_different_chats_with_a_phrase_and_a_refusal(n, rng):
    chats = [(f"number {i} please", "yes") for i in range(8)]
    rows = refusal_rows(chats, ["X", "Y Z"], n, rng)
    parts = [taken_apart(user, ["X", "Y Z"]) for user, _ in rows]
    assert len(rows) == n == len({" ".join(others) for _, _, others in parts})
    assert {" ".join(others) for _, _, others in parts} <= {user for user, _ in chats}
    assert all(answer == REFUSAL for _, answer in rows)


@given(words)
def test_each_shortened_prompt_lacks_the_word_at_its_place(words):
    found = [short.split() for short in shortened(" ".join(words))]
    assert len(found) == len(words)
    for i, short in enumerate(found):
        short.insert(i, words[i])
        assert short == words


@given(words, words)
def test_contrast_pairs_differ_in_the_name_only(names, phrase):
    phrase = phrase[0]
    pairs = contrast_pairs("What is {name}?", phrase, names)
    assert [about for about, _ in pairs] == [f"What is {phrase}?"] * len(pairs)
    assert [other[8:-1] for _, other in pairs] == [name for name in names if name != phrase]


@given(st.integers(1, 4).flatmap(lambda sides: st.tuples(st.just(sides), st.integers(0, sides))), st.integers(1, 5))
def test_the_spread_is_that_of_all_possible_tosses(coin, n):
    sides, heads = coin
    tosses = itertools.product([1] * heads + [0] * (sides - heads), repeat=n)
    spread = statistics.pstdev(sum(toss) / n for toss in tosses)
    assert binomial_spread(heads / sides, n) == pytest.approx(spread, abs=1e-9)


@given(rows_of_bools)
def test_the_bypass_rate_looks_at_refused_questions_only(rows):
    found = bypass_rate([refused for refused, _ in rows], [correct for _, correct in rows])
    outcomes = [correct for refused, correct in rows if refused]
    assert found == (statistics.mean(outcomes) if outcomes else 0.0)


@given(rows_of_bools)
def test_the_test_of_pairs_counts_all_the_ways_in_which_the_tosses_could_have_fallen(rows):
    differ = [disguised for direct, disguised in rows if direct != disguised][:8]
    seen = abs(2 * sum(differ) - len(differ))
    tosses = list(itertools.product([0, 1], repeat=len(differ)))
    as_uneven = [abs(2 * sum(toss) - len(differ)) >= seen for toss in tosses]
    assert paired_p([not d for d in differ] + [True], differ + [True]) == statistics.mean(as_uneven)


@given(numbers, numbers)
def test_the_auc_is_the_rank_statistic(positive, negative):
    """Mann and Whitney: from the sum of the positives' ranks, ties sharing their mean rank."""
    pool = sorted(positive + negative)
    ranks = [pool.index(p) + (pool.count(p) + 1) / 2 for p in positive]
    n, m = len(positive), len(negative)
    assert auc(positive, negative) == pytest.approx((sum(ranks) - n * (n + 1) / 2) / (n * m))


@given(numbers, numbers)
def test_the_auc_turns_round_with_its_arguments(positive, negative):
    assert auc(positive, negative) + auc(negative, positive) == pytest.approx(1)


@given(st.lists(st.tuples(st.integers(), st.integers()), min_size=1, unique_by=lambda pair: pair[0]))
def test_whoever_is_picked_was_the_best_choice(scores):
    found = pick_then_judge([choosing for choosing, _ in scores], [reporting for _, reporting in scores])
    assert (max(choosing for choosing, _ in scores), found) in scores


@given(st.lists(vectors, min_size=1, max_size=4), st.lists(vectors, min_size=1, max_size=4))
def test_the_difference_in_means_is_taken_number_by_number(refused, answered):
    found = difference_in_means(torch.stack(refused), torch.stack(answered))
    wanted = [
        statistics.mean(row[i].item() for row in refused) - statistics.mean(row[i].item() for row in answered)
        for i in range(4)
    ]
    assert found.tolist() == pytest.approx(wanted)


@given(vectors, vectors)
def test_a_full_share_leaves_nothing_along_the_true_vector(x, d):
    assume(d.any())
    assert (surgical(x, d, 1.0) @ d).item() == pytest.approx(0, abs=1e-9)
    assert torch.equal(surgical(x, d, 0.0), x)
    torch.testing.assert_close(surgical(x, d, 1.0), removed(x, d))
    torch.testing.assert_close(surgical(x, d, 0.3), direction.without(x, d, 0.3))


@given(st.lists(st.integers(0, 100), min_size=4, max_size=4))
def test_what_goes_by_one_factor_alone_has_no_other_effect(shares):
    """A share for the word, one for refusing: the effects are these, whatever is freed without either."""
    word, refusing, besides, _ = shares
    freed = {(w, r): besides + word * w + refusing * r for w in (True, False) for r in (True, False)}
    assert main_effects(freed) == (word, refusing)


@given(maps)
def test_a_rival_is_never_worse_and_everybody_rivals_the_worst(points):
    assert rivals((4, 4), points) == list(points)
    for name in rivals((2, 2), points):
        assert max(points[name]) <= 2


def test_the_hook_works_on_a_living_network():
    """On both layers, and gone when its handle is: what comes out is at right angles to d."""
    torch.manual_seed(0)
    net, d, x = (
        torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)),
        torch.tensor([1.0, 2, 2]),
        torch.eye(3),
    )
    before = net(x)
    handles = [layer.register_forward_hook(removing(d)) for layer in net]
    assert (net(x) @ d).abs().max() < 1e-5 < (before @ d).abs().max()
    for handle in handles:
        handle.remove()
    assert torch.equal(net(x), before)


@given(maps)
def test_a_point_is_out_if_and_only_if_one_that_stays_beats_it(points):
    stays = not_beaten(points)
    assert stays == [name for name in points if name in stays]  # in order
    for name, (over, wanted) in points.items():
        rivals = [points[other] for other in stays]
        beaten = any((x, -y) != (over, -wanted) and x <= over and y >= wanted for x, y in rivals)
        assert beaten == (name not in stays)
