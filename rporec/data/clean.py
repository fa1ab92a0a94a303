"""From what a source yields to tables that can be trusted: bounded in time, bad rows set aside with a reason.

No row is lost: rows read = rows outside the bounds + rows kept + rows in quarantine, and the count is asserted. Rows
outside the bounds leave no trace in the tables, so that a later, longer copy of the same source gives the same ones.
Plausibility of whole tables is judged in `rporec.data.contracts`.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from rporec.config import IngestParams
from rporec.data import clean_interactions, clean_items, quarantine
from rporec.data.quarantine import Judged
from rporec.data.sources.base import Raw, bounds_of
from rporec.errors import InputError


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


def clean(raw: Raw, params: IngestParams, now: int) -> Clean:
    """Clean what a source yields.

    Args:
        raw: the source's rows.
        params: section `ingest`.
        now: s UTC; a row of a real source that is later has a wrong clock.

    Raises:
        InputError: no rows, too many in quarantine, or fewer than two users with a history and a target.
    """
    bounds = bounds_of(params)
    items = clean_items.judge(raw.items, bounds.end, params.item_lag_days)
    rows = clean_interactions.judge(raw, clean_items.known(items), params, bounds, None if raw.simulated else now)
    if not rows.judged.height:
        bounded = any(rows.outside.values())
        raise InputError(
            "the source has no interactions" + (" within ingest.as_of and ingest.window_days" if bounded else ""),
            field="ingest.as_of" if bounded else "interactions", value=params.as_of if bounded else None,
            rule="at least two users", cure="take a later ingest.as_of" if bounded else "give a source with rows",
        )  # fmt: skip
    bad = quarantine.table({"interactions": rows, "items": items})
    counts = {"interactions": quarantine.count(rows), "items": quarantine.count(items)}
    quarantine.refuse_bad_share(counts, bad, params.quarantine_max_share)
    _require_items(items)
    kept = clean_interactions.ordered(rows.kept(), timed=raw.timed)
    _require_users(kept, timed=raw.timed, given=raw.given)
    texts, dropped = clean_items.texts(items.kept(), params.price_max)
    warnings = [
        *clean_interactions.warnings(kept),
        *clean_items.warnings(texts, dropped),
        *quarantine.notes(rows, items),
    ]
    if params.as_of is not None and not raw.timed:
        warnings.append("ingest.as_of bounds the item rows alone: the interactions carry no times")
    end = bounds.end if bounds.end is not None else clean_interactions.end_of(kept)
    return Clean(kept, texts, bad, {**counts, "prices_dropped": dict(dropped)}, end if raw.timed else None, warnings)


def _require_items(items: Judged) -> None:
    if items.kept().is_empty():
        raise InputError(
            "no item row can be used",
            field="items", value=dict(items.bad()["reason"].value_counts().iter_rows()),
            rule="at least one item with an id and a text, known before ingest.as_of", cure="mend the item table",
        )  # fmt: skip


def _require_users(kept: pl.DataFrame, *, timed: bool, given: bool) -> None:
    alone = given or not timed
    if alone:
        usable = kept["user_id"].n_unique()
    else:
        times = kept.lazy().group_by("user_id").agg(low=pl.col("timestamp").min(), high=pl.col("timestamp").max())
        usable = times.filter(pl.col("low") < pl.col("high")).select(pl.len()).collect().item()
    if usable < 2:
        raise InputError(
            "too few usable users",
            field="user_id", value=usable,
            rule="rows of at least two users" if alone else "at least two users with two purchases at different times",
            cure="give more interactions" if alone else "give more interactions, or a later ingest.as_of",
        )  # fmt: skip
