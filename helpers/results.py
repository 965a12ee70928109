"""Measured results, shipped as `data/results/<name>.json` and rebuilt by `python -m helpers.sweep`.

Notable:
- A rate is stored as its counts, [hits, n], and its marks where it has any; intervals are computed where they are shown.
- `provenance` says what a file was made with: a hash of data, code and settings, the recipes and the versions.
"""

import json

from . import tally
from .paths import DATA, replacing
from .tally import Rate

FOLDER = DATA / "results"


def read(name: str) -> list[dict]:
    """The rows of one result file, each pair of counts, with or without marks, as a Rate."""
    path = FOLDER / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(
            f"There are no results {name!r}: restore data/results, or run `python -m helpers.sweep`."
        )
    return [_revive(row) for row in json.loads(path.read_text(encoding="utf-8"))["rows"]]


def grouped(rows: list[dict], column: str) -> dict:
    """The rows by what they hold in one column: {value: [row, ...]}, in the order of their first rows."""
    found = {}
    for row in rows:
        found.setdefault(row[column], []).append(row)
    return found


def pooled(rows: list[dict], column: str) -> list[dict]:
    """One row for each value of a column, with every rate taken together over the rows that hold it, one a seed."""
    return [
        {column: value} | {name: tally.Seeds.of(row[name] for row in found) for name in _rates(found[0])}
        for value, found in grouped(rows, column).items()
    ]


def _rates(row):
    return [name for name, value in row.items() if isinstance(value, Rate)]


def write(name: str, rows: list[dict], provenance: dict) -> None:
    """Write a result file at one stroke: a reader sees the old one or the new one."""
    with replacing(FOLDER / f"{name}.json") as part:
        text = json.dumps({"provenance": provenance, "rows": stored(rows)}, indent=1)
        part.write_text(text + "\n", encoding="utf-8")


def provenance(name: str) -> dict:
    """What one result file says that it was made with."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))["provenance"]


def stored(value):
    """What JSON keeps of rows: a rate without marks as [hits, n]."""
    if isinstance(value, Rate):
        return [value.hits, value.n, value.marks] if value.marks else [value.hits, value.n]
    if isinstance(value, dict):
        return {key: stored(part) for key, part in value.items()}
    return [stored(part) for part in value] if isinstance(value, (list, tuple)) else value


def _revive(value):
    if isinstance(value, list) and [type(part) for part in value] in ([int, int], [int, int, str]):
        return Rate(*value)
    if isinstance(value, dict):
        return {key: _revive(part) for key, part in value.items()}
    return [_revive(part) for part in value] if isinstance(value, list) else value
