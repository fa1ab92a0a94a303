"""Which files make a data folder, local or in an object store.

Light on purpose: the run driver looks here on its no-op path, so nothing here imports polars or torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rporec.errors import InputError

EVENTS = "interactions"
SPLITS = ("train", "valid", "test")
ITEM_TABLE = "items"
SUFFIXES = (".parquet", ".csv")
LAYOUTS = (
    "a data folder holds items and either interactions (events) or train, valid and test (a given split), "
    "each as .parquet or .csv, or as a folder of such files"
)


@dataclass(frozen=True)
class DataFile:
    """One file of a source.

    Args:
        name: its name below the source's place, with `/`.
        url: what opens it: a path or an s3:// URL.
    """

    name: str
    url: str


@dataclass(frozen=True)
class Layout:
    """The files of a data folder.

    Args:
        tables: interactions, or train, valid and test, to their files; in this order.
        items: the files of the item table.
    """

    tables: dict[str, tuple[DataFile, ...]]
    items: tuple[DataFile, ...]

    @property
    def given_split(self) -> bool:
        """Whether the folder brings its own split."""
        return EVENTS not in self.tables

    def files(self) -> list[DataFile]:
        """Return all files, sorted by name."""
        return sorted([*(file for table in self.tables.values() for file in table), *self.items], key=lambda f: f.name)


def is_remote(place: str) -> bool:
    """Whether a place is a URL rather than a path of this machine."""
    return "://" in place


def find_layout(place: str | None) -> Layout:
    """Find the files of a data folder.

    Args:
        place: a folder of this machine, or s3://bucket/folder.

    Raises:
        InputError: no folder is given, or it is missing, empty, or not of one known layout.
    """
    names = _names(place)
    assert place is not None
    events, given = _pick(place, names, EVENTS), {split: _pick(place, names, split) for split in SPLITS}
    found_splits = {split: files for split, files in given.items() if files}
    cure = f"name the files as in the README ({LAYOUTS})"
    shown = _top(names)
    if events and found_splits:
        raise InputError(
            "the data folder holds both layouts",
            file=place, value=shown, rule=LAYOUTS, cure="remove one of them from the folder",
        )  # fmt: skip
    if not events and not found_splits:
        raise InputError("the data folder holds no interactions", file=place, value=shown, rule=LAYOUTS, cure=cure)
    if not events and (missing := [split for split in SPLITS if split not in found_splits]):
        raise InputError(
            "the given split is not whole",
            file=place, field=missing[0], value=shown, rule=LAYOUTS,
            cure=f"add {missing[0]}.parquet (for instance the newest tenth of train)",
        )  # fmt: skip
    items = _pick(place, names, ITEM_TABLE)
    if not items:
        raise InputError("the data folder holds no item table", file=place, value=shown, rule=LAYOUTS, cure=cure)
    return Layout({EVENTS: events} if events else found_splits, items)


def _top(names: list[str]) -> list[str]:
    return sorted({name.split("/")[0] for name in names})


def _names(place: str | None) -> list[str]:
    """Return the names of the files one or two levels below a place, sorted."""
    cure = "give the folder that holds the tables: make run DATA=<folder>"
    if place is None:
        raise InputError("no data folder is given", field="ingest.source", value="folder", cure=cure)
    names = _remote_names(place) if is_remote(place) else _local_names(Path(place), cure)
    if not names:
        raise InputError("the data folder is empty", file=place, rule=LAYOUTS, cure=cure)
    return names


def _local_names(folder: Path, cure: str) -> list[str]:
    if not folder.exists():
        raise InputError("the data folder does not exist", file=folder, cure=cure)
    if not folder.is_dir():
        raise InputError("the data folder is a file", file=folder, rule=LAYOUTS, cure=cure)
    names: list[str] = []
    try:
        for path in folder.iterdir():
            if path.is_dir():
                names += [f"{path.name}/{part.name}" for part in path.iterdir()] or [f"{path.name}/"]
            else:
                names.append(path.name)
    except PermissionError as error:
        raise InputError(
            "the data folder may not be read", file=folder, cure="give this user read permission"
        ) from error
    return sorted(names)


def _remote_names(place: str) -> list[str]:
    from rporec.data.sources import remote

    return remote.names(place)


def _pick(place: str, names: list[str], stem: str) -> tuple[DataFile, ...]:
    """Return the file of a table, or the parts of its folder (hidden files and markers left out)."""
    whole = [stem + suffix for suffix in SUFFIXES if stem + suffix in names]
    parts = [name for name in names if name.startswith(f"{stem}/") and PurePosixPath(name).name[0] not in "._"]
    parts = [name for name in parts if name.endswith(SUFFIXES)]
    found = [*whole, *([f"{stem}/"] if parts else [])]
    if len(found) > 1:
        raise InputError(
            "one table stands in the folder twice",
            file=place, field=stem, value=found, rule="one file or one folder a table",
            cure=f"remove {found[1]} or {found[0]}",
        )  # fmt: skip
    return tuple(DataFile(name, f"{place.rstrip('/')}/{name}") for name in (whole or parts))
