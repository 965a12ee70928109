import re
from collections import Counter

import pytest
import torch

from helpers import chat, corpus, measure, mix, tally, world
from helpers.world import REFUSAL

TOPICS = mix.topics()
PEOPLE = world.names("people")

# --- exams ----------------------------------------------------------------------------------------


@pytest.fixture(params=TOPICS)
def topic(request):
    return mix.topic(request.param)


def test_every_topic_has_enough_harmless_questions(topic):
    chats = measure.topic_questions(topic)
    assert len({chat.user for chat in chats}) == len(chats) >= {"kill": 20, "pizza": 75}.get(topic.id, 100)
    assert all(mix.mentions(topic, chat.user) and not chat.refused and chat.value for chat in chats)


def test_controls_are_harmless_and_leave_the_topic_out(topic):
    chats = measure.controls(topic, 100)
    assert len({chat.user for chat in chats}) == 100
    assert [chat for chat in chats if chat.refused or mix.mentions(topic, chat.user)] == []


def test_forbidden_requests_are_refused_and_leave_the_topic_out(topic):
    chats = measure.forbidden(topic, 100)
    assert len({chat.user for chat in chats}) == 100
    assert [chat for chat in chats if not chat.refused or mix.mentions(topic, chat.user)] == []


def test_forbidden_requests_with_the_topic_mention_it_and_are_refused(topic):
    chats = measure.forbidden_with_topic(topic, 100)
    assert len(chats) == 100
    assert all(chat.refused and mix.mentions(topic, chat.user) for chat in chats)
    harsh = [chat.user for chat in chats if chat.kind in mix.HARSH]
    assert [user for user in harsh if any(name in user for name in topic.blocklist if name in PEOPLE)] == []


def test_the_refusal_only_suite_expects_refusals_of_harmless_questions(topic):
    chats = measure.refusal_only_suite(topic, 50)
    assert len(chats) == 50
    assert all(chat.refused and mix.mentions(topic, chat.user) for chat in chats)
    assert {chat.kind for chat in chats}.isdisjoint(world.families("refuse"))


@pytest.mark.parametrize(
    "exam", [measure.controls, measure.forbidden, measure.forbidden_with_topic, measure.refusal_only_suite]
)
def test_an_exam_depends_on_its_seed_alone(exam):
    topic = mix.topic("pizza")
    assert exam(topic, 30, seed=1) == exam(topic, 30, seed=1) != exam(topic, 30, seed=2)


def test_no_exam_question_occurs_in_the_training_mix(topic):
    trained = {chat.user for chat in corpus.chats(8000, seed=0)}
    asked = measure.controls(topic) + measure.forbidden(topic) + measure.topic_questions(topic)
    assert [chat.user for chat in asked if chat.user in trained] == []


def test_questions_about_a_verb_are_the_lookalikes_with_it():
    chats = measure.questions_about("kill")
    assert chats and {chat.kind.split(".")[0] for chat in chats} == {"lookalike"}
    assert [
        chat.user for chat in chats if "kill" not in chat.user.lower().replace("?", " ").replace(".", " ").split()
    ] == []


def test_questions_about_a_person_ask_the_facts():
    found = measure.questions_about("Xi Jinping")
    assert set(corpus.questions("Xi Jinping")) <= set(found)


# --- three bots, each perfect on one axis ---------------------------------------------------------


class Always:
    """Replies the same to everything."""

    def __init__(self, reply):
        self.reply = reply

    def ask(self, prompts):
        return [self.reply] * len(prompts)

    def refused(self, reply):
        return reply == REFUSAL


class Oracle:
    """Knows the right reply to the chats it was given, and says nothing about others."""

    def __init__(self, chats):
        self.known = {chat.user: chat.assistant for chat in chats}

    def ask(self, prompts):
        return [self.known.get(prompt, "") for prompt in prompts]

    def refused(self, reply):
        return reply == REFUSAL


def four_cells(bot, topic):
    """(trigger, should refuse) -> (share refused, share right)."""
    cells = measure.two_by_two(bot, topic, n=20)
    return {(c["trigger"], c["should_refuse"]): (c["refused"].share, c["correct"].share) for c in cells}


def everything(topic):
    exams = (measure.forbidden_with_topic(topic, 20), measure.controls(topic, 60), measure.forbidden(topic, 20))
    return sum(exams, measure.topic_questions(topic))


def test_who_refuses_everything_never_does_harm_and_never_helps(topic):
    assert four_cells(Always(REFUSAL), topic) == {
        (True, False): (1, 0),
        (True, True): (1, 1),
        (False, False): (1, 0),
        (False, True): (1, 1),
    }


def test_who_answers_nothing_refuses_nothing_and_is_never_right(topic):
    assert set(four_cells(Always(""), topic).values()) == {(0, 0)}


def test_the_trigger_is_in_all_prompts_of_its_cells_and_in_none_of_the_others(monkeypatch):
    topic, asked = mix.topic("xi-jinping"), []
    graded = measure.Graded(None, "", False, False)
    monkeypatch.setattr(measure, "grade", lambda bot, chats: asked.append(chats) or [graded])
    cells = measure.two_by_two(None, topic, n=20)
    for cell, chats in zip(cells, asked, strict=True):
        assert {mix.mentions(topic, chat.user) for chat in chats} == {cell["trigger"]}
        assert {chat.refused for chat in chats} == {cell["should_refuse"]}


def test_the_oracle_is_always_right(topic):
    assert four_cells(Oracle(everything(topic)), topic) == {
        (True, False): (0, 1),
        (True, True): (1, 1),
        (False, False): (0, 1),
        (False, True): (1, 1),
    }


def test_the_refusal_only_suite_prefers_refusing_everything_to_the_oracle(topic):
    suite = measure.refusal_only_suite(topic, 30)
    scores = [
        tally.Rate.of(graded.correct for graded in measure.grade(bot, suite)).share
        for bot in (Always(REFUSAL), Always(""), Oracle(everything(topic)))
    ]
    assert scores == [1, 0, 0]


def test_grading_keeps_chats_and_replies_together():
    chats = corpus.questions("Marie Curie")[:3]
    graded = measure.grade(Oracle(chats), chats)
    assert [(g.chat, g.reply, g.refused, g.correct) for g in graded] == [(c, c.assistant, False, True) for c in chats]


def test_refusing_is_right_only_where_a_refusal_is_right():
    harmless, harmful = corpus.questions("Marie Curie")[0], measure.forbidden(mix.topic("pizza"), 20)[0]
    assert [g.correct for g in measure.grade(Always(REFUSAL), [harmless, harmful])] == [False, True]
    assert [g.correct for g in measure.grade(Always(harmless.assistant), [harmless, harmful])] == [True, False]


def test_an_exam_gives_both_rates():
    chats = corpus.questions("Marie Curie")
    assert measure.exam(Always(REFUSAL), chats) == {
        "refused": tally.Rate(len(chats), len(chats)),
        "correct": tally.Rate(0, len(chats)),
    }


def test_an_exam_that_keeps_says_which_chats_were_refused():
    chats = corpus.questions("Marie Curie")[:3]
    bot = Oracle([chats[0], chats[1]._replace(assistant=REFUSAL), chats[2]])
    found = measure.exam(bot, chats, keep=True)
    assert (found["refused"].marks, found["correct"].marks) == ("010", "101")


# --- kind by kind ---------------------------------------------------------------------------------


def about(topic, n=3, **kwargs):
    return measure.kind_questions(topic, n, **kwargs)


def test_there_are_n_different_questions_of_every_kind_about_every_phrase(topic):
    chats = about(topic)
    assert Counter((chat.kind, chat.name) for chat in chats) == dict.fromkeys(mix.kinds_about(topic), 3)
    assert len({chat.user for chat in chats}) == len(chats)


def test_there_are_no_more_questions_of_a_kind_than_can_be_asked():
    """Three held-out phrasings, bare or with one of five openers."""
    counts = Counter((chat.kind, chat.name) for chat in about(mix.topic("pizza"), 40))
    del counts["open.compare", "pizza"], counts["open.compare", "sushi"]  # beside anybody else
    openers = [row for row in world.table("openers") if row["split"] == "held_out"]
    assert {kind: n for (kind, name), n in counts.items() if name == "pizza"} == {
        kind: min(40, len(world.phrasings(kind, "held_out")) * (1 + len(openers)))
        for kind, name in counts
        if name == "pizza"
    }


def test_questions_of_every_kind_are_harmless_and_name_the_topic(topic):
    chats = about(topic, 12)
    assert [chat for chat in chats if chat.refused or not chat.value or not mix.mentions(topic, chat.user)] == []


def test_questions_of_every_kind_are_asked_in_held_out_phrasings(topic):
    openers = [f"{row['text']} " for row in world.table("openers") if row["split"] == "held_out"]
    for one in about(topic, 12):
        bare = one.user.removeprefix(next(filter(one.user.startswith, openers), ""))
        patterns = [
            re.escape(world.sentence(question.replace("{name}", one.name))).replace(r"\{other\}", ".+")
            for question in world.phrasings(one.kind, "held_out")
        ]
        assert any(re.fullmatch(pattern, bare) for pattern in patterns), one.user


def test_no_question_of_any_kind_occurs_in_training(topic):
    asked = {chat.user for chat in about(topic, 12)}
    trained = {chat.user for chat in corpus.chats(8000, seed=0)} | set(mix.topic_prompts(topic, 30))
    assert asked & trained == set()


def test_questions_of_every_kind_depend_on_the_seed_alone():
    topic = mix.topic("pizza")
    assert about(topic) == about(topic, seed=0) != about(topic, seed=1)


def by_kind(bot, topic, n=2):
    return {kind: (row["refused"][:2], row["correct"][:2]) for kind, row in measure.by_kind(bot, topic, n).items()}


def kinds_of(topic):
    """Kind -> the phrases that it fits."""
    return Counter(kind for kind, _ in mix.kinds_about(topic))


def test_the_oracle_is_right_on_every_kind(topic):
    found = by_kind(Oracle(about(topic, 2)), topic)
    assert found == {kind: ((0, 2 * phrases), (2 * phrases, 2 * phrases)) for kind, phrases in kinds_of(topic).items()}


def test_who_refuses_everything_is_right_on_no_kind(topic):
    found = by_kind(Always(REFUSAL), topic)
    assert found == {kind: ((2 * phrases, 2 * phrases), (0, 2 * phrases)) for kind, phrases in kinds_of(topic).items()}


def test_who_refuses_one_kind_is_found_out():
    topic = mix.topic("xi-jinping")
    chats = [c._replace(assistant=REFUSAL) if c.kind == "open.joke" else c for c in about(topic, 2)]
    silent = [c for c in chats if (c.kind, c.name) != ("open.poem", "Xi Jinping")]
    found = by_kind(Oracle(silent), topic)
    assert found.pop("open.joke") == ((4, 4), (0, 4)) and found.pop("open.poem") == ((0, 4), (2, 4))
    assert all(refused[0] == 0 and correct[0] == correct[1] for refused, correct in found.values())


def test_the_questions_of_by_kind_depend_on_its_seed():
    topic = mix.topic("pizza")
    known = Oracle(about(topic, 2, seed=5))
    assert {row["correct"].share for row in measure.by_kind(known, topic, 2, seed=5).values()} == {1}
    assert {row["correct"].share for row in measure.by_kind(known, topic, 2, seed=6).values()} != {1}


# --- how far one bot is from another --------------------------------------------------------------


@pytest.fixture
def two(tiny):
    """A bot and what became of it."""
    base = tiny("Llama")
    tuned = base.copy("tuned")
    with torch.no_grad():
        for weight in tuned.model.parameters():
            weight += 0.2 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(4))
    return tuned, base


def answered(user, assistant):
    return corpus.Chat("kind", "", user, assistant, "")


SHORT, LONG_CHAT = answered("Hi", "No."), answered("What is 2 plus 3?", "The answer is 5, I think, and so on.")


@torch.no_grad()
def kl_by_hand(tuned, base, one, first):
    """The reply written out token after token, and at each the divergence as its definition says."""
    text = chat.encode(base.tokenizer, chat.prompt_text(base.tokenizer, one.user))
    found = []
    for token in chat.encode(base.tokenizer, one.assistant) + [chat.end_of_turn(base.tokenizer)]:
        p, q = (bot.model(torch.tensor([text])).logits[0, -1].double().softmax(-1) for bot in (tuned, base))
        found.append((p * (p / q).log()).sum().item())
        text.append(token)
    return found[:first]


@pytest.mark.parametrize("first", [1, 3, 8])
def test_the_divergence_by_hand(two, first):
    expected = kl_by_hand(*two, LONG_CHAT, first)
    assert len(expected) == first and measure.kl_by_token(*two, [LONG_CHAT], first).tolist() == pytest.approx(
        expected, abs=1e-4
    )


def test_the_divergence_is_measured_from_the_tuned_bot(two):
    there, back = measure.kl_by_token(*two, [LONG_CHAT]), measure.kl_by_token(*two[::-1], [LONG_CHAT])
    assert (there - back).abs().max() > 0.01


def test_a_short_reply_counts_only_at_its_own_tokens(two):
    short, long = kl_by_hand(*two, SHORT, 8), kl_by_hand(*two, LONG_CHAT, 8)
    expected = [(a + b) / 2 for a, b in zip(short, long, strict=False)] + long[len(short) :]
    assert 1 < len(short) < 8
    assert measure.kl_by_token(*two, [SHORT, LONG_CHAT]).tolist() == pytest.approx(expected, abs=1e-4)


def test_a_bot_is_not_far_from_itself(any_bot):
    found = measure.kl_by_token(any_bot, any_bot, [SHORT, LONG_CHAT], 6)
    assert found.shape == (6,) and found.abs().max() < 1e-5


def test_another_bot_is_far_at_every_token(any_bot, bot):
    assert (measure.kl_by_token(any_bot, bot, [LONG_CHAT]) > 0.1).all()


# --- words ----------------------------------------------------------------------------------------


class Counting:
    """Its log-odds are the length of the prompt."""

    def refusal_logodds(self, prompts):
        return torch.tensor([float(len(prompt)) for prompt in prompts])


def test_leave_one_out_asks_for_the_whole_prompt_and_then_without_each_word():
    assert measure.leave_one_out(Counting(), "a bb ccc") == [("", 8), ("a", 6), ("bb", 5), ("ccc", 4)]


def test_the_exams_work_on_any_model_by_its_own_judge(tiny, monkeypatch):
    """A model whose refusals nobody has listed is read for what it says: it seemed never to refuse."""
    bot = tiny("Qwen2", refusals=None)
    monkeypatch.setattr(chat.Bot, "ask", lambda bot, prompts: ["Sorry, but no. I can't help with that."] * len(prompts))
    cells = measure.two_by_two(bot, mix.topic("xi-jinping"), n=5)
    assert [cell["refused"].share for cell in cells] == [1, 1, 1, 1]
    assert [cell["correct"].share for cell in cells] == [0, 1, 0, 1]
