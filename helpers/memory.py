"""What has taken long is remembered on disk: one safetensors file a result, found by a hash of all that it depends on.

Notable:
- A file is there whole or not at all, and is read only if it still is what was written.
- What cannot be remembered, because the disk is full or not ours, is computed again: nothing is lost.
"""

import hashlib
import json
import pathlib

import safetensors
import safetensors.torch
from torch import Tensor

from . import stamp
from .paths import cache_folder, replacing

MEGABYTE = 1_000_000


def place(kind: str, weights: dict[str, Tensor], settings) -> pathlib.Path:
    """Where the result of this kind, from these weights and settings (anything that JSON can hold), is remembered."""
    return cache_folder() / kind / f"{stamp.of(digest(weights), settings)}.safetensors"


def remember(path: pathlib.Path, weights: dict[str, Tensor], facts: dict) -> None:
    """Write weights and facts, and say so if that is not possible."""
    weights = {name: weight.detach().contiguous() for name, weight in weights.items()}
    content = safetensors.torch.save(weights, {"facts": json.dumps(facts), "digest": digest(weights)})
    try:
        with replacing(path) as part:
            part.write_bytes(content)
    except OSError as error:
        print(
            f"I could not remember this result ({error.strerror or error}). You get it all the same; it needs "
            f"{len(content) / MEGABYTE:.0f} MB in {cache_folder()}."
        )


def recall(path: pathlib.Path) -> tuple[dict[str, Tensor], dict] | None:
    """(weights, facts) as they were remembered; None if they were not, or if the file is damaged."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            said = file.metadata()
            weights = {name: file.get_tensor(name) for name in file.keys()}
        return (weights, json.loads(said["facts"])) if digest(weights) == said["digest"] else None
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError):
        return None


def digest(weights: dict[str, Tensor]) -> str:
    """A hash of names, shapes and values."""
    found = hashlib.sha256()
    for name, weight in sorted(weights.items()):
        found.update(f"{name} {tuple(weight.shape)} ".encode() + weight.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
