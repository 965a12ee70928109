"""LoRA: fine-tuning with few weights, for models too large to store once a fine-tune.

Hu et al., ICLR 2022, arXiv:2106.09685: every matrix W stays as it is and gets a product of two thin ones, W + (alpha / r) B A.

Notable:
- `peft`, the library of the field, does it; we say where, and take the product into W at the end: a tuned model is an
  ordinary one again, with nothing to know about adapters.
- An adapter is a folder in peft's format, safetensors only: any peft program reads it.
"""

import contextlib
import pathlib

import safetensors.torch
import torch
from transformers.pytorch_utils import Conv1D

from . import anatomy
from .paths import replacing

STRETCH = 2  # alpha / r
KEPT = 1 / 3  # of the blocks, the lowest: they learn nothing, so that a step has a third less to remember
FILE = "adapter_model.safetensors"


def attach(model, rank: int):
    """Freeze a model and put thin matrices beside those of its upper blocks. Returns peft's model around it."""
    peft = _peft()
    return peft.get_peft_model(model, _config(peft, model, rank))


def untouched(model) -> list[torch.Tensor]:
    """The weights that no fine-tune with thin matrices changes: copies can share them."""
    changed = {id(matrix.weight) for matrix in _matrices(model).values()}
    return [weight for weight in model.parameters() if id(weight) not in changed]


def _matrices(model) -> dict[str, torch.nn.Module]:
    """Name -> matrix, for all that get a thin product beside them."""
    blocks = anatomy.blocks(model)
    upper = {part for block in blocks[round(KEPT * len(blocks)) :] for part in block.modules()}
    linear = torch.nn.Linear, Conv1D
    return {name: part for name, part in model.named_modules() if part in upper and isinstance(part, linear)}


def _config(peft, model, rank):
    return peft.LoraConfig(r=rank, lora_alpha=STRETCH * rank, target_modules=list(_matrices(model)))


def merged(adapted) -> dict[str, torch.Tensor]:
    """Add every product to its matrix and take the thin matrices away: the model within is an ordinary one again.

    Returns the thin ones, by peft's names.
    """
    adapter = {name: weight.clone() for name, weight in _peft().get_peft_model_state_dict(adapted).items()}
    for weight in adapted.merge_and_unload().parameters():
        weight.requires_grad_(True)
    return adapter


def put_on(model, adapter: dict[str, torch.Tensor], rank: int) -> None:
    """Change a model, in place, into what it was when these thin matrices had been learned."""
    adapted = attach(model, rank)
    _peft().set_peft_model_state_dict(adapted, adapter)
    merged(adapted)


def save(folder: pathlib.Path, adapter: dict[str, torch.Tensor], rank: int, model, name: str) -> None:
    """Write an adapter of a model, that peft will find by this name, as peft does, in half precision: rounding to it
    moves no reply (tests/test_real.py)."""
    config = _config(_peft(), model, rank)
    config.base_model_name_or_path, config.inference_mode = name, True
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    with replacing(folder / FILE) as part:
        part.write_bytes(safetensors.torch.save({name: weight.half().contiguous() for name, weight in adapter.items()}))


def load(folder: pathlib.Path) -> dict[str, torch.Tensor]:
    """The thin matrices of a folder. Raises OSError if there are none in safetensors."""
    try:
        return {name: weight.float() for name, weight in safetensors.torch.load_file(folder / FILE).items()}
    except (OSError, safetensors.SafetensorError) as error:
        raise OSError(f"I could not read the adapter in {folder}: restore it with `git checkout data/real`.") from error


def _peft():
    with contextlib.suppress(ImportError):
        import peft  # slow to import, and needed for real models only

        return peft
    raise OSError("Fine-tuning with few weights needs the package peft: pip install -r binder/real.txt")
