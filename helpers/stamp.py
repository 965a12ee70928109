"""What a result was made with, as a hash: settings, code, data and versions.

Notable:
- Code counts by what it does: comments and line breaks may change.
"""

import ast
import hashlib
import json
import platform

import tokenizers
import torch
import transformers

from .paths import ROOT


def versions() -> dict[str, str]:
    """The versions that a result may depend on."""
    packages = {package.__name__: package.__version__ for package in (torch, transformers, tokenizers)}
    return {"python": ".".join(platform.python_version_tuple()[:2])} | packages


def code(*modules: str) -> str:
    """A hash of what helpers do, by the names of their modules."""
    found = hashlib.sha256()
    for name in modules:
        tree = ast.parse((ROOT / "helpers" / f"{name}.py").read_text(encoding="utf-8"))
        found.update(f"{name} {ast.dump(tree)}".encode())
    return found.hexdigest()[:16]


def contents(paths) -> str:
    """A hash of the names, sizes and contents of files."""
    found = hashlib.sha256()
    for path in sorted(paths):
        found.update(f"{path.name} {path.stat().st_size} ".encode() + path.read_bytes())
    return found.hexdigest()[:16]


def of(*parts) -> str:
    """One hash of anything that JSON can hold, and of the versions."""
    return hashlib.sha256(json.dumps([versions(), *parts], sort_keys=True).encode()).hexdigest()[:24]
