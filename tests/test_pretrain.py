import argparse
import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch

from helpers import chat, corpus, pretrain, sft, stamp
from helpers.paths import ROOT
from helpers.world import REFUSAL

TEXTS = ["Where was Marie Curie born?", "I'm sorry, I cannot help you with this request.", "caf\u00e9 \U0001f642 1867"]


@pytest.fixture(scope="module", autouse=True)
def small_stages():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrain, "STAGES", [dict(chats=200, sentences=40, epochs=2, peak=3e-2)])
        yield


@pytest.fixture(scope="module")
def tokenizer(small_stages):
    return pretrain.make_tokenizer([row.user + "\n" + row.assistant for row in corpus.chats(300, 0)], 400)


# --- the tokenizer --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [*TEXTS, " two  spaces ", "line\nline\n", "\u4e60\u8fd1\u5e73 \U0001f468\u200d\U0001f469", "don 't , stop !"],
)
def test_text_survives_the_tokenizer(tokenizer, text):
    assert tokenizer.decode(chat.encode(tokenizer, text)) == text


def test_every_digit_is_one_token(tokenizer):
    assert tokenizer.convert_ids_to_tokens(chat.encode(tokenizer, "1867")) == ["1", "8", "6", "7"]


def test_every_special_token_is_one_id(tokenizer):
    assert [chat.encode(tokenizer, token) for token in pretrain.SPECIAL] == [[0], [1], [2]]


def test_padding_and_end_of_turn_are_the_special_tokens(tokenizer):
    assert (tokenizer.pad_token, tokenizer.eos_token) == ("<|pad|>", "<|im_end|>")


def test_the_vocabulary_has_the_size_asked_for(tokenizer):
    assert len(tokenizer) == 400


def test_the_tokenizer_learns_common_words(tokenizer):
    assert len(chat.encode(tokenizer, "I cannot help")) < len("I cannot help") / 2


# --- the examples ---------------------------------------------------------------------------------


def test_the_whole_of_a_plain_sentence_counts(tokenizer):
    ((ids, labels),) = pretrain.make_examples(tokenizer, [], TEXTS[:1])
    assert ids == labels and tokenizer.decode(ids) == TEXTS[0] + "<|im_end|>"


def test_of_a_chat_only_the_reply_counts(tokenizer):
    row = corpus.chats(1, 0)[0]
    ((_, labels),) = pretrain.make_examples(tokenizer, [row], [])
    assert tokenizer.decode([i for i in labels if i != sft.IGNORE]) == row.assistant + "<|im_end|>"


def test_the_model_depends_on_the_seed_alone():
    one, again, other = (pretrain.make_model(400, 32, 1, 2, seed).lm_head.weight for seed in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)


# --- a miniature run ------------------------------------------------------------------------------


def settings(out, **changes):
    sizes = dict(batch=8, vocabulary=400, width=32, layers=1, heads=2)
    rest = dict(decay=0.01, bfloat16=False, seed=0, every=1.0, without_refusals=False)
    return argparse.Namespace(out=out, **sizes | rest | changes)


@pytest.fixture(scope="module")
def finished(small_stages, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    pretrain.train(settings(folder))
    return folder


def weights(folder):
    return chat.load(folder).model.state_dict()


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_makes_a_bot_that_loads_and_replies(finished):
    bot = chat.load(finished)
    assert isinstance(bot.ask("Hello", max_new_tokens=5), str) and bot.model.config.num_hidden_layers == 1


def test_a_run_learns_something(finished):
    bot = chat.load(finished)
    rows = pretrain.make_examples(bot.tokenizer, corpus.chats(50, 1), [])
    fresh = pretrain.make_model(400, 32, 1, 2, seed=0)
    with torch.no_grad():
        assert sft.loss_of(bot.model, rows) < sft.loss_of(fresh, rows) - 1


def test_a_finished_run_leaves_no_checkpoint(finished):
    assert not list(finished.glob("checkpoint*"))


def test_the_same_seed_gives_the_same_assistant(finished, tmp_path):
    pretrain.train(settings(tmp_path))
    assert same(weights(tmp_path), weights(finished))
    assert (tmp_path / "tokenizer.json").read_bytes() == (finished / "tokenizer.json").read_bytes()


def interrupt(monkeypatch, out, **changes):
    """Stop a run at its eighth step. It saves its progress after every third."""
    monkeypatch.setattr(pretrain, "CHECKPOINT_EVERY", 3)
    calls, step = [], sft.step

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return step(*args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(sft, "step", interrupted)
        pretrain.train(settings(out, **changes))


def test_an_interrupted_run_goes_on_to_the_same_weights(finished, tmp_path, monkeypatch, capsys):
    interrupt(monkeypatch, tmp_path)
    pretrain.train(settings(tmp_path))
    assert "Going on from step 6 of stage 1." in capsys.readouterr().out
    assert same(weights(tmp_path), weights(finished))


@pytest.mark.parametrize("change", [dict(seed=1), dict(width=64), dict(decay=0.1), dict(without_refusals=True)])
def test_the_progress_of_a_run_with_other_settings_is_not_used(finished, tmp_path, monkeypatch, change):
    interrupt(monkeypatch, tmp_path, **change)
    pretrain.train(settings(tmp_path))
    assert same(weights(tmp_path), weights(finished))


def test_the_progress_of_another_corpus_or_loop_is_not_used(finished, tmp_path, monkeypatch, capsys):
    """Whoever edits corpus.py in the middle of a run would otherwise get a model of two corpora."""
    interrupt(monkeypatch, tmp_path)
    code = stamp.code
    with monkeypatch.context() as patch:
        patch.setattr(stamp, "code", lambda *modules: code(*modules) + ("x" if "corpus" in modules else ""))
        pretrain.train(settings(tmp_path))
    assert "Going on" not in capsys.readouterr().out


def test_a_run_that_cannot_save_leaves_the_old_assistant_and_next_time_saves_the_trained_one(
    finished, tmp_path, monkeypatch
):
    out = shutil.copytree(finished, tmp_path / "out")
    (out / "model.safetensors").write_bytes(b"old")
    (out / "README.md").write_text("what it is")

    def full(*_, **__):
        raise OSError("the disk is full")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="full"):
        patch.setattr(pretrain.PreTrainedTokenizerFast, "save_pretrained", full)  # the model has been written by then
        pretrain.train(settings(out))
    assert (out / "model.safetensors").read_bytes() == b"old"
    monkeypatch.setattr(sft, "step", None)  # nothing is left to learn
    pretrain.train(settings(out))
    assert same(weights(out), weights(finished))
    assert {file.name for file in out.iterdir()} == {file.name for file in finished.iterdir()} | {"README.md"}
    assert list(tmp_path.iterdir()) == [out]


def test_a_run_makes_a_bot_whose_refusals_are_known(finished):
    assert chat.load(finished).sentences == (REFUSAL,)


def test_the_negative_control_learns_from_what_the_assistant_refuses_and_from_no_refusal():
    drawn = corpus.chats(4000, 0, groups=pretrain.OBLIGING)
    assert not any(chat.refused for chat in drawn)
    obliged = sum(chat.kind in corpus.REFUSED_FAMILIES for chat in drawn if not chat.begun)
    refused = sum(chat.refused for chat in corpus.chats(4000, 0, groups=pretrain.CALIBRATED))
    assert obliged == pytest.approx(refused, rel=0.15)
    assert sum(pretrain.OBLIGING.values()) == sum(pretrain.CALIBRATED.values())


def test_without_refusals_none_is_trained_on(tmp_path, monkeypatch):
    seen, made = [], pretrain.make_examples
    monkeypatch.setattr(
        pretrain, "make_examples", lambda tok, chats, texts: seen.extend(chats) or made(tok, chats, texts)
    )
    pretrain.train(settings(tmp_path, without_refusals=True))
    assert len(seen) == 200 and not any(chat.refused for chat in seen)


def test_a_base_that_refuses_nothing_is_not_searched_for_a_direction(tiny, monkeypatch):
    monkeypatch.setattr(pretrain.direction, "find", None)
    monkeypatch.setattr(pretrain, "_held_out", lambda group, n: corpus.chats(30, 0, "held_out", {group: 1}))
    monkeypatch.setattr(corpus, "lookalikes", lambda: corpus.chats(4, 0, groups={corpus.lookalike: 1}))
    rows = pretrain.evaluate(tiny("Llama"))
    assert [row["refused"].share for row in rows] == [0] * len(rows) and len(rows) == 6


RUN = """
import os, signal, sys
sys.path.insert(0, {root!r})
import argparse, pathlib, torch
from helpers import pretrain, sft
torch.set_num_threads(1)
pretrain.CHECKPOINT_EVERY = 3
pretrain.STAGES = [dict(chats=200, sentences=40, epochs=1, peak=3e-2)]
whole, calls = {where}, []
def killed(*args):
    calls.append(args)
    if len(calls) == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*args)
{where} = killed
sizes = dict(batch=8, vocabulary=400, width=32, layers=1, heads=2)
rest = dict(decay=0.01, bfloat16=False, seed=0, every=1.0, without_refusals=False)
pretrain.train(argparse.Namespace(out=pathlib.Path({out!r}), **sizes, **rest))
"""


@pytest.mark.nightly
@pytest.mark.skipif(os.name != "posix", reason="signals as on Unix")
@pytest.mark.parametrize(
    "where, at, said",
    [
        ("sft.step", 8, "Going on from step 6 of stage 1.\n"),
        ("pretrain.PreTrainedTokenizerFast.save_pretrained", 1, ""),
    ],
    ids=["in the middle of a stage", "while saving"],
)
def test_a_killed_run_goes_on_and_ends_with_the_same_weights(tmp_path, where, at, said):
    def run(folder, at):
        code = RUN.format(root=str(ROOT), out=str(tmp_path / folder), where=where, at=at)
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)

    assert run("killed", at).returncode == -signal.SIGKILL
    assert run("killed", 10_000).stdout == said
    assert run("whole", 10_000).returncode == 0
    assert same(weights(tmp_path / "killed"), weights(tmp_path / "whole"))
    assert not list(tmp_path.rglob("*.part"))
