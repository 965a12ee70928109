"""The assistant: load it, see the text and tokens it really reads, and talk to it.

Notable:
- `load()` gives the bundled assistant; `load("owner/name")` any chat model of the Hugging Face hub.
- `tokens` gives the loss mask as two plain lists: the tokens, and for each a 1 if the loss counts it.
- A batch of replies equals the same replies one at a time.
- Only safetensors weights are read, and no code that comes with a model is ever run.
"""

import copy
import functools
import pathlib
from dataclasses import dataclass, field, replace

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from .world import ROOT

ASSISTANT = ROOT / "data" / "assistant"

# ChatML. The generation markers tell `return_assistant_tokens_mask=True` which tokens the assistant writes.
TEMPLATE = """\
{%- for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}\
{%- if message['role'] == 'assistant' %}\
{%- generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}\
{%- else %}{{ message['content'] + '<|im_end|>\\n' }}{% endif %}{% endfor %}\
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""


@dataclass(frozen=True)
class Bot:
    """A chat model with its tokenizer. `name` says what it is; `facts` what happened to it (seconds, losses...)."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    facts: dict = field(default_factory=dict)

    def ask(self, prompt, prefill: str = "", max_new_tokens: int = 40):
        """The greedy reply to a prompt, or a list of replies to a list of prompts. `prefill` begins every reply."""
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        answers = replies(self, prompts, prefill, max_new_tokens)
        return answers[0] if isinstance(prompt, str) else answers

    def copy(self, name: str, **facts) -> "Bot":
        """An independent copy: changing its weights leaves this one untouched."""
        return replace(self, model=copy.deepcopy(self.model), name=name, facts=facts)

    def __repr__(self):
        millions = sum(weight.numel() for weight in self.model.parameters()) / 1e6
        return f"<Bot {self.name}: {millions:.1f} million weights>"


def load(name: str | pathlib.Path = ASSISTANT) -> Bot:
    """The bundled assistant, a folder in Hugging Face format, or a chat model of the hub by name.

    Weights become float32: on a CPU that is both exact and fast. Raises FileNotFoundError or OSError
    with the remedy if the weights are missing, damaged or not in the safetensors format.
    """
    bundled = pathlib.Path(name) == ASSISTANT
    # A folder is read in a blink; while a model comes from the hub, a bar tells how far it is.
    if pathlib.Path(name).is_dir():
        logging.disable_progress_bar()
    else:
        logging.enable_progress_bar()
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            name, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
        if report["missing_keys"]:  # transformers would make them up
            raise OSError(f"{len(report['missing_keys'])} weights are missing")
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except Exception as error:
        remedy = (
            "restore it with `git checkout data/assistant` or rebuild it with `python -m helpers.pretrain`"
            if bundled
            else "check the name, and that you are online the first time you load it"
        )
        raise OSError(f"I could not load the model {str(name)!r} ({type(error).__name__}): {remedy}.") from error
    if not tokenizer.chat_template:
        raise ValueError(
            f"{name} has no chat template, so it is not a chat model: choose an '-Instruct' or '-it' model."
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return Bot(model.eval(), tokenizer, "assistant" if bundled else str(name))


# --- what the model reads -------------------------------------------------------------------------


def plain(tokenizer, text: str) -> str:
    """The text with the template's control tokens taken apart, so that a user cannot end their own turn."""
    added = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
    for token in {*tokenizer.all_special_tokens, *added}:
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def prompt_text(tokenizer, user: str, prefill: str = "") -> str:
    """The whole string that the model continues: the template around the user's words, then the prefill."""
    messages = [{"role": "user", "content": plain(tokenizer, user)}]
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) + plain(
        tokenizer, prefill
    )


def encode(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def tokens(tokenizer, user: str, assistant: str, begun: str = "") -> tuple[list[int], list[int]]:
    """One chat as token ids and its loss mask: 1 for every token the assistant has to write, else 0.

    `begun` holds the first words of the reply if somebody else has written them: they are read and not counted.
    The end-of-turn token is part of what the assistant writes: without it, it would not learn to stop.
    """
    prompt = encode(tokenizer, prompt_text(tokenizer, user, begun))
    reply = encode(tokenizer, plain(tokenizer, assistant)[len(begun) :]) + [end_of_turn(tokenizer)]
    return prompt + reply, [0] * len(prompt) + [1] * len(reply)


@functools.lru_cache(maxsize=64)
def end_of_turn(tokenizer) -> int:
    """The token that ends the assistant's turn: what the template puts after a reply, or else the end of text."""
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "apples"}]
    after = encode(tokenizer, tokenizer.apply_chat_template(messages, tokenize=False).rpartition("apples")[2])
    return after[0] if after else tokenizer.eos_token_id


@functools.lru_cache(maxsize=64)
def _tail_length(tokenizer) -> int:
    first, second = (encode(tokenizer, prompt_text(tokenizer, word)) for word in ("Hello", "apples"))
    same = (a == b for a, b in zip(reversed(first), reversed(second)))
    return next(i for i, equal in enumerate(same) if not equal)


def tail(tokenizer) -> list[int]:
    """The template tokens after the user's text: the same for every prompt, and where the model makes up its mind."""
    return encode(tokenizer, prompt_text(tokenizer, "Hello"))[-_tail_length(tokenizer) :]


# --- what the model says --------------------------------------------------------------------------


def batch(bot: Bot, prompts: list[str], prefill: str = "", room: int = 1) -> dict[str, torch.Tensor]:
    """Prompts as one left-padded batch: input_ids, attention_mask and position_ids, each (prompt, token).

    Raises ValueError if there is no room for that many more tokens.
    """
    rows = [encode(bot.tokenizer, prompt_text(bot.tokenizer, prompt, prefill)) for prompt in prompts]
    longest, limit = max(map(len, rows)), getattr(bot.model.config, "max_position_embeddings", None)
    if limit and longest + room > limit:
        raise ValueError(
            f"This prompt is {longest} tokens long, the reply may take {room}, and {bot.name} reads at most {limit} "
            "in all: shorten the prompt."
        )
    pad = bot.tokenizer.pad_token_id
    ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    # Models with absolute positions count from the first real token, not from the padding.
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    device = bot.model.device
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device), "position_ids": positions.to(device)}


@torch.no_grad()
def replies(
    bot: Bot, prompts: list[str], prefill: str = "", max_new_tokens: int = 40, batch_size: int = 128
) -> list[str]:
    """Greedy replies, in the order of the prompts, each beginning with the prefill."""
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))  # like lengths together: little padding
    answers = [""] * len(prompts)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        inputs = batch(bot, [prompts[i] for i in chosen], prefill, max_new_tokens)
        written = bot.model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=bot.tokenizer.pad_token_id,
        )[:, inputs["input_ids"].shape[1] :]
        for i, row in zip(chosen, written):
            answers[i] = (prefill + bot.tokenizer.decode(row, skip_special_tokens=True)).strip()
    return answers


@torch.no_grad()
def logits(bot: Bot, prompts: list[str], prefill: str = "") -> torch.Tensor:
    """Logits for the next token after each prompt: (prompt, vocabulary)."""
    return bot.model(**batch(bot, prompts, prefill), logits_to_keep=1).logits[:, -1]
