"""Measured results, shipped as `data/results/<name>.json` and rebuilt by `python -m helpers.sweep`.

Notable:
- A rate is stored as its counts, [hits, n]; intervals are computed where they are shown.
- `provenance` is a hash of the code, the data and the settings that a file was made with.
"""

import hashlib
import json
import os
import statistics

from .measure import Rate
from .world import ROOT

FOLDER = ROOT / "data" / "results"


def read(name: str) -> list[dict]:
    """The rows of one result file, each pair of counts as a Rate."""
    path = FOLDER / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(
            f"There are no results {name!r}: restore data/results, or run `python -m helpers.sweep`."
        )
    return [_revive(row) for row in json.loads(path.read_text(encoding="utf-8"))["rows"]]


def write(name: str, rows: list[dict], provenance: str) -> None:
    """Write a result file at one stroke: a reader sees the old one or the new one."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    part = FOLDER / f"{name}.part"
    part.write_text(json.dumps({"provenance": provenance, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    os.replace(part, FOLDER / f"{name}.json")


def provenance(files, settings) -> str:
    """A hash of settings and of the names, sizes and contents of files."""
    found = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in sorted(files):
        found.update(f"{path.name} {path.stat().st_size} ".encode() + path.read_bytes())
    return found.hexdigest()[:16]


def pooled(rates) -> Rate:
    """Several rates as one: hits and counts added up."""
    rates = list(rates)
    return Rate(sum(rate.hits for rate in rates), sum(rate.n for rate in rates))


def by_dose(runs: list[dict], dose: str, of) -> dict:
    """Value of the column `dose` -> [of(run) for the runs that have it], in ascending order."""
    return {value: [of(run) for run in runs if run[dose] == value] for value in sorted({run[dose] for run in runs})}


def spread(rates: list[Rate]) -> float:
    """How far the shares of several runs are apart: their standard deviation around their mean."""
    return statistics.pstdev(rate.share for rate in rates)


def _revive(value):
    if isinstance(value, list) and len(value) == 2 and all(type(x) is int for x in value):
        return Rate(*value)
    if isinstance(value, dict):
        return {key: _revive(part) for key, part in value.items()}
    return [_revive(part) for part in value] if isinstance(value, list) else value
