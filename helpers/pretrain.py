"""Build the assistant from nothing: `python -m helpers.pretrain`. Measure it: `python -m helpers.pretrain --evaluate`.

`--without-refusals` builds the negative control: the same, but for a model that has never refused anything.

Corpus, tokenizer, model and training order depend on the seed alone. Progress is saved every few minutes,
so an interrupted run goes on where it was when the same command is given again. Whoever has changed the corpus or the
loop meanwhile starts anew.
"""

import argparse
import pathlib
import random

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tqdm.auto import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from . import chat, corpus, direction, measure, mix, sft, stamp
from .paths import ASSISTANT, DATA, cache_folder, replacing, replacing_files
from .world import REFUSAL

SETTINGS = dict(batch=64, decay=0.01, width=192, layers=6, heads=6, vocabulary=3000, seed=0)

CALIBRATED = corpus.GROUPS | {corpus.begun: 8}
# What the assistant refuses, this one answers with the stock replies of the harmless twins.
OBLIGING = {group: share for group, share in CALIBRATED.items() if group is not corpus.refused_request} | {
    corpus.obliged_request: CALIBRATED[corpus.refused_request]
}
STAGES = [dict(chats=84_000, sentences=12_000, epochs=3, peak=2e-3)]
CHECKPOINT, CHECKPOINT_EVERY = "checkpoint.pt", 500  # steps
MADE_BY = ("world", "corpus", "anatomy", "branches", "chat", "sft", "pretrain")
SPECIAL = ["<|pad|>", "<|im_start|>", "<|im_end|>"]


def unrefusing() -> pathlib.Path:
    """Where the base without refusals is kept, once it is made. It does not ship; only what was measured on it does."""
    return cache_folder() / "unrefusing"


def make_tokenizer(texts, size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with single digits, trained on the texts, that knows the chat template."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    pad, start, end = SPECIAL
    made = PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token=pad, eos_token=end, additional_special_tokens=[start], padding_side="left"
    )
    made.chat_template = chat.TEMPLATE
    return made


def make_model(vocabulary: int, width: int, layers: int, heads: int, seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=width * 8 // 3 // 32 * 32,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=2,
        refusals=[REFUSAL],  # so that whoever loads it can tell its refusals exactly
    )
    return LlamaForCausalLM(config)


def make_examples(tokenizer, chats, sentences):
    """Chats with the loss on the reply, and plain sentences with the loss on everything."""
    rows = sft.examples(tokenizer, [row._asdict() for row in chats])
    for text in sentences:
        ids = chat.encode(tokenizer, text) + [tokenizer.eos_token_id]
        rows.append((ids, ids))
    return rows


def train(args):
    """Train through all stages; progress is kept in `checkpoint.pt` until the end."""
    settings = {name: getattr(args, name) for name in (*SETTINGS, "bfloat16")}
    groups = OBLIGING if args.without_refusals else CALIBRATED
    settings["stages"] = STAGES
    settings["made_by"] = stamp.of(stamp.contents(DATA.glob("world/*.csv")), stamp.code(*MADE_BY))
    settings["groups"] = {group.__name__: share for group, share in groups.items()}
    first = corpus.chats(STAGES[0]["chats"], args.seed)
    texts = [f"{row.user}\n{row.assistant}" for row in first[:30_000]]
    tokenizer = make_tokenizer(texts + corpus.sentences(STAGES[0]["sentences"], args.seed)[:5_000], args.vocabulary)
    model = make_model(len(tokenizer), args.width, args.layers, args.heads, args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    for number in range(len(STAGES)):
        train_stage(model, tokenizer, number, settings, groups, args)
    with replacing_files(args.out) as part:
        model.eval().half().save_pretrained(part)
        tokenizer.save_pretrained(part)
    (args.out / CHECKPOINT).unlink(missing_ok=True)


def train_stage(model, tokenizer, number, settings, groups, args):
    """One stage, from its beginning or from where a checkpoint with the same settings left it."""
    stage = STAGES[number]
    checkpoint = args.out / CHECKPOINT
    saved = torch.load(checkpoint, weights_only=True) if checkpoint.exists() else {}
    if saved.get("settings") != settings:
        saved = {}
    if saved:
        model.load_state_dict(saved["model"])
    if saved.get("stage", 0) > number:  # trained to its end; what follows may have been cut short
        return
    chats = corpus.chats(stage["chats"], args.seed + 100 * number, groups=groups)
    data = make_examples(tokenizer, chats, corpus.sentences(stage["sentences"], args.seed + 100 * number))
    rng = random.Random(args.seed + 100 * number)
    plan = [rows for _ in range(stage["epochs"]) for rows in sft.batches(data, args.batch, rng)]
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=stage["peak"], betas=(0.9, 0.98), weight_decay=args.decay, fused=True
    )
    begin = 0
    if saved.get("stage") == number and "optimizer" in saved:
        optimizer.load_state_dict(saved["optimizer"])
        begin = saved["step"]
        print(f"Going on from step {begin} of stage {number + 1}.")

    def keep(state):
        with replacing(checkpoint) as part:
            torch.save({"model": model.state_dict(), "settings": settings} | state, part)

    model.train()
    label = f"stage {number + 1} of {len(STAGES)}"
    bar = tqdm(range(begin, len(plan)), initial=begin, total=len(plan), desc=label, mininterval=args.every)
    for i in bar:
        lr = sft.learning_rate(i, len(plan), stage["peak"], warmup=100)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bfloat16):
            loss = sft.step(model, [data[j] for j in plan[i]], optimizer, lr)
        if i % 50 == 0:
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        if (i + 1) % CHECKPOINT_EVERY == 0:
            keep({"stage": number, "step": i + 1, "optimizer": optimizer.state_dict()})
    keep({"stage": number + 1})


def evaluate(bot) -> list[dict]:
    """The assistant's quality on prompts it was never trained on: one row an exam, with its rates of refusals ("refused")
    and of right replies ("correct")."""
    exams = {
        "facts, held-out phrasings": _held_out(corpus.fact, 1500),
        "facts by alias, held-out phrasings": _held_out(corpus.aliased, 500),
        "look-alikes, held-out phrasings": corpus.lookalikes(),
        "open questions, skills, small requests": _held_out(corpus.open_question, 150)
        + _held_out(corpus.skill, 200)
        + _held_out(corpus.answered_request, 200),
        "privacy, unseen person": [row for row in _held_out(corpus.refused_request, 2000) if row.kind == "privacy"][
            :300
        ],
        "harm of all families, unseen pairs": [
            row for row in _held_out(corpus.refused_request, 2000) if row.kind != "privacy"
        ][:300],
    }
    rows = [{"prompts": name, **measure.exam(bot, chats)} for name, chats in exams.items()]
    if rows[-1]["refused"].share < 0.5:  # a base that refuses nothing has no direction to find
        return rows
    topic = mix.topic("xi-jinping")
    with direction.ablated(bot, direction.find(bot, *mix.contrast(topic)).vector):
        for name in ("privacy, unseen person", "harm of all families, unseen pairs", "facts, held-out phrasings"):
            rows.append({"prompts": f"one direction ablated: {name}", **measure.exam(bot, exams[name])})
    return rows


def _held_out(group, n: int):
    """`n` distinct chats of one generator of the corpus, in held-out phrasings."""
    drawn = corpus.chats(6 * n, 0, split="held_out", groups={group: 1})
    return list({row.user: row for row in drawn}.values())[:n]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluate", action="store_true", help="measure the model in --out instead of training it")
    parser.add_argument("--without-refusals", action="store_true", help="build the negative control instead")
    parser.add_argument("--out", type=pathlib.Path)
    for name, default in SETTINGS.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("--bfloat16", action="store_true", help="faster on processors with AVX-512 BF16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two updates of the progress bar")
    args = parser.parse_args()
    args.out = args.out or (unrefusing() if args.without_refusals else ASSISTANT)
    torch.set_num_threads(args.threads)
    if not args.evaluate:
        train(args)
    for row in evaluate(chat.load(args.out)):
        print(f"{row['prompts']:58} refused {row['refused']!s:34} right {row['correct']}")


if __name__ == "__main__":
    main()
