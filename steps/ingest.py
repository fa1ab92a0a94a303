"""Stage ingest: a source and a date in; the two tables, the quarantine, the oracle and the source's identity out."""

from __future__ import annotations

import datetime as dt

import polars as pl

from rporec.data import adapters, sources
from rporec.data.clean import clean
from rporec.files import write_json
from rporec.tables import INTERACTIONS, ITEMS, ORACLE, QUARANTINE, write
from steps.stage import Outcome, Stage, run_stage

_MIDNIGHT = dt.time(tzinfo=dt.UTC)


def ingest(stage: Stage) -> Outcome:
    """Read the source as it stood before `ingest.as_of`."""
    params = stage.params.ingest
    date = dt.date.fromisoformat(params.as_of) if params.as_of else None
    as_of = int(dt.datetime.combine(date, _MIDNIGHT).timestamp()) if date else None
    origin = sources.describe(params.source, stage.data)
    raw = adapters.open_source(params, stage.params.run.seed, date, stage.data).read()
    tables = clean(raw, as_of, params.quarantine_max_share)
    write(tables.interactions, stage.new / "interactions.parquet", INTERACTIONS)
    write(tables.items, stage.new / "items.parquet", ITEMS)
    write(tables.quarantine, stage.new / "quarantine.parquet", QUARANTINE)
    write(raw.oracle.sort(list(ORACLE.columns)), stage.new / "oracle.parquet", ORACLE)
    users = tables.interactions["user_id"].n_unique()
    bounded = params.as_of if raw.timed else None  # rows without a time cannot be bounded
    period = {"as_of": bounded, "end": _end(tables.interactions, as_of)}
    write_json(
        stage.new / "source.json", {**origin, **period, "timed": raw.timed, "counts": tables.counts, "users": users}
    )
    rows, n_items, bad = tables.interactions.height, tables.items.height, tables.quarantine.height
    return Outcome(
        f"{rows} interactions of {users} users with {n_items} items, {bad} rows in quarantine",
        {"interactions": rows, "users": users, "items": n_items, "quarantined": bad},
        ("source.json",),
    )


def _end(interactions: pl.DataFrame, as_of: int | None) -> int | None:
    """Return the end of the time line, s UTC, exclusive: `as_of`, else the midnight after the newest row."""
    newest = interactions["timestamp"].max()
    if not isinstance(newest, int):
        return None
    return as_of if as_of is not None else (newest // 86_400 + 1) * 86_400


if __name__ == "__main__":
    run_stage("ingest", ingest, uses_torch=False)
