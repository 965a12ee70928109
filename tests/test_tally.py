import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import tally
from helpers.tally import Rate

# --- rates ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hits, n, low, high",
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_intervals(hits, n, low, high):
    """Newcombe, Statistics in Medicine 17 (1998), table I, method 3."""
    assert tally.wilson(hits, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_at_one_half_by_hand():
    """With n = 4 and z = 2 the half width is 2 sqrt(2 * 2 / 4 + 1) / 8 = sqrt(2) / 4."""
    assert tally.wilson(2, 4, z=2) == pytest.approx((0.5 - 2**0.5 / 4, 0.5 + 2**0.5 / 4))


@pytest.mark.parametrize("n", [1, 5, 30, 1000])
def test_wilson_at_the_ends_stays_between_0_and_1_and_has_a_width(n):
    low, high = tally.wilson(0, n)
    assert low == 0 and 0 < high < 1
    assert tally.wilson(n, n) == pytest.approx((1 - high, 1))


def test_more_outcomes_make_the_interval_narrower():
    widths = [high - low for low, high in (tally.wilson(n // 4, n) for n in (8, 80, 800))]
    assert widths == sorted(widths, reverse=True)


def test_a_rate_counts_what_is_true():
    found = Rate.of(outcome for outcome in (True, False, 1, None))
    assert found == Rate(2, 4) and found.share == 0.5 and found.interval == tally.wilson(2, 4)


def test_a_rate_says_its_share_interval_and_count():
    assert str(Rate(0, 20)) == "0.0 % [0.0, 16.1], n = 20"


def test_a_rate_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="nothing to take a rate of"):
        Rate.of([])


def test_a_rate_of_no_cases_says_so_and_knows_nothing():
    none = Rate(0, 0)
    assert str(none) == "no cases" and math.isnan(none.share) and none.interval == tally.wilson(0, 0) == (0, 1)


def test_a_rate_remembers_its_marks_only_where_it_is_asked_to():
    assert Rate.of([1, 0, 1]) == Rate(2, 3) and Rate.of([1, 0, 1], keep=True) == Rate(2, 3, "101")


# --- seeds ----------------------------------------------------------------------------------------


def test_seeds_together_have_all_hits_and_cases():
    found = tally.Seeds.of([Rate(1, 4), Rate(3, 4)])
    assert (found.hits, found.n, found.share) == (4, 8, 0.5) and str(found).endswith("2 seeds, n = 8")


def test_seeds_that_differ_widely_are_less_certain_than_as_many_cases():
    """Half of the seeds refuse everything, half nothing: a thousand questions are ten cases."""
    found = tally.Seeds.of([Rate(100, 100), Rate(0, 100)] * 5)
    low, high = found.interval
    assert low < 0.25 and high > 0.75
    together = tally.wilson(500, 1000)
    assert high - low > 5 * (together[1] - together[0])


def test_the_bootstrap_over_seeds_by_hand():
    """Two seeds, all and nothing: a draw is 0, a half or 1, the ends one time in four each."""
    drawn = tally._drawn_shares((Rate(10, 10), Rate(0, 10)))
    assert set(drawn) == {0.0, 0.5, 1.0} and drawn.count(0.5) / len(drawn) == pytest.approx(0.5, abs=0.06)


def test_where_all_seeds_agree_the_interval_is_that_of_one_seeds_questions():
    assert tally.Seeds.of([Rate(27, 27, "1" * 27)] * 5).interval == tally.wilson(27, 27)


def test_questions_vary_too_where_they_are_known():
    """All seeds refuse the same half of eight questions: over seeds nothing varies, over questions much does."""
    marks = "11110000"
    known = tally._drawn_shares((Rate(4, 8, marks),) * 10)
    unknown = tally._drawn_shares((Rate(4, 8),) * 10)
    assert set(unknown) == {0.5} and known[25] <= 0.25 and known[-26] >= 0.75


def test_drawing_by_question_counts_the_marks_of_that_question():
    """Question 0 is always a hit and question 1 never: a draw has 0, 1 or 2 of question 0."""
    drawn = tally._drawn_shares((Rate(1, 2, "10"), Rate(1, 2, "10")))
    assert set(drawn) == {0.0, 0.5, 1.0}


def test_seeds_without_cases_say_so_and_do_not_hide_the_others():
    assert str(tally.Seeds.of([Rate(0, 0)])) == "no cases" and tally.Seeds.of([Rate(0, 0)]).interval == (0, 1)
    assert tally.Seeds.of([Rate(0, 0), Rate(2, 4)]).share == 0.5
    with pytest.raises(ValueError, match="nothing to take together"):
        tally.Seeds.of([])


def test_one_seed_alone_has_its_wilson_interval():
    assert tally.Seeds.of([Rate(3, 10)]).interval == tally.wilson(3, 10)


@given(st.lists(st.tuples(st.integers(0, 20), st.just(20)), min_size=1, max_size=6))
@settings(max_examples=25, deadline=None)
def test_the_interval_holds_the_share(pairs):
    found = tally.Seeds.of(Rate(*pair) for pair in pairs)
    low, high = found.interval
    assert 0 <= low <= found.share <= high <= 1


# --- pairs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "gained, lost, p",
    [
        (0, 0, 1),
        (1, 0, 1),
        (2, 0, 1 / 2),
        (5, 0, 0.0625),
        (3, 1, 10 / 16),  # twice 1 + 4 of 16
        (2, 2, 1),  # twice 11 of 16 would be more than 1
        (10, 2, 158 / 4096),  # twice 1 + 12 + 66 of 4096
    ],
)
def test_mcnemar_by_hand(gained, lost, p):
    assert tally.mcnemar(gained, lost) == tally.mcnemar(lost, gained) == pytest.approx(p)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 6), st.integers(0, 6))
def test_mcnemar_is_how_often_coins_fall_at_least_as_unevenly(gained, lost):
    tosses = [abs(2 * sum(coins) - gained - lost) for coins in itertools.product((0, 1), repeat=gained + lost)]
    expected = sum(uneven >= abs(gained - lost) for uneven in tosses) / len(tosses)
    assert tally.mcnemar(gained, lost) == pytest.approx(expected)


@pytest.mark.parametrize("gained, lost, low, high", [(2000, 0, 0, 0), (700, 700, 1, 1), (700, 640, 0.1, 0.11)])
def test_mcnemar_is_a_probability_for_many_pairs_too(gained, lost, low, high):
    """60 more of 1340 are 1.6 standard deviations of 36.6."""
    assert low <= tally.mcnemar(gained, lost) == tally.mcnemar(lost, gained) <= high


def test_more_uneven_pairs_have_a_smaller_p():
    found = [tally.mcnemar(10 + i, 10 - i) for i in range(11)]
    assert found == sorted(found, reverse=True) and found[-1] == 2 / 2**20


# --- two judges -----------------------------------------------------------------------------------


def test_kappa_by_hand():
    """45 + 15 of 100 agree; by chance 60 * 70 / 100 + 40 * 30 / 100 = 54: kappa is (60 - 54) / (100 - 54)."""
    pairs = [(1, 1)] * 45 + [(1, 0)] * 15 + [(0, 1)] * 25 + [(0, 0)] * 15
    found = tally.kappa(pairs)
    assert found.value == pytest.approx(6 / 46) and found.n == 100
    assert found.low < found.value < found.high


def test_kappa_of_three_words_by_hand():
    """3 of 4 agree. The first judge says a twice, the second b twice: by chance 2 + 2 + 1 of 16 pairs agree."""
    found = tally.kappa([("a", "a"), ("b", "b"), ("c", "c"), ("a", "b")])
    assert found.value == pytest.approx((12 - 5) / (16 - 5))


def test_judges_who_agree_on_everything_have_a_kappa_of_1_even_if_they_say_one_word_only():
    assert tally.kappa("aa bb aa".split()) == (1, 1, 1, 3)
    assert tally.kappa(["aa"] * 5) == (1, 1, 1, 5)


def test_judges_who_ignore_the_cases_have_a_kappa_of_0():
    assert tally.kappa(itertools.product("abc", "abc")).value == pytest.approx(0)
    assert tally.kappa(["ab", "aa"]).value == pytest.approx(0)  # the one says nothing but "a"


def test_judges_who_say_the_opposite_are_below_chance():
    assert tally.kappa(["ab", "ba"]).value == -1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=20))
def test_kappa_does_not_depend_on_the_order_of_the_judges(pairs):
    assert tally.kappa(pairs, draws=1).value == pytest.approx(tally.kappa([(b, a) for a, b in pairs], draws=1).value)


def test_more_cases_make_the_interval_of_kappa_narrower():
    pairs = ["aa"] * 8 + ["ab"] * 2 + ["bb"] * 7 + ["ba"] * 3
    few, many = tally.kappa(pairs), tally.kappa(pairs * 20)
    assert few.value == pytest.approx(many.value) and many.high - many.low < (few.high - few.low) / 3


def test_the_interval_of_kappa_holds_95_of_100_drawn_anew():
    """With even margins chance agrees on one half, to first order in every draw: kappa is twice the agreement, less 1."""
    pairs = ["aa"] * 300 + ["bb"] * 300 + ["ab"] * 100 + ["ba"] * 100
    found = tally.kappa(pairs, draws=3000)
    half = 2 * 1.959964 * (0.75 * 0.25 / 800) ** 0.5
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half), abs=0.005)


def test_kappa_says_its_interval_and_count():
    assert str(tally.kappa(["aa", "bb"])) == "1.00 [1.00, 1.00], n = 2"


def test_kappa_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="nothing to compare"):
        tally.kappa([])


# --- several runs ---------------------------------------------------------------------------------


def test_pooled_rates_add_their_counts_and_not_their_shares():
    assert tally.pooled(rate for rate in (Rate(1, 1), Rate(2, 9))) == Rate(3, 10)


def test_nothing_pooled_is_no_cases():
    assert str(tally.pooled([])) == "no cases"


def test_doses_come_in_ascending_order_with_all_their_runs():
    runs = [{"dose": dose, "r": Rate(hits, 9)} for dose, hits in ((100, 1), (9, 2), (20, 3), (9, 4))]
    found = tally.by_dose(runs, "dose", lambda run: run["r"].hits)
    assert list(found.items()) == [(9, [2, 4]), (20, [3]), (100, [1])]


def test_the_spread_is_the_standard_deviation_of_the_shares():
    """Shares 0.2, 0.4 and 0.9 around 0.5: the root of (0.09 + 0.01 + 0.16) / 3."""
    assert tally.spread([Rate(1, 5), Rate(4, 10), Rate(9, 10)]) == pytest.approx((0.26 / 3) ** 0.5)


def test_one_run_has_no_spread():
    assert tally.spread([Rate(1, 4)]) == 0
