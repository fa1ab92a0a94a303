"""What a night warm-starts from: the champion that `parent.json` pins, and which of its weights are clean tonight.

Time only moves forward: a model of the parent may go on where its newest row is older than every row that must be new
to tonight's model. A model that chooses (fitted without valid) so starts from one that chose, a refitted one from a
refitted one. Which champion is pinned, and how its outputs come here, is infra/parent.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rporec.errors import InputError
from rporec.files import read_json, sha256_path

if TYPE_CHECKING:  # a run with nothing to do reads the name of the file alone
    import polars as pl

NAME = "parent.json"  # beside params.yaml; {} = from scratch
FOLDER = "parent"  # beside it, git-ignored: the outputs of the parent's STAGES
STAGES = ("backbone", "rechead")


@dataclass(frozen=True)
class Parent:
    """The pinned champion.

    Args:
        version: number in the registry.
        commit: its git commit.
        package_hash: its package.
        as_of: date up to which its data go.
        outputs: by stage `md5` (DVC's name of the folder) and `sha256` (of its content).
    """

    version: int
    commit: str
    package_hash: str
    as_of: str
    outputs: Mapping[str, Mapping[str, str]]

    @staticmethod
    def of(stated: Mapping[str, Any]) -> Parent | None:
        """Return what `parent.json` says; None where it names no version.

        Raises:
            InputError: it names one, but not all that belongs to it.
        """
        if "version" not in stated:
            return None
        try:
            named = {name: stated[name] for name in ("version", "commit", "package_hash", "as_of", "outputs")}
            parent = Parent(**named)
            _ = [parent.outputs[stage][name] for stage in STAGES for name in ("md5", "sha256")]
        except (KeyError, TypeError) as error:
            raise InputError(
                "the pinned parent cannot be read", file=NAME, field=str(error), rule="as infra/parent.py writes it",
                cure="prepare the night again, or write {} to start from scratch",
            ) from error  # fmt: skip
        return parent


@dataclass(frozen=True)
class Start:
    """Where a stage begins.

    Args:
        folder: the parent's output of the stage; None = from scratch.
        why: one line for people and for the stage's summary.
    """

    folder: Path | None
    why: str

    def refused(self, why: str) -> Start:
        """Return the start from scratch that this one turns into."""
        return Start(None, f"from scratch: {why}")


def read(root: Path) -> Parent | None:
    """Return the parent that is pinned in the workspace `root`; None = from scratch, as where the file is missing."""
    file = root / NAME
    return Parent.of(read_json(file)) if file.exists() else None


def begin(root: Path, stage: str) -> Start:
    """Return where a stage begins by `parent.json`.

    Args:
        root: of the workspace.
        stage: one of `STAGES`.

    Raises:
        InputError: the parent's outputs are not there, or not those that were pinned.
    """
    parent = read(root)
    if parent is None:
        stated = read_json(root / NAME) if (root / NAME).exists() else {}
        return Start(None, f"from scratch: {stated.get('scratch', 'no parent is pinned')}")
    folder, wanted = root / FOLDER / stage, parent.outputs[stage]["sha256"]
    found = sha256_path(folder) if folder.is_dir() else None
    if found != wanted:
        raise InputError(
            f"the outputs of stage {stage} of the parent are {'others than were pinned' if found else 'not here'}",
            file=folder, field="sha256", value=found, rule=f"{wanted} ({NAME})",
            cure="prepare the night again (python -m infra.night prepare --date <date>)",
        )  # fmt: skip
    return Start(folder, f"warm start from version {parent.version} (data up to {parent.as_of})")


def is_clean(until: object, new: int | None) -> bool:
    """Tell whether a model may go on: all that it and its forebears learned is older than all that must be new.

    Args:
        until: newest timestamp learned (s UTC), as the parent's summary says; None or nothing = unknown.
        new: oldest timestamp of the rows that must be new (s UTC); None = there are none with a time.
    """
    return isinstance(until, int) and new is not None and until < new


def oldest(rows: pl.DataFrame) -> int | None:
    """Return the oldest timestamp of ROWS (s UTC), None where there is none."""
    found = rows["timestamp"].min()
    return int(found) if isinstance(found, int) else None


def newest(rows: pl.DataFrame, before: object = None) -> int | None:
    """Return the newest timestamp of ROWS (s UTC), or that of the parent where it is newer; None where there is none.

    Args:
        rows: what was learned.
        before: newest timestamp that the parent had learned, where it was gone on with.
    """
    found = [value for value in (rows["timestamp"].max(), before) if isinstance(value, int)]
    return max(found, default=None)
