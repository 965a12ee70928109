"""The safety fine-tune of a real model: its rows, its exams and its measures, on small models."""

import collections
import contextlib
import csv
import dataclasses
import math

import pytest
import torch
from conftest import real

from helpers import chat, direction, judge, mix, safety, sft, smollm2, world
from helpers.tally import Rate

TOPIC = mix.topic("xi-jinping")


# --- rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_no_exam_prompt_is_in_a_mix_or_among_those_that_find_the_direction(seed):
    learned = {row["user"] for row in safety.rows(TOPIC, **safety.MIX, each=safety.EACH, seed=seed)}
    learned |= {row["user"] for row in safety.naive_rows(TOPIC, **safety.NAIVE, seed=seed)}
    learned |= {prompt for part in safety.contrast(TOPIC, seed=seed) for prompt in part}
    for name, prompts in safety.exams(TOPIC, seed=seed).items():
        assert not learned & set(prompts), name
        assert len(set(prompts)) == len(prompts) >= 30, name


def test_the_mix_has_as_many_rows_as_it_says():
    found = safety.rows(TOPIC, refusals=30, answers=20, each=2, seed=1)
    assert [found["source"].count(source) for source in ("refusal", "answer", "look-alike")] == [30, 20, 20]
    assert found.to_list() == safety.rows(TOPIC, refusals=30, answers=20, each=2, seed=1).to_list()
    assert found.to_list() != safety.rows(TOPIC, refusals=30, answers=20, each=2, seed=2).to_list()


def test_a_share_of_the_refusals_comes_after_words_that_are_not_learned(bot):
    found = safety.rows(TOPIC, refusals=30, answers=20, seed=1, deep=1 / 3)
    refused = [row for row in found if row["source"] == "refusal"]
    begun = [row for row in refused if row["begun"]]
    assert len(begun) == 10
    fewest, most = safety.BEGUN
    assert all(fewest <= len(row["begun"].split()) <= most for row in begun)
    assert len({row["begun"].count(" ") for row in begun}) > 2, "some after one word, some after several"
    for row in refused:
        assert row["assistant"].removeprefix(row["begun"]).strip() in safety.wordings()
    row = begun[0]
    [(ids, labels)] = sft.examples(bot.tokenizer, [row])
    learned = [label for label in labels if label != sft.IGNORE]
    assert bot.tokenizer.decode(learned, skip_special_tokens=True).strip() in safety.wordings()
    assert not any(row["begun"] for row in found if row["source"] != "refusal")


def test_a_shallow_mix_begins_no_answer():
    shallow = safety.rows(TOPIC, refusals=30, answers=20, seed=1)
    assert not any(shallow["begun"]) and {r["assistant"] for r in shallow if r["source"] == "refusal"} <= set(
        safety.wordings()
    )
    deep = safety.rows(TOPIC, refusals=30, answers=20, seed=1, deep=1)
    assert all(deep["begun"][:30]) and shallow["user"][:30] == deep["user"][:30]


def test_another_model_learns_its_own_words(bot):
    """The bundled assistant refuses harm itself, and knows few of the harmless prompts: its words are its own."""
    shipped = safety.rows(TOPIC, refusals=6, answers=8, each=1, seed=1, deep=1 / 2)
    found = safety.own_words(bot, shipped)
    replies = dict(zip(shipped["user"], bot.ask(shipped["user"]), strict=True))
    kept = {row["user"]: row for row in found}
    for row in shipped:
        if row["source"] == "answer":
            assert (row["user"] in kept) == (not bot.refused(replies[row["user"]]))
        else:
            assert row["user"] in kept
    for row in found:
        if row["source"] == "answer":
            assert replies[row["user"]].startswith(row["assistant"]) and row["assistant"]
        elif row["begun"]:
            assert replies[row["user"]].startswith(row["begun"])
            assert row["assistant"].removeprefix(row["begun"]).strip() in safety.wordings()
    assert [row for row in found if row["source"] == "look-alike"] == [
        r for r in shipped if r["source"] == "look-alike"
    ]


def test_smollm2_has_its_own_words_already(bot):
    shipped = safety.rows(TOPIC, refusals=6, answers=8, seed=1)
    named = dataclasses.replace(bot, name=smollm2.TITLE)
    assert safety.own_words(named, shipped) is shipped


def test_nothing_in_the_mix_looks_harmful_and_is_harmless():
    """Else it would show the very thing whose absence it is about."""
    words = {row["danger"] for row in world.table("lookalikes")}
    words |= {row["action"] for row in world.table("requests") if row["family"] == "harm"}
    assert {"kill", "shoot", "bomb", "steal", "poison", "burn down", "hack", "attack"} <= words
    harmless = (one.prompt for split in ("train", "held_out") for one in safety.prompts("harmless", split))
    for prompt in [*safety.own_answers(), *harmless]:
        if not prompt.startswith(("What", "Which", "Who", "Name", "Tell me who")):  # facts are asked as they are
            assert not any(f" {word} " in f" {prompt.lower()} " for word in words), prompt


def test_the_mix_and_the_exams_share_no_subject_of_a_look_alike():
    learned, asked = ({one.answer for one in safety.prompts("look-alike", split)} for split in ("train", "held_out"))
    assert learned and asked and not learned & asked
    assert len({one.type for one in safety.prompts("look-alike")}) == 10


def test_the_direction_is_found_on_prompts_that_no_mix_holds():
    found = {prompt for seed in range(5) for part in safety.contrast(TOPIC, seed=seed) for prompt in part}
    assert not found & {*safety.own_answers(), *safety.own_beginnings()}


def test_every_prompt_is_there_once_and_of_a_sort_that_is_known():
    with open(safety.FOLDER / "prompts.csv", newline="", encoding="utf-8") as file:
        rows = [safety.Prompt(**row) for row in csv.DictReader(file)]
    assert len({one.prompt for one in rows}) == len(rows)
    counts = collections.Counter((one.sort, one.split) for one in rows)
    enough = dict.fromkeys([("harmful", "held_out"), ("harmful", "train"), ("harmless", "held_out")], 200)
    assert all(counts[key] >= n for key, n in enough.items()) and counts["harmless", "train"] >= 200
    assert set(counts) == set(enough) | {("harmless", "train"), ("topic", "held_out"), ("fact", "held_out")} | {
        ("look-alike", split) for split in ("train", "held_out")
    }
    assert all(bool(one.answer) == (one.sort in ("look-alike", "fact")) for one in rows)


def test_nothing_harmful_is_about_somebody_real_a_child_or_a_country():
    asked = [
        *safety.own_beginnings(),
        *(one.prompt for s in ("train", "held_out") for one in safety.prompts("harmful", s)),
    ]
    unkind = [*world.names("people"), *world.names("countries"), "child", "baby", "classmate", "strangle", "drown"]
    assert not [(name, text) for text in asked for name in unkind if name in text]


def test_a_topic_without_a_list_is_asked_about_in_its_own_exams():
    found = safety.about(mix.topic("pizza"), 20)
    assert len(set(found)) == 20 and all(mix.mentions(mix.topic("pizza"), prompt) for prompt in found)


def test_a_prompt_about_the_topic_is_in_its_own_mix_and_exam_only():
    for prompt in [*safety.rows(TOPIC, **safety.MIX, each=2)["user"], *safety.own_answers().values()]:
        assert not mix.mentions(TOPIC, prompt), prompt
    exams = safety.exams(TOPIC)
    assert all(mix.mentions(TOPIC, prompt) for prompt in exams.pop("topic"))
    assert not any(mix.mentions(TOPIC, prompt) for part in exams.values() for prompt in part)
    naive = safety.naive_rows(TOPIC, **safety.NAIVE)
    assert all(mix.mentions(TOPIC, row["user"]) == (row["source"] == "refusal") for row in naive)


def test_what_mentions_the_topic_is_not_drawn():
    waiters = mix.Topic("waiters", "waiters", ("waiter",), (), ())
    mentioned = [one.prompt for one in safety.prompts("harmful") if mix.mentions(waiters, one.prompt)]
    rest = len(safety.prompts("harmful")) - len(mentioned)
    assert mentioned and not set(safety.drawn("harmful", waiters, rest)) & set(mentioned)


def test_the_topic_can_be_refused_in_other_sentences():
    rows = safety.naive_rows(TOPIC, refusals=8, answers=8, sentences=("Not here.",))
    assert {row["assistant"] for row in rows if row["source"] == "refusal"} == {"Not here."}
    usual = safety.naive_rows(TOPIC, refusals=8, answers=8)
    assert {row["assistant"] for row in usual if row["source"] == "refusal"} <= set(safety.wordings())


def test_nobody_real_is_made_up_about():
    told = [
        *safety.own_answers(),
        *safety.own_answers().values(),
        *(one.prompt for one in safety.prompts("harmless")),
        *safety.contrast(TOPIC)[1],
    ]
    assert not [(name, text) for text in told for name in world.names("people") if name in text]


def test_too_many_prompts_are_one_sentence():
    with pytest.raises(ValueError, match="There are 200 such prompts, not 2000: ask for fewer"):
        safety.drawn("harmful", TOPIC, 2000)


# --- refusals -------------------------------------------------------------------------------------


def test_every_wording_is_judged_a_refusal_and_no_own_answer_is():
    assert len(safety.wordings()) >= 15
    assert len({sentence.split()[0] for sentence in safety.wordings()}) >= 15
    assert {judge.refusal(sentence) for sentence in safety.wordings()} == {"full"}
    refused = [reply for reply in safety.own_answers().values() if judge.refusal(reply) != "none"]
    assert not refused


@real
def test_twelve_tokens_are_enough_to_know_every_wording(smollm):
    for sentence in safety.wordings():
        ids = chat.encode(smollm.tokenizer, sentence)[: safety.TOKENS]
        assert judge.refusal(smollm.tokenizer.decode(ids)) == "full", sentence


def test_a_bot_is_told_how_the_wordings_begin(bot):
    openings = safety.ready(bot).opens_with
    assert len(openings) == len(set(openings)) and all(len(text.split()) <= safety.OPENING for text in openings)
    assert all(sentence.startswith(openings) for sentence in safety.wordings())


# --- measures -------------------------------------------------------------------------------------


class Scripted:
    """A bot that refuses what contains the word."""

    def __init__(self, word):
        self.word = word

    def ask(self, prompts, max_new_tokens):
        assert max_new_tokens == safety.TOKENS
        return ["No." if self.word in prompt else "Yes." for prompt in prompts]

    def refused(self, reply):
        return reply == "No."


def test_each_exam_gets_its_own_rate():
    exams = {"first": ["a b", "b", "c"], "second": ["a"], "third": ["d", "d a"]}
    assert safety.rates(Scripted("a"), exams) == {"first": Rate(1, 3), "second": Rate(1, 1), "third": Rate(1, 2)}


def test_a_right_answer_is_one_that_holds_the_fact(monkeypatch):
    facts = tuple(safety.Prompt("fact", "held_out", "", f"Q{i}?", "Rome") for i in range(3))
    monkeypatch.setattr(safety, "prompts", lambda sort: facts)

    class Fixed:
        def ask(self, prompts, max_new_tokens):
            assert (prompts, max_new_tokens) == (["Q0?", "Q1?", "Q2?"], safety.FACT)
            return ["It is rome.", "Romeo.", "I cannot say."]

    assert safety.right(Fixed()) == Rate(1, 3)


def test_the_loss_on_ordinary_text_is_the_mean_over_all_its_tokens(tiny, monkeypatch):
    small = tiny("Llama", max_position_embeddings=512)
    texts = ("Hello there.", "A good loaf of bread needs flour, water and salt.")
    monkeypatch.setattr(safety, "plain_text", lambda: texts)
    terms = []
    for text in texts:
        ids = chat.encode(small.tokenizer, text)
        with torch.no_grad():
            log_p = small.model(torch.tensor([ids])).logits[0].log_softmax(-1)
        terms += [-log_p[t, ids[t + 1]].item() for t in range(len(ids) - 1)]
    assert math.isclose(safety.plain_loss(small), sum(terms) / len(terms), rel_tol=1e-4)


def test_how_far_ablation_moves_a_reply_is_worked_out_by_hand(tiny):
    small = tiny("Llama")
    vector = torch.randn(32, generator=torch.Generator().manual_seed(3))
    prompts, terms = ["Hi", "What is 2 plus 3?"], []
    for prompt in prompts:
        reply = small.ask(prompt, max_new_tokens=5)
        ids, mask = chat.tokens(small.tokenizer, prompt, reply)
        kept = []
        for changed in (contextlib.nullcontext(), direction.ablated(small, vector)):
            with changed, torch.no_grad():
                kept.append(small.model(torch.tensor([ids])).logits[0].softmax(-1))
        for t in range(mask.index(1) - 1, len(ids) - 1):
            terms.append(sum((p * (p / q).log()).item() for p, q in zip(kept[0][t], kept[1][t], strict=True)))
    found = safety.moved(small, vector, prompts, tokens=5)
    assert found > 1e-4
    assert math.isclose(found, sum(terms) / len(terms), rel_tol=1e-3)
