"""A package with all that its run left to judge it by, read and checked together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from rporec import tables
from rporec.errors import InputError
from rporec.evaluation import results
from rporec.files import read_json
from rporec.release import build, layout, manifest

_ROW = ["row_id", "user_id", "group", "target"]  # the number alone is the same in every test set


@dataclass(frozen=True)
class Candidate:
    """What is judged.

    Args:
        package: its folder.
        package_hash: its name, by its verified files.
        lineage: of the package: `data_hash`, `as_of` and others.
        item_ids: N ids in index order.
        rows: the test rows (ROWS).
        ranks: the evaluation's RANKS table of these rows.
        metrics: the evaluation's metrics.json, the same as in the package.
        validation, leakage: validate.json and leakage.json.
    """

    package: Path
    package_hash: str
    lineage: Mapping[str, str]
    item_ids: list[str]
    rows: pl.DataFrame
    ranks: pl.DataFrame
    metrics: Mapping[str, Any]
    validation: Mapping[str, Any]
    leakage: Mapping[str, Any]

    @staticmethod
    def load(outputs: Path) -> Candidate:
        """Read a workspace's outputs.

        Raises:
            InputError: a part is missing or unreadable, the package was changed, or is not of this run.
        """
        package = outputs / "package"
        found = Candidate(
            package=package,
            package_hash=manifest.verify(package).package_hash,
            lineage=_json(package / layout.LINEAGE),
            item_ids=tables.read(package / layout.ITEMS, tables.CATALOGUE)["item_id"].to_list(),
            rows=tables.read(outputs / "sequence" / "test.parquet", tables.ROWS),
            ranks=tables.read(outputs / "evaluate" / "ranks.parquet", tables.ranks_table(list(results.RANKERS))),
            metrics=_json(outputs / "evaluate" / "metrics.json"),
            validation=_json(outputs / "validate" / "validate.json"),
            leakage=_json(outputs / "sequence" / "leakage.json"),
        )
        found._check_one_run(outputs)
        return found

    def _check_one_run(self, outputs: Path) -> None:
        """Refuse parts of several runs: one that stopped on its way leaves newer parts beside the last package."""
        data = build.data_hash(outputs / "ingest" / "interactions.parquet", outputs / "ingest" / "items.parquet")
        if self.lineage.get("data_hash") != data:
            raise InputError(
                "the package was made from other data than the last run read",
                file=self.package, field="data_hash", value=self.lineage.get("data_hash"),
                rule=f"{data}, the hash of outputs/ingest", cure="make run",
            )  # fmt: skip
        if self.metrics != _json(self.package / layout.METRICS):
            raise InputError(
                "the package holds another evaluation than the last one", file=self.package, cure="make run"
            )
        if not self.rows.select(_ROW).equals(self.ranks.select(_ROW)):
            raise InputError(
                "the ranks are not of the test rows",
                file=outputs / "evaluate" / "ranks.parquet", rule=f"the same {', '.join(_ROW)} in the same order",
                cure="make run",
            )  # fmt: skip

    def values(self) -> dict[str, npt.NDArray[np.float64]]:
        """Return NDCG@10 per test row [n] of every ranker of the evaluation."""
        return results.primary_rows(self.ranks, results.RANKERS)

    def histories(self, count: int) -> list[list[str]]:
        """Return up to `count` test histories as item ids, spread over the rows; without rows, one of one item."""
        spread = self.rows["history"].gather_every(max(1, self.rows.height // count)).head(count)
        return [[self.item_ids[item] for item in history] for history in spread] or [self.item_ids[:1]]


def _json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path.name} cannot be read: {error}", file=path, cure="make run") from error
    return found
