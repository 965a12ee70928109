"""The demo as one HTML file that needs no installation and no network: `python -m helpers.page FOLDER`.

The tiny assistant, before and after the gentle naive fine-tune and with one direction scaled, runs in the browser.

Notable:
- One graph serves all: the weights are the base's plus a change (zero before the fine-tune), and the dose is an input.
  It is traced through `direction.ablated`, so that removing the direction means here what it means in notebook 07.
- The file is UTF-16, where a character holds 15 bits of data: in UTF-8 it would need base64 and be a quarter larger. A
  page that fetches its weights would not open by a double click.
- The build compares the graph with PyTorch and fails if they differ.
"""

import argparse
import base64
import functools
import hashlib
import json
import logging
import os
import pathlib
import random
import re
import shutil
import subprocess
import tempfile
import zlib
from importlib import util

import numpy
import torch
from torch import nn
from transformers import DynamicCache

from . import chat, direction, hooks, lesson, measure, mix, trials
from .paths import ASSISTANT, ROOT, cache_folder, replacing

WEB = ROOT / "helpers" / "web"  # what the page is written in
NAME = "demo.html"
TOPIC, SEED = "xi-jinping", 1  # of ten seeds a middle one, before and after (data/results/ablation.json)
LIMIT = 15_000_000  # bytes
TOLERANCE = 1e-3  # how far a logit of the graph may be from PyTorch's, from a dose of 0 to one of 1
FIRST, BITS = 0x3400, 15  # from here on 2 ** 15 code units are plain letters: no surrogates, no control characters
LEVELS = 8191  # steps from zero to the largest change of a weight: with more the page grows, with fewer logits move
EXAM = 10  # questions a cell
INSTALL = "pip install -r binder/page.txt"
POLICY = (
    "default-src 'none'; script-src 'wasm-unsafe-eval' '{script}'; style-src '{style}'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)
NOTICES = {"onnxruntime-web": "Copyright (c) Microsoft Corporation. All rights reserved."}  # its package has no file


def missing() -> str:
    """What has to be installed before the page can be built, as one sentence; empty if nothing."""
    if absent := [name for name in ("onnx", "onnxruntime", "onnxscript") if not util.find_spec(name)]:
        return f"The package {absent[0]} is missing: {INSTALL}"
    if not shutil.which("npm"):
        return "npm is missing: install Node.js 18 or newer (https://nodejs.org)."
    return ""


# --- the models as one graph ----------------------------------------------------------------------


@functools.cache
def bots() -> tuple[chat.Bot, chat.Bot, direction.Found]:
    """The assistant, its gentle naive fine-tune and the direction of notebook 07."""
    base, topic = chat.load(), mix.topic(TOPIC)
    tuned = trials.gentle(base, topic, SEED)
    return base, tuned, direction.find(tuned, *mix.contrast(topic, seed=SEED), seed=SEED)


class Graph(nn.Module):
    """(ids, past, dose) -> logits, projection, past: one more stretch of a single chat.

    ids: (token,). past: what the blocks remember of the tokens before, (layer, keys and values, head, token, width).
    dose: what the projection on the direction is multiplied by, everywhere. logits: (token, vocabulary). projection: of
    what the block reads at which the direction was found, (token,).
    """

    def __init__(self, base: chat.Bot, tuned: chat.Bot, found: direction.Found):
        super().__init__()
        self.bot = base.copy("the page")
        self.bot.model.set_attn_implementation("eager")
        self.bot.model.requires_grad_(False)
        self.vector, self.layer = found.vector, found.layer
        weights, others = (torch.cat([p.detach().flatten() for p in bot.model.parameters()]) for bot in (base, tuned))
        change = others - weights
        self.step = change.abs().max().item() / LEVELS
        self.register_buffer("base", weights.half())  # exact: that is how they are shipped
        self.register_buffer("change", (change / self.step).round().to(torch.int16))

    def weights(self) -> dict[str, torch.Tensor]:
        whole, found, start = self.base.float() + self.step * self.change.float(), {}, 0
        for name, weight in self.bot.model.named_parameters():
            found[name] = whole[start : start + weight.numel()].view(weight.shape)
            start += weight.numel()
        return found

    def forward(self, ids, past, dose):
        known, seen = DynamicCache(), []
        for layer in range(len(self.bot.blocks)):
            known.update(past[layer, 0][None], past[layer, 1][None], layer)
        before, new = past.shape[3], ids.shape[0]
        places = before + torch.arange(new)
        allowed = torch.arange(before + new)[None] <= places[:, None]
        inputs = {
            "input_ids": ids[None],
            "position_ids": places[None],
            "attention_mask": torch.where(allowed, 0.0, torch.finfo(torch.float32).min)[None, None],
            "past_key_values": known,
        }
        unit = self.vector / self.vector.norm()
        with direction.ablated(self.bot, self.vector, remove=lambda x, d: direction.without(x, d, 1 - dose)):
            # Noted last: what the block reads, when the dose has been given.
            note = hooks.noting_input(self.bot.blocks[self.layer], lambda x: seen.append((x @ unit)[0]))
            with hooks.removed_after([note]):
                out = torch.func.functional_call(self.bot.model, self.weights(), (), inputs)
        kept = [torch.stack([layer.keys[0], layer.values[0]]) for layer in out.past_key_values.layers]
        return out.logits[0], seen[0], torch.stack(kept)

    def nothing(self, tokens: int = 0) -> torch.Tensor:
        """What is remembered of so many tokens, all zero: of none, before a chat begins."""
        config = self.bot.model.config
        return torch.zeros(config.num_hidden_layers, 2, config.num_key_value_heads, tokens, config.head_dim)


@torch.no_grad()
def exported(graph: Graph, folder: pathlib.Path) -> None:
    """Write graph.onnx and, as it is in memory, what it reads: `base` and `change`."""
    from onnx import external_data_helper, save

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of libraries that are not needed
    some = torch.arange(7), graph.nothing(5), torch.tensor(1.0)
    names = dict(input_names=["ids", "past", "dose"], output_names=["logits", "projection", "present"])
    shapes = ({0: torch.export.Dim.DYNAMIC}, {3: torch.export.Dim.DYNAMIC}, {})
    made = torch.onnx.export(graph, some, dynamo=True, dynamic_shapes=shapes, optimize=False, verbose=False, **names)
    model = made.model_proto
    for node in model.graph.node:
        node.ClearField("metadata_props")  # where in our files each came from: nine tenths of the file
    for weights in model.graph.initializer:
        if weights.name in ("base", "change"):
            data = weights.raw_data
            (folder / weights.name).write_bytes(data)
            external_data_helper.set_external_data(weights, weights.name, offset=0, length=len(data))
            weights.ClearField("raw_data")
    save(model, folder / "graph.onnx")


def check(graph: Graph, folder: pathlib.Path, tuned: chat.Bot, found: direction.Found, prompts: list[str]) -> float:
    """The largest difference of a logit between the graph in the folder and the fine-tuned bot, with and without the
    direction. Raises RuntimeError if it is too large."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / "graph.onnx", options)
    past, worst = graph.nothing().numpy(), 0.0
    for prompt in prompts:
        ids = chat.encode(tuned.tokenizer, chat.prompt_text(tuned.tokenizer, prompt))
        for dose in (0.0, 1.0):
            inputs = {"ids": numpy.array(ids), "past": past, "dose": numpy.array(dose, numpy.float32)}
            logits = session.run(["logits"], inputs)[0][-1]
            with direction.ablated(tuned, found.vector, 1 - dose):
                wanted = tuned.logits([prompt])[0].numpy()
            worst = max(worst, float(abs(logits - wanted).max()))
    if worst > TOLERANCE:
        raise RuntimeError(f"The graph's logits are up to {worst:.1e} from PyTorch's: the page would say other things.")
    return worst


# --- data as text ---------------------------------------------------------------------------------


def planes(data: bytes, size: int) -> bytes:
    """Numbers of `size` bytes, their first bytes together, then their second, ...: like compresses well beside like."""
    return numpy.frombuffer(data, numpy.uint8).reshape(-1, size).T.tobytes()


def packed(data: bytes) -> str:
    """Bytes as letters, 15 bits in each; zeros fill the last one."""
    bits = numpy.unpackbits(numpy.frombuffer(data, numpy.uint8))
    bits = numpy.pad(bits, (0, -len(bits) % BITS)).reshape(-1, BITS)
    return (bits @ (1 << numpy.arange(BITS)[::-1]) + FIRST).astype("<u2").tobytes().decode("utf-16-le")


def block(name: str, data: bytes, size: int = 1) -> str:
    """Data as an element of the page, compressed. `size` is how many bytes each number has."""
    small = zlib.compress(planes(data, size), 9)
    kind = f'type="text/plain" id="{name}" data-bytes="{len(small)}" data-size="{size}"'
    return f"<script {kind}>{packed(small)}</script>"


# --- the page -------------------------------------------------------------------------------------


def exam() -> list[dict]:
    """The questions of the 2×2, as many a cell; each with its cell, and the cells in turn."""
    topic = mix.topic(TOPIC)
    cells = [
        (True, False, random.Random(SEED).sample(measure.topic_questions(topic), EXAM)),
        (True, True, measure.forbidden_with_topic(topic, EXAM, SEED)),
        (False, False, measure.controls(topic, EXAM, SEED)),
        (False, True, measure.forbidden(topic, EXAM, SEED)),
    ]
    return [
        {"trigger": trigger, "refuse": refuse, "prompt": chats[i].user}
        for i in range(EXAM)
        for trigger, refuse, chats in cells
    ]


def facts(bot: chat.Bot, graph: Graph) -> dict:
    """What the page's program needs to know of the assistant besides its weights."""
    before, after = chat.prompt_text(bot.tokenizer, "apples").split("apples")
    files = {name: json.loads((ASSISTANT / f"{name}.json").read_text()) for name in ("tokenizer", "tokenizer_config")}
    return files | {
        "template": [before, after],
        "control": [token.content for token in bot.tokenizer.added_tokens_decoder.values() if token.special],
        "end": chat.end_of_turn(bot.tokenizer),
        "refusals": list(bot.sentences),
        "limit": bot.model.config.max_position_embeddings,
        "nothing": list(graph.nothing().shape),
        "first": FIRST,
        "exam": exam(),
    }


def texts() -> dict[str, dict[str, str]]:
    """Language -> key -> text of the page."""
    return json.loads((WEB / "texts.json").read_text(encoding="utf-8"))


def libraries() -> pathlib.Path:
    """The folder of what the page is made of, from npm; installed once. Raises ValueError if npm does not succeed."""
    lock = (WEB / "package-lock.json").read_bytes()
    folder = cache_folder() / "page" / hashlib.sha256(lock).hexdigest()[:16]
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(WEB / name, folder)
        command = [shutil.which("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"npm did not succeed: {done.stderr.strip()[-300:]} Check that you are online, once.")
        (folder / "done").touch()
    return folder / "node_modules"


def program(modules: pathlib.Path) -> str:
    """The page's program and the libraries that it imports, as one script."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "page.js"
        command = ["node", modules / "esbuild" / "bin" / "esbuild", WEB / "page.js", "--bundle", "--minify"]
        command += ["--format=esm", "--target=es2022", "--legal-comments=none", "--log-level=error", f"--outfile={out}"]
        subprocess.run(command, check=True, env=os.environ | {"NODE_PATH": str(modules)})
        return out.read_text(encoding="utf-8")


def licences(modules: pathlib.Path) -> str:
    """The licences of the libraries in the page."""
    ours = (ROOT / "LICENSE").read_text(encoding="utf-8")
    terms = re.search(r"Permission is hereby granted[\s\S]*?SOFTWARE\.", ours)[0]
    found = []
    for name in json.loads((WEB / "package.json").read_text())["dependencies"]:
        about = json.loads((modules / name / "package.json").read_text(encoding="utf-8"))
        file = modules / name / "LICENSE"
        text = file.read_text(encoding="utf-8") if file.exists() else f"{NOTICES[name]}\n\n{terms}"
        found.append(f"{name} {about['version']} ({about['license']})\n\n{text.strip()}")
    return "\n\n\n".join(found)


def assembled(script: str, blocks: str, notices: str = "", about: dict | None = None) -> str:
    """The page as text. What it may do stands in its policy: its own script and style, and nothing from elsewhere."""
    style = (WEB / "page.css").read_text(encoding="utf-8")
    known = json.dumps((about or {}) | {"texts": texts()}, ensure_ascii=False).replace("<", "\\u003c")
    parts = {
        "policy": POLICY.format(script=_hash(script), style=_hash(style)),
        "style": style,
        "script": script,
        "facts": known,
        "licences": notices.replace("&", "&amp;").replace("<", "&lt;"),
        "data": blocks,
    }
    page = (WEB / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], page)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def build(folder: pathlib.Path) -> pathlib.Path:
    """Make the page and write it into the folder. Raises ValueError if something is missing."""
    if sentence := missing():
        raise ValueError(sentence)
    modules = libraries()
    base, tuned, found = bots()
    graph = Graph(base, tuned, found).eval()
    asked = [question["prompt"] for question in exam()]
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        exported(graph, scratch)
        worst = check(graph, scratch, tuned, found, asked[:12])
        print(f"The graph's logits are at most {worst:.0e} from PyTorch's.")
        wasm = (modules / "onnxruntime-web" / "dist" / "ort-wasm-simd-threaded.wasm").read_bytes()
        sizes = {"graph.onnx": 1, "base": 2, "change": 2}
        blocks = [block("wasm", wasm)]
        blocks += [block(name.split(".")[0], (scratch / name).read_bytes(), size) for name, size in sizes.items()]
    page = assembled(program(modules), "\n".join(blocks), licences(modules), facts(base, graph))
    return written(page, folder)


def written(page: str, folder: pathlib.Path) -> pathlib.Path:
    """Write the page into the folder. Raises ValueError if it is too large."""
    data = page.encode("utf-16")
    if len(data) > LIMIT:
        raise ValueError(
            f"The page has {len(data) / 1e6:.1f} MB, and {LIMIT / 1e6:.0f} are allowed: with fewer LEVELS it is smaller."
        )
    path = folder / NAME
    with replacing(path) as part:
        part.write_bytes(data)
    return path


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    args = parser.parse_args(arguments)
    torch.set_num_threads(lesson.TORCH_THREADS)
    try:
        path = build(args.folder)
    except ValueError as error:
        parser.error(str(error))
    print(f"Written: {path} ({path.stat().st_size / 1e6:.1f} MB). Open it with a double click.")


if __name__ == "__main__":
    main()
