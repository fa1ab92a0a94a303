"""What requests are compared with: how long histories were and how popular their items, when a model was made.

Kept for each night's package in RPOREC_HOME when it is promoted (`monitor/<package>.json`), since the night's own
tables may be tidied away while the model serves. A package promoted otherwise has its popularity alone, from the
registry.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl

from infra.workspace import Workspace
from rporec import tables
from rporec.files import read_json, write_json
from rporec.release import layout, lookup, summary
from rporec.release.place import Place
from rporec.serving import bands

log = logging.getLogger("rporec")


@dataclass(frozen=True)
class Reference:
    """Shares at training time.

    Args:
        popularity: of purchases, by `bands.NAMES`; [] where it is not known.
        purchases: how many.
        lengths: of test rows' histories, by `bands.LENGTHS`; [] where it is not known.
        rows: how many.
    """

    popularity: list[float]
    purchases: int
    lengths: list[float]
    rows: int


NOTHING = Reference([], 0, [], 0)


def keep(space: Workspace, package_hash: str) -> None:
    """Keep the reference of the package in a workspace."""
    popularity, purchases = _popularity(space.root / summary.PACKAGE)
    rows = tables.read(space.root / "outputs/sequence/test.parquet", tables.ROWS)
    lengths = rows["history"].list.len().cast(pl.Int64).to_numpy()
    found = Reference(popularity, purchases, bands.length_shares(lengths), rows.height)
    write_json(_file(space.home, package_hash), asdict(found))


def of(place: Place, model: str, package_hash: str) -> Reference:
    """Return the reference of a package, `NOTHING` where neither RPOREC_HOME nor the registry knows it."""
    file = _file(place.home, package_hash)
    if file.is_file():
        return Reference(**read_json(file))
    version = lookup.by_package(place.uri, model, package_hash)
    if version is None:
        return NOTHING
    popularity, purchases = _popularity(lookup.package_folder(place.uri, version, place.cache))
    return Reference(popularity, purchases, [], 0)


def _popularity(package: Path) -> tuple[list[float], int]:
    counts = tables.read(package / layout.POPULARITY, layout.POPULARITY_TABLE)["count"].to_numpy().astype(np.float64)
    return bands.shares(counts), int(counts.sum())


def _file(home: Path, package_hash: str) -> Path:
    return home / "monitor" / f"{package_hash}.json"
