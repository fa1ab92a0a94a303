"""Putting a package together: one folder with everything that serves, whose bytes follow from its parts alone.

No time, host, run id or commit enters it: those are tags of the registry version. Making the parts is the stages' work.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from rporec import tables
from rporec.catalogue import Catalogue
from rporec.files import read_json, sha256_file, write_json, write_text
from rporec.reasoning import lookup
from rporec.release import card, document, layout, manifest
from rporec.release.manifest import Manifest, Signature


@dataclass(frozen=True)
class Parts:
    """What a package is made from.

    Args:
        rechead: folder of the final Rechead.
        writer: folder of the model that ships.
        items: items.parquet.
        rows: ROWS tables whose targets count as purchases and as evidence (train and valid).
        neighbours: file of the neighbours in text.
        metrics, samples: JSON files of the evaluation.
        lineage: `profile`, `data_hash`, `as_of`, `unseen_from`, `ships`.
        params: every param that shapes the package, as sections.
        settings: what serving must know of the params.
    """

    rechead: Path
    writer: Path
    items: Path
    rows: tuple[Path, ...]
    neighbours: Path
    metrics: Path
    samples: Path
    lineage: dict[str, str]
    params: dict[str, Any]
    settings: layout.Settings


def build(parts: Parts, folder: Path, sign: Callable[[str], Signature | None] | None = None) -> Manifest:
    """Write the package into an empty folder and return its manifest.

    Args:
        parts: what it is made from.
        folder: where it goes.
        sign: gives the signature of a package hash (`signature.signer`); None leaves the package unsigned.

    Raises:
        InputError: a part is missing, unreadable, or of a kind that a package may not hold.
    """
    # copyfile, not copy2: weights are saved readable by their owner alone, and a service may run as another user.
    shutil.copytree(parts.rechead, folder / layout.RECHEAD, copy_function=shutil.copyfile)
    shutil.copytree(parts.writer, folder / layout.WRITER, copy_function=shutil.copyfile)
    items = tables.read(parts.items, tables.ITEMS)
    tables.write(items, folder / layout.ITEMS, tables.CATALOGUE)
    rows = [tables.read(path, tables.ROWS) for path in parts.rows]
    tables.write(count_purchases(items, rows), folder / layout.POPULARITY, layout.POPULARITY_TABLE)
    near = lookup.load_neighbours(parts.neighbours)
    kinds = lookup.Kinds(**parts.settings.evidence)
    for evidence in lookup.as_of(["test"], pl.concat(rows), kinds, Catalogue.from_table(items), near).values():
        evidence.save(folder / layout.EVIDENCE)
    parts.settings.save(folder)
    metrics = read_json(parts.metrics)
    write_json(folder / layout.LINEAGE, parts.lineage)
    write_json(folder / layout.PARAMS, parts.params)
    write_json(folder / layout.METRICS, metrics)
    facts = card.CardFacts(parts.lineage, parts.params, metrics, read_json(parts.samples))
    name, told = card.title(facts), card.build(facts)
    write_text(folder / layout.CARD, document.markdown(name, told))
    write_text(folder / layout.CARD_PAGE, document.html(name, told))
    return manifest.write(folder, sign)


def count_purchases(items: pl.DataFrame, rows: list[pl.DataFrame]) -> pl.DataFrame:
    """Return how often each item is a target, one line an item, in the catalogue's order."""
    counted = pl.concat([frame.select("target") for frame in rows]).group_by("target").len("count")
    numbered = items.select("item_id").with_row_index("target").with_columns(pl.col("target").cast(pl.Int32))
    joined = numbered.join(counted, on="target", how="left", maintain_order="left")
    return joined.select("item_id", pl.col("count").fill_null(0).cast(pl.Int64))


def data_hash(interactions: Path, items: Path) -> str:
    """Return the hash that names the data: SHA-256 over the hashes of the two tables after ingest."""
    return name_of_data(sha256_file(interactions), sha256_file(items))


def name_of_data(interactions: str, items: str) -> str:
    """Return the hash that names the data, from the SHA-256 of the two tables."""
    return hashlib.sha256(f"{interactions}\n{items}\n".encode()).hexdigest()


def first_unread_day(interactions: pl.DataFrame, as_of: str | None) -> str:
    """Return the date from which on nothing was read: `as_of`, else the day after the newest event; "" without time."""
    newest = interactions["timestamp"].max() if interactions.height else None
    if as_of is not None or not isinstance(newest, int):
        return as_of or ""
    return (dt.datetime.fromtimestamp(newest, dt.UTC).date() + dt.timedelta(days=1)).isoformat()


def unseen_from(interactions: pl.DataFrame, rows: list[pl.DataFrame]) -> str:
    """Return the first second after all that was trained on, "" where the split was given and time tells nothing.

    Args:
        interactions: INTERACTIONS, which say whether the split was given.
        rows: ROWS tables that were trained on.
    """
    times = [frame["timestamp"].max() for frame in rows]  # None where there is no row, or a given split has no time
    newest = max((time for time in times if isinstance(time, int)), default=None)
    return "" if newest is None or interactions["split"].is_not_null().any() else str(newest + 1)
