"""Where rows come from: one small interface, one adapter a kind of source.

Light on purpose: the run driver calls `describe` on its no-op path, so nothing here imports polars or torch at the
top. Which adapter reads what is in `rporec.data.adapters`; what is a bad row is decided in `rporec.data.clean`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rporec.errors import InputError
from rporec.files import sha256_file

if TYPE_CHECKING:
    import polars as pl

EVENTS = "interactions"
SPLITS = ("train", "valid", "test")
ITEM_TABLE = "items"
SUFFIXES = (".parquet", ".csv")
LAYOUTS = (
    "a data folder holds items and either interactions (events) or train, valid and test (a given split), "
    "each as .parquet or .csv"
)


@dataclass(frozen=True)
class Raw:
    """What an adapter yields, before any cleaning.

    Args:
        interactions: columns of INTERACTIONS but `order`, and file (str), row (i64, from 0 in its file),
            note (str?, why a value could not be read).
        items: columns of ITEMS, any text may be null, and file, row, note.
        oracle: the ORACLE table, empty when the source knows no truth.
        timed: whether rows carry timestamps.
    """

    interactions: pl.DataFrame
    items: pl.DataFrame
    oracle: pl.DataFrame
    timed: bool


class Source(Protocol):
    """A source of the two tables."""

    def read(self) -> Raw:
        """Read everything.

        Raises:
            InputError: a file is absent, unreadable, or lacks a column or its type.
        """


@dataclass(frozen=True)
class Layout:
    """The files of a data folder.

    Args:
        tables: interactions, or train, valid and test, to their files; in this order.
        items: the item table.
    """

    tables: dict[str, Path]
    items: Path

    @property
    def given_split(self) -> bool:
        """Whether the folder brings its own split."""
        return EVENTS not in self.tables


def describe(kind: str, folder: Path | None) -> dict[str, object]:
    """Return a source's identity: its kind, and name and sha256 of each file, sorted by name. No path, no time.

    Args:
        kind: `market` or `folder`.
        folder: the data folder, for kind `folder`.

    Raises:
        InputError: the folder is missing, empty, unreadable or of no known layout.
    """
    if kind != "folder":
        return {"kind": kind, "files": []}
    layout = find_layout(folder)
    paths = sorted([*layout.tables.values(), layout.items], key=lambda path: path.name)
    return {"kind": kind, "files": [{"name": path.name, "sha256": _hash(path)} for path in paths]}


def find_layout(folder: Path | None) -> Layout:
    """Find the files of a data folder.

    Raises:
        InputError: no folder is given, or it is missing, empty, or not of one known layout.
    """
    names = _names(folder)
    assert folder is not None
    events, given = _pick(folder, names, EVENTS), {split: _pick(folder, names, split) for split in SPLITS}
    found_splits = {split: path for split, path in given.items() if path is not None}
    cure = f"name the files as in the README ({LAYOUTS})"
    if events is not None and found_splits:
        raise InputError(
            "the data folder holds both layouts",
            file=folder, value=sorted(names), rule=LAYOUTS, cure="remove one of them from the folder",
        )  # fmt: skip
    if events is None and not found_splits:
        raise InputError("the data folder holds no interactions", file=folder, value=names, rule=LAYOUTS, cure=cure)
    if events is None and (missing := [split for split in SPLITS if split not in found_splits]):
        raise InputError(
            "the given split is not whole",
            file=folder, field=missing[0], value=names, rule=LAYOUTS,
            cure=f"add {missing[0]}.parquet (for instance the newest tenth of train)",
        )  # fmt: skip
    items = _pick(folder, names, ITEM_TABLE)
    if items is None:
        raise InputError("the data folder holds no item table", file=folder, value=names, rule=LAYOUTS, cure=cure)
    return Layout({EVENTS: events} if events is not None else found_splits, items)


def _names(folder: Path | None) -> list[str]:
    cure = "give the folder that holds the tables: make run DATA=<folder>"
    if folder is None:
        raise InputError("no data folder is given", field="ingest.source", value="folder", cure=cure)
    if not folder.exists():
        raise InputError("the data folder does not exist", file=folder, cure=cure)
    if not folder.is_dir():
        raise InputError("the data folder is a file", file=folder, rule=LAYOUTS, cure=cure)
    try:
        names = sorted(path.name for path in folder.iterdir())
    except PermissionError as error:
        raise InputError(
            "the data folder may not be read", file=folder, cure="give this user read permission"
        ) from error
    if not names:
        raise InputError("the data folder is empty", file=folder, rule=LAYOUTS, cure=cure)
    return names


def _pick(folder: Path, names: list[str], stem: str) -> Path | None:
    found = [stem + suffix for suffix in SUFFIXES if stem + suffix in names]
    if len(found) > 1:
        raise InputError(
            "one table stands in the folder twice",
            file=folder, field=stem, value=found, rule="one file a table", cure=f"remove {found[1]} or {found[0]}",
        )  # fmt: skip
    return folder / found[0] if found else None


def _hash(path: Path) -> str:
    try:
        return sha256_file(path)
    except (PermissionError, IsADirectoryError) as error:
        raise InputError(
            f"the data file cannot be read: {error.strerror}", file=path, cure="give this user a readable file"
        ) from error
