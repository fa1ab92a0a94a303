"""What a run of reinforcement learning leaves behind step by step.

One JSON file a step (`Journal`): after a kill the steps since the last checkpoint are done again and overwrite their
own files with the same bytes, so curves need no state of their own. Not here: what follows from them (`ending`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from rporec.align.heldout import Held
from rporec.align.rewards import TERMS
from rporec.files import read_json, write_json

COLUMNS = (
    "step", "reward", *TERMS, "valid", "well_formed", "zero_variance", "zero_variance_first", "kl", "policy_entropy",
    "length", "loss", "grad_norm",
    "heldout_ndcg@10", "heldout_well_formed", "heldout_grounded", "heldout_named", "heldout_length",
)  # fmt: skip
Row = dict[str, Any]  # numbers, None where a column was not measured at this step


class Journal:
    """The steps of a run in a folder, one JSON file each: `row` (COLUMNS) and `rollouts` (a sample)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, step: int, row: Row, rollouts: list[dict[str, Any]]) -> None:
        """Keep one step, replacing what was there."""
        write_json(self._folder / f"{step:06d}.json", {"row": row, "rollouts": rollouts})

    def rows(self) -> list[Row]:
        """Return the rows of all steps in order."""
        return [entry["row"] for entry in self._entries()]

    def rollouts(self) -> list[dict[str, Any]]:
        """Return the kept rollouts of all steps in order."""
        return [rollout for entry in self._entries() for rollout in entry["rollouts"]]

    def forget_after(self, step: int) -> None:
        """Remove the steps that will be done again."""
        for file in self._folder.glob("*.json"):
            if int(file.stem) > step:
                file.unlink()

    def _entries(self) -> list[dict[str, Any]]:
        return [read_json(file) for file in sorted(self._folder.glob("*.json"))]


def curve(rows: list[Row]) -> pl.DataFrame:
    """Return the rows as a table, columns as COLUMNS."""
    kinds = {name: pl.Int64() if name == "step" else pl.Float64() for name in COLUMNS}
    return pl.DataFrame([[row[name] for name in COLUMNS] for row in rows], schema=kinds, orient="row")


def held_row(step: int, held: Held) -> Row:
    """Return a row that holds a held-out check only."""
    return {
        **dict.fromkeys(COLUMNS, None), "step": step, "heldout_ndcg@10": held.ndcg,
        "heldout_well_formed": held.well_formed, "heldout_grounded": held.grounded, "heldout_named": held.named,
        "heldout_length": held.length,
    }  # fmt: skip
