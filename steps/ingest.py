"""Stage ingest: a source and a date in; the two tables, the quarantine, the oracle and the source's identity out."""

from __future__ import annotations

import logging
import time

from rporec.data.clean import bounds_of, clean
from rporec.data.sources import adapters, identity, place
from rporec.data.sources.tablefile import readable
from rporec.files import read_json, write_json
from rporec.tables import INTERACTIONS, ITEMS, ORACLE, QUARANTINE, write
from steps.stage import Outcome, Stage, run_stage

log = logging.getLogger(__name__)


def ingest(stage: Stage) -> Outcome:
    """Read the source as it stood before `ingest.as_of`."""
    params = stage.params.ingest
    origin = _planned(stage)
    scratch = stage.work / "unpacked"
    scratch.mkdir(exist_ok=True)
    raw = adapters.open_source(params, stage.params.run.seed, stage.data).read(scratch, bounds_of(params))
    for file, stated in raw.stated.items():
        log.info("%s: %s", file, ", ".join(f"{key} {value}" for key, value in stated.items()) or "as expected")
    with readable(place.shown(stage.data or params.source)):
        tables = clean(raw, params, now=int(time.time()))
    _planned(stage)  # nor did it change while it was read
    for warning in tables.warnings:
        log.warning("%s", warning)
    write(tables.interactions, stage.new / "interactions.parquet", INTERACTIONS)
    write(tables.items, stage.new / "items.parquet", ITEMS)
    write(tables.quarantine, stage.new / "quarantine.parquet", QUARANTINE)
    write(raw.oracle.sort(list(ORACLE.columns)), stage.new / "oracle.parquet", ORACLE)
    users = tables.interactions["user_id"].n_unique()
    write_json(
        stage.new / "source.json",
        {
            **origin,
            "as_of": params.as_of if raw.timed else None,  # rows without a time cannot be bounded
            "end": tables.end,
            "timed": raw.timed,
            "stated": raw.stated,
            "counts": tables.counts,
            "users": users,
            "warnings": tables.warnings,
        },
    )
    rows, n_items, bad = tables.interactions.height, tables.items.height, tables.quarantine.height
    return Outcome(
        f"{rows} interactions of {users} users with {n_items} items, {bad} rows in quarantine",
        {"interactions": rows, "users": users, "items": n_items, "quarantined": bad},
        ("source.json",),
    )


def _planned(stage: Stage) -> dict[str, object]:
    """Return the source's identity; source.lock.json names the one that DVC keeps these outputs for."""
    found, lock = identity.describe(stage.params.ingest, stage.data), stage.root / "source.lock.json"
    if lock.is_file():
        identity.require(found, read_json(lock), lock)
    return found


if __name__ == "__main__":
    run_stage("ingest", ingest, uses_torch=False)
