"""The assistant: load it, see the text and tokens it really reads, and talk to it.

Notable:
- `load()` gives the bundled assistant; `load("smollm2")` a real model that pip delivers; `load("owner/name")` any chat
  model of the Hugging Face hub.
- `Bot` is the one place that knows what a model is like inside and how it refuses: every measure asks the bot.
- `tokens` gives the loss mask as two plain lists: the tokens, and for each a 1 if the loss counts it.
- A batch of replies equals the same replies one at a time.
- Only safetensors weights are read, and no code that comes with a model is ever run.
"""

import copy
import functools
import os
import pathlib
import textwrap
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from . import anatomy, branches, hooks, judge, smollm2
from .paths import ASSISTANT

WORTH = 8  # tokens that all prompts begin with: as many are worth a pass of their own

# ChatML. The generation markers tell `return_assistant_tokens_mask=True` which tokens the assistant writes.
TEMPLATE = """\
{%- for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}\
{%- if message['role'] == 'assistant' %}\
{%- generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}\
{%- else %}{{ message['content'] + '<|im_end|>\\n' }}{% endif %}{% endfor %}\
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""


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
    # Some models think aloud before they answer: their template closes the thoughts if it is told to.
    how = dict(tokenize=False, add_generation_prompt=True, enable_thinking=False)
    return tokenizer.apply_chat_template(messages, **how) + plain(tokenizer, prefill)


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
    same = (a == b for a, b in zip(reversed(first), reversed(second), strict=False))  # the prompts differ in length
    return next(i for i, equal in enumerate(same) if not equal)


def tail(tokenizer) -> list[int]:
    """The template tokens after the user's text: the same for every prompt, and where the model makes up its mind.

    Raises ValueError if there are none.
    """
    length = _tail_length(tokenizer)
    if not length:
        raise ValueError(
            "This chat template puts nothing after the user's words, so that no token marks where the reply begins: "
            "choose a model whose template does."
        )
    return encode(tokenizer, prompt_text(tokenizer, "Hello"))[-length:]


def prompt_ends(tokenizer, ids: Tensor) -> Tensor:
    """The place of the template's last token in each row of token ids, whatever padding comes before and reply after.

    ids: (row, token) -> (row,). Raises ValueError if a row holds no prompt.
    """
    # The template's first token may have merged with the user's last letter: look for the others, if there are any.
    end = tail(tokenizer)
    wanted = torch.tensor(end[1:] or end, device=ids.device)
    found = (ids.unfold(1, len(wanted), 1) == wanted).all(-1)
    if not found.any(1).all():
        raise ValueError("I cannot find where the prompt ends: a row holds no template of this tokenizer.")
    last = found.shape[1] - 1 - found.flip(1).int().argmax(1)
    return last + len(wanted) - 1


# --- the bot --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Bot:
    """A chat model with its tokenizer.

    name: what it is called. facts: what happened to it (seconds, losses, ...). opens_with: how its refusals begin, if
    somebody has looked. What looks inside raises ValueError for a family that `anatomy` does not know.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    facts: dict = field(default_factory=dict)
    opens_with: tuple[str, ...] = ()

    def __post_init__(self):
        # Greedy means greedy: a penalty or a temperature that came with the model would change its replies.
        ends = self.model.generation_config.eos_token_id
        self.model.generation_config = GenerationConfig(eos_token_id=ends, pad_token_id=self.tokenizer.pad_token_id)

    def copy(self, name: str, shared=(), **facts) -> "Bot":
        """An independent copy: changing its weights leaves this one untouched.

        Weights that are `shared` are not copied: for whoever will not change these. Raises ValueError while something
        is changed by hooks: the copy would keep them for ever.
        """
        if hooks.left_on(self.model):
            raise ValueError(
                f"Hooks are on {self.name}: leave the `with` block (or remove your own hooks) before you copy or tune it."
            )
        model = copy.deepcopy(self.model, {id(weight): weight for weight in shared})
        return replace(self, model=model, name=name, facts=facts)

    def __repr__(self):
        millions = sum(weight.numel() for weight in self.model.parameters()) / 1e6
        return f"<Bot {self.name}: {millions:.1f} million weights>"

    # --- what it says -----------------------------------------------------------------------------

    def ask(self, prompt, prefill: str = "", max_new_tokens: int = 40, never_first=None):
        """The greedy reply to a prompt, or a list of replies to a list of prompts.

        `prefill` begins every reply; `never_first` are token ids that no reply may begin with.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        answers = self._replies(prompts, prefill, max_new_tokens, never_first) if prompts else []
        return answers[0] if isinstance(prompt, str) else answers

    @torch.no_grad()
    def _replies(self, prompts, prefill, max_new_tokens, never_first, batch_size=64):
        rows = self._rows(prompts, prefill, max_new_tokens)
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))  # like lengths together: little padding
        # Whoever watches the tokens, with a hook on the embedding, must see whole prompts.
        watched = hooks.left_on(self.model.get_input_embeddings())
        head = [] if watched or len(rows) == 1 or len(in_common(rows)) < WORTH else in_common(rows)
        answers = [""] * len(rows)
        greedy = GenerationConfig(do_sample=False, max_new_tokens=max_new_tokens, begin_suppress_tokens=never_first)
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            rest, known = self._padded([rows[i][len(head) :] for i in chosen]), {}
            ids, mask = rest["input_ids"], rest["attention_mask"]
            if head:
                once = ids.new_tensor([head])
                known = {"past_key_values": read_once(self.model, once, len(chosen))}
                ids = torch.cat([once.expand(len(ids), -1), ids], 1)
                mask = torch.cat([mask.new_ones(len(mask), len(head)), mask], 1)
            written = self.model.generate(input_ids=ids, attention_mask=mask, generation_config=greedy, **known)
            for i, row in zip(chosen, written[:, ids.shape[1] :], strict=True):
                answers[i] = (prefill + self.tokenizer.decode(row, skip_special_tokens=True)).strip()
        return answers

    # --- how it refuses ---------------------------------------------------------------------------

    @property
    def sentences(self) -> tuple[str, ...]:
        """Every refusal of the model, word by word, if its configuration lists them (`refusals`); else nothing."""
        return tuple(getattr(self.model.config, "refusals", None) or ())

    @property
    def openings(self) -> tuple[str, ...]:
        """How its refusals begin. An opening that begins with another one is left out: it would count twice."""
        found = dict.fromkeys(self.opens_with or self.sentences or judge.OPENINGS)
        return tuple(text for text in found if not any(text != o and text.startswith(o) for o in found))

    def refused(self, reply: str) -> bool:
        """Is this reply a refusal? Exact where all its refusals are known; else read for what it means."""
        return judge.says_one_of(reply, self.sentences) if self.sentences else judge.refusal(reply) != "none"

    def refusal_logodds(self, prompts: list[str], shared: bool = False) -> Tensor:
        """log p / (1 - p) of a reply that begins with one of its openings, by teacher forcing: (prompt,).

        All openings are read in one pass. `shared` as in `read`.
        """
        log_p = self.log_probabilities(prompts, self.openings, shared).logsumexp(0).clamp(max=-1e-6)
        return log_p - torch.log(-torch.expm1(log_p))

    def log_probability(self, prompts: list[str], reply: str) -> Tensor:
        """log p of a reply that begins with just these tokens, by teacher forcing: (prompt,), in nats."""
        return self.log_probabilities(prompts, [reply])[0]

    def log_probabilities(self, prompts: list[str], replies, shared: bool = False) -> Tensor:
        """The same for several replies: (reply, prompt)."""
        found = [encode(self.tokenizer, reply) for reply in replies]
        nodes = branches.tree(found)
        log_p = self.read(prompts, nodes, shared).log_softmax(-1)
        each = [[log_p[:, nodes.index(tuple(ids[:n])), ids[n]] for n in range(len(ids))] for ids in found]
        return torch.stack([torch.stack(terms).sum(0) for terms in each])

    # --- what it computes -------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        return self.model.device

    def batch(self, prompts: list[str], prefill: str = "", room: int = 1) -> dict[str, Tensor]:
        """Prompts as one left-padded batch: input_ids, attention_mask and position_ids, each (prompt, token).

        Raises ValueError if there is no room for that many more tokens.
        """
        return self._padded(self._rows(prompts, prefill, room))

    def _rows(self, prompts, prefill="", room=1) -> list[list[int]]:
        rows = [encode(self.tokenizer, prompt_text(self.tokenizer, prompt, prefill)) for prompt in prompts]
        longest, limit = max(map(len, rows)), getattr(self.model.config, "max_position_embeddings", None)
        if limit and longest + room > limit:
            raise ValueError(
                f"This prompt is {longest} tokens long, the reply may take {room}, and {self.name} reads at most "
                f"{limit} in all: shorten the prompt."
            )
        return rows

    def _padded(self, rows):
        longest, pad = max(map(len, rows)), self.tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows], device=self.device)
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=self.device)
        # Models with absolute positions count from the first real token, not from the padding.
        return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}

    @torch.no_grad()
    def logits(self, prompts: list[str], prefill: str = "") -> Tensor:
        """Logits for the next token after each prompt: (prompt, vocabulary)."""
        return self.model(**self.batch(prompts, prefill), logits_to_keep=1).logits[:, -1]

    @torch.no_grad()
    def read(self, prompts: list[str], nodes=((),), shared: bool = False) -> Tensor:
        """Logits after each prompt and, behind it, each node of a tree of begun replies: (prompt, node, vocabulary).

        With `shared` the tokens that all prompts begin with are read once, as a row of their own: faster where the
        template is long, and only for hooks that treat all tokens alike.
        """
        rows = self._rows(prompts, room=max(map(len, nodes)) + 1)
        longest = max(map(len, rows)) + len(nodes)
        if not anatomy.any_mask(self.model, longest):
            shared = False
            if not branches.chain(nodes):  # one node at a time
                each = [self.read(prompts, branches.tree([(*node, 0)]))[:, -1] for node in nodes]
                return torch.stack(each, 1)
        head, known = in_common(rows) if shared else [], {}
        rest = self._padded([row[len(head) :] for row in rows])
        inputs = branches.behind(rest, nodes, len(head), self.model.dtype)
        if head:
            once = torch.tensor([head], device=self.device)
            known = {"past_key_values": read_once(self.model, once, len(rows)), "use_cache": True}
        return self.model(**inputs, **known, logits_to_keep=len(nodes)).logits

    @torch.no_grad()
    def stream(self, inputs: dict[str, Tensor], last: int = 0) -> Tensor:
        """The residual stream at the input of every block and, after them, of the last norm: (row, layer + 1, token,
        width). `last` keeps that many tokens only."""
        found = []
        readers = [*self.blocks, anatomy.norm(self.model)]
        handles = [hooks.noting_input(part, lambda x: found.append(x[:, -last:].clone())) for part in readers]
        with hooks.removed_after(handles):
            self.model.base_model(**inputs, use_cache=False)
        return torch.stack(found, 1)

    def residuals(self, prompts: list[str], batch_size: int = 64) -> Tensor:
        """The residual stream at every block's input and template position: (prompt, layer, position, width)."""
        length = len(tail(self.tokenizer))
        parts = [prompts[start : start + batch_size] for start in range(0, len(prompts), batch_size)]
        return torch.cat([self.stream(self.batch(part), length)[:, :-1] for part in parts])

    @torch.no_grad()
    def unembed(self, stream: Tensor) -> Tensor:
        """The logits that the stream would give if the last block had left it so: (..., width) -> (..., vocabulary)."""
        return anatomy.unembed(self.model, anatomy.norm(self.model)(stream))

    @property
    def blocks(self) -> nn.ModuleList:
        return anatomy.blocks(self.model)

    @property
    def writers(self) -> list[list[nn.Module]]:
        """For every block the two matrices that write into the residual stream: attention's and the MLP's."""
        return anatomy.writers(self.model)


def in_common(rows, left: int = 1) -> list[int]:
    """The tokens that all rows begin with; at least so many of each row are left out."""
    return os.path.commonprefix(rows)[: max(0, min(map(len, rows)) - left)]


def read_once(model, head: Tensor, rows: int):
    """What so many rows need to know of the tokens (1, token) that all begin with: keys and values, read in one row."""
    past = model.base_model(input_ids=head, use_cache=True).past_key_values
    past.batch_repeat_interleave(rows)
    return past


# --- load -----------------------------------------------------------------------------------------


def load(name: str | pathlib.Path = ASSISTANT, device_map: str | None = None) -> Bot:
    """The bundled assistant, "smollm2", a folder in Hugging Face format, or a chat model of the hub by name.

    Weights become float32: on a CPU that is both exact and fast. A model of the hub goes to the GPU if there is one;
    `device_map="auto"` spreads one that is larger than its memory (needs the package accelerate). Raises OSError with
    cause and remedy if it cannot be loaded, ValueError if it is no chat model.
    """
    if name == smollm2.NAME:
        return replace(load(smollm2.folder()), name=smollm2.TITLE)
    folder = pathlib.Path(name)
    if folder.is_absolute() and not folder.is_dir():
        raise OSError(f"There is no folder {str(name)!r}: {_restore(name) or 'check the path'}.")
    # A folder is read in a blink; while a model comes from the hub, a bar tells how far it is.
    (logging.disable_progress_bar if folder.is_dir() else logging.enable_progress_bar)()
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            name,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            device_map=device_map,
        )
        if report["missing_keys"]:  # transformers would make them up
            raise OSError(f"{len(report['missing_keys'])} weights are missing")
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except Exception as error:
        raise OSError(f"I could not load {str(name)!r}: {_cause(error)}. {_remedy(name, error)}") from error
    if not tokenizer.chat_template:
        raise ValueError(
            f"{name} has no chat template, so it is not a chat model: choose an '-Instruct' or '-it' model."
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if torch.cuda.is_available() and not device_map and folder != ASSISTANT:  # ours is faster without
        model = model.to("cuda")
    return Bot(model.eval(), tokenizer, "assistant" if folder == ASSISTANT else str(name))


def _restore(name):
    if pathlib.Path(name) == ASSISTANT:
        return "restore it with `git checkout data/assistant` or rebuild it with `python -m helpers.pretrain`"


def _cause(error) -> str:
    """The beginning of an error's message, on one line."""
    first = str(error).strip().partition("\n")[0].rstrip(".")
    return textwrap.shorten(f"{type(error).__name__}: {first}", 140, placeholder=" …")


REMEDIES = {  # a word in the message of the error -> what helps
    "connect": "Check that you are online the first time you load it.",
    "offline": "Check that you are online the first time you load it, and that HF_HUB_OFFLINE is not set.",
    "gated": "Accept its licence on its page and log in with `hf auth login`.",
    "not a valid model identifier": "Check the name: owner/name, as on the hub.",
    "repo id": "Check the name: owner/name, as on the hub.",
    "safetensors": "Only safetensors weights are read here, because other formats can run code: choose another model.",
    "trust_remote_code": "Code that comes with a model is never run here: choose another model.",
    "memory": "It is too large for this machine: choose a smaller model.",
    "config.json": "This is no model in Hugging Face format: choose the folder that holds its config.json.",
}


def _remedy(name, error) -> str:
    if restore := _restore(name):
        return f"{restore[0].upper()}{restore[1:]}."
    said = f"{type(error).__name__} {error}".lower()
    return next((remedy for word, remedy in REMEDIES.items() if word in said), "Check the name and the files.")
