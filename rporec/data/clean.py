"""From what a source yields to tables that can be trusted: bounded in time, bad rows set aside with a reason.

No row is lost: rows read = rows outside the bounds + rows kept + rows in quarantine, and the count is asserted. Rows
outside the bounds leave no trace in the tables, so that a later, longer copy of the same source gives the same ones.
Plausibility of whole tables is judged in `rporec.data.contracts`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import polars as pl

from rporec.config import IngestParams
from rporec.data import clean_interactions, clean_items, quarantine
from rporec.data.sources.base import Bounds, Raw
from rporec.errors import InputError

_DAY = 86_400


@dataclass(frozen=True)
class Clean:
    """The cleaned tables.

    Args:
        interactions, items, quarantine: tables of these names.
        counts: per table rows read, outside the bounds, kept and set aside by reason; and prices dropped by reason.
        end: of the time line, s UTC, exclusive: `as_of`, or the midnight after the newest row; None without times.
        warnings: what was kept and may still be wrong, one sentence each.
    """

    interactions: pl.DataFrame
    items: pl.DataFrame
    quarantine: pl.DataFrame
    counts: dict[str, dict[str, object]]
    end: int | None
    warnings: list[str]


def bounds_of(params: IngestParams) -> Bounds:
    """Return the bounds that the parameters alone fix; a window without `as_of` depends on the newest row."""
    if params.as_of is None:
        return Bounds()
    moment = dt.datetime.combine(dt.date.fromisoformat(params.as_of), dt.time(tzinfo=dt.UTC))
    end = int(moment.timestamp())
    return Bounds(None if params.window_days is None else end - params.window_days * _DAY, end)


def clean(raw: Raw, params: IngestParams, now: int) -> Clean:
    """Clean what a source yields.

    Args:
        raw: the source's rows.
        params: section `ingest`.
        now: s UTC; a row of a real source that is later has a wrong clock.

    Raises:
        InputError: no rows, too many in quarantine, or fewer than two users with a history and a target.
    """
    bounds = bounds_of(params) if raw.timed else Bounds()
    items = clean_items.judge(raw.items, bounds.end, params.item_lag_days)
    rows = clean_interactions.judge(raw, clean_items.known(items), params, bounds, None if raw.simulated else now)
    if not rows.judged.height:
        raise InputError(
            "the source has no interactions" + (" within ingest.as_of and window_days" if rows.outside else ""),
            field="ingest.as_of", value=params.as_of, rule="at least two users",
            cure="give a source with rows, or a later ingest.as_of",
        )  # fmt: skip
    bad = quarantine.table({"interactions": rows, "items": items})
    counts = {"interactions": quarantine.count(rows), "items": quarantine.count(items)}
    quarantine.refuse_bad_share(counts, bad, params.quarantine_max_share)
    kept = clean_interactions.ordered(rows.kept(), timed=raw.timed)
    _require_users(kept, timed=raw.timed, given=raw.given)
    texts, dropped = clean_items.texts(items.kept(), params.price_max)
    warnings = [
        *clean_interactions.warnings(kept),
        *clean_items.warnings(texts, dropped),
        *quarantine.notes(rows, items),
    ]
    end = bounds.end if bounds.end is not None else clean_interactions.end_of(kept)
    return Clean(kept, texts, bad, {**counts, "prices_dropped": dict(dropped)}, end if raw.timed else None, warnings)


def _require_users(kept: pl.DataFrame, *, timed: bool, given: bool) -> None:
    if given or not timed:
        usable = kept["user_id"].n_unique()
    else:
        times = kept.lazy().group_by("user_id").agg(low=pl.col("timestamp").min(), high=pl.col("timestamp").max())
        usable = times.filter(pl.col("low") < pl.col("high")).select(pl.len()).collect().item()
    if usable < 2:
        raise InputError(
            "too few usable users",
            field="user_id", value=usable, rule="at least two users with two purchases at different times",
            cure="give more interactions, or a later ingest.as_of",
        )  # fmt: skip
