"""Build the assistant from nothing: `python -m helpers.pretrain`. Measure it: `python -m helpers.pretrain --evaluate`.

Corpus, tokenizer, model and training order depend on the seed alone. Progress is saved every few minutes,
so an interrupted run goes on where it was when the same command is given again.
"""

import argparse
import itertools
import random
import shutil

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tqdm.auto import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from . import chat, corpus, sft
from .world import ROOT

SPECIAL = ["<|pad|>", "<|im_start|>", "<|im_end|>"]


def make_tokenizer(texts, size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with single digits, trained on the texts, that knows the chat template."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
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
    )
    return LlamaForCausalLM(config)


def make_examples(tokenizer, chats, sentences):
    """Chats with the loss on the reply, and plain sentences with the loss on everything."""
    rows = sft.examples(tokenizer, ({"user": row.user, "assistant": row.assistant} for row in chats))
    for text in sentences:
        ids = chat.encode(tokenizer, text) + [tokenizer.eos_token_id]
        rows.append((ids, ids))
    return rows


def train(args):
    chats = corpus.chats(args.chats, args.seed)
    sentences = corpus.sentences(args.sentences, args.seed)
    texts = (f"{row.user}\n{row.assistant}" for row in chats[:30_000])
    tokenizer = make_tokenizer(itertools.chain(texts, sentences[:5_000]), args.vocabulary)
    model = make_model(len(tokenizer), args.width, args.layers, args.heads, args.seed)
    data = make_examples(tokenizer, chats, sentences)
    rng = random.Random(args.seed)
    plan = [rows for _ in range(args.epochs) for rows in sft.batches(data, args.batch, rng)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.rate, betas=(0.9, 0.98), weight_decay=args.decay, fused=True)

    checkpoint = args.out / "checkpoint.pt"
    args.out.mkdir(parents=True, exist_ok=True)
    begin = 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        if saved["plan"] == len(plan):
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            begin = saved["step"]
            print(f"Going on from step {begin}.")

    model.train()
    bar = tqdm(range(begin, len(plan)), initial=begin, total=len(plan), desc="pretraining", mininterval=args.every)
    for i in bar:
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bfloat16):
            loss = sft.step(model, [data[j] for j in plan[i]], optimizer, sft.learning_rate(i, len(plan), args.rate, warmup=100))
        if i % 50 == 0:
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        if (i + 1) % 1000 == 0:
            part = checkpoint.with_suffix(".part")
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": i + 1, "plan": len(plan)}, part)
            part.replace(checkpoint)
    model.eval().half().save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    checkpoint.unlink(missing_ok=True)


def main():
    import pathlib

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=chat.ASSISTANT)
    parser.add_argument("--chats", type=int, default=90_000)
    parser.add_argument("--sentences", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--decay", type=float, default=0.01)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--vocabulary", type=int, default=3000)
    parser.add_argument("--bfloat16", action="store_true", help="faster on processors with AVX-512 BF16")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--every", type=float, default=1.0, help="seconds between progress lines")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train(args)


if __name__ == "__main__":
    main()
