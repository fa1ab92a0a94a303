"""Which run a stage's record is of: it names the outputs that it was written beside, as dvc.lock names them.

Records are no DVC outputs: DVC may bring back other outputs (from its cache, by checkout) beside a record that stays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rporec.files import read_json

OUTS = "outs"  # of a record; those of earlier releases have none, and are believed


def folder_hash(folder: Path) -> str:
    """Return the hash of a stage's output folder as DVC writes it into dvc.lock (md5 of its files' names and md5s)."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    entries = [{"md5": _md5(folder / name), "relpath": name} for name in names]
    return hashlib.md5(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def locked(root: Path) -> dict[str, str]:
    """Return the hash of each stage's output folder in dvc.lock, {} before the first run."""
    path = root / "dvc.lock"
    if not path.is_file():
        return {}
    stages = yaml.safe_load(path.read_text(encoding="utf-8")).get("stages", {})
    return {name: str(entry["outs"][0]["md5"]) for name, entry in stages.items()}


def read(root: Path, stage: str, outs: Mapping[str, str]) -> dict[str, Any] | None:
    """Return a stage's record, None where there is none or it is of other outputs than dvc.lock's.

    Args:
        root: the workspace.
        stage: its name.
        outs: of `locked`.
    """
    path = root / "records" / f"{stage}.json"
    if not path.is_file():
        return None
    record: dict[str, Any] = read_json(path)
    return record if OUTS not in record or record[OUTS] == outs.get(stage) else None


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, _new_md5).hexdigest()


def _new_md5() -> Any:  # noqa: ANN401 - hashlib's own type has no public name
    return hashlib.md5(usedforsecurity=False)
