"""From what a source yields to tables that can be trusted: bounded in time, bad rows set aside with a reason.

No row is lost: rows in = rows kept + rows in quarantine, and the count is asserted. Rows at or after `as_of` are not
there at all, so that a later, longer copy of the same source gives the same tables. Plausibility of whole tables is
judged in `rporec.data.contracts`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from rporec.data.sources import SPLITS, Raw
from rporec.errors import InputError
from rporec.tables import INTERACTIONS, ITEMS, QUARANTINE

LATEST = 4_102_444_800  # 2100-01-01; a greater number is no time in seconds
_TEXTS = ("title", "description", "brand", "category")
_CURE_SHARE = "mend the rows named above, or raise ingest.quarantine_max_share"


@dataclass(frozen=True)
class Clean:
    """The cleaned tables.

    Args:
        interactions, items, quarantine: tables of these names.
        counts: rows in, kept and set aside per table and reason, and prices that were not numbers above or at 0.
    """

    interactions: pl.DataFrame
    items: pl.DataFrame
    quarantine: pl.DataFrame
    counts: dict[str, object]


def clean(raw: Raw, as_of: int | None, max_share: float) -> Clean:
    """Clean what a source yields.

    Args:
        raw: the source's rows.
        as_of: s UTC, exclusive; None = everything. A source without timestamps cannot be bounded.
        max_share: largest share of a table's rows that may go to quarantine, in [0, 1].

    Raises:
        InputError: no rows, too many in quarantine, or fewer than two users with a history and a target.
    """
    interactions = raw.interactions
    if as_of is not None and raw.timed:
        interactions = interactions.filter(pl.col("timestamp").is_null() | (pl.col("timestamp") < as_of))
    if interactions.is_empty():
        raise InputError(
            "the source has no interactions" + (" before ingest.as_of" if as_of is not None else ""),
            field="ingest.as_of", value=as_of, rule="at least two users",
            cure="give a source with rows, or a later ingest.as_of",
        )  # fmt: skip
    items = _judge_items(raw.items)
    good_items = items.filter(pl.col("reason").is_null())
    judged = _judge_interactions(interactions, good_items["item_id"], timed=raw.timed)
    kept = judged.filter(pl.col("reason").is_null())
    quarantine = pl.concat([_quarantined("interactions", judged), _quarantined("items", items)])
    counts = {"interactions": _count(judged), "items": _count(items)}
    _refuse_bad_share(counts, quarantine, max_share)
    _require_users(kept, timed=raw.timed, given=raw.interactions["split"].null_count() == 0)
    texts, prices_dropped = _texts(good_items)
    return Clean(_ordered(kept, timed=raw.timed), texts, quarantine, {**counts, "prices_dropped": prices_dropped})


def _blank(name: str) -> pl.Expr:
    return pl.col(name).is_null() | (pl.col(name).str.strip_chars() == "")


def _judge_items(items: pl.DataFrame) -> pl.DataFrame:
    """Add `reason`, null for good rows. Of rows with one id the first by content is kept, whatever their order."""
    content = ["item_id", *_TEXTS, "price"]
    twin = pl.int_range(pl.len()).over("item_id") > 0
    return items.sort(*content, "file", "row", nulls_last=True).with_columns(
        reason=pl.when(_blank("item_id")).then(pl.lit("item_id_empty"))
        .when(pl.all_horizontal(_blank(name) for name in _TEXTS)).then(pl.lit("no_text"))
        .when(twin).then(pl.lit("duplicate_item"))
    )  # fmt: skip


def _judge_interactions(rows: pl.DataFrame, known: pl.Series, *, timed: bool) -> pl.DataFrame:
    """Add `reason`, null for good rows; the first rule that a row breaks names it."""
    good = known.unique().to_frame("known")
    rows = rows.sort("user_id", "timestamp", "item_id", "file", "row", nulls_last=True)
    rows = rows.join(
        good.with_columns(is_known=True), left_on="item_id", right_on="known", how="left", maintain_order="left"
    )
    given = pl.col("split").is_not_null()
    reason = (
        pl.when(_blank("user_id")).then(pl.lit("user_id_empty"))
        .when(_blank("item_id")).then(pl.lit("item_id_empty"))
        .when(given & pl.col("history").is_null()).then(pl.lit("history_unreadable"))
        .when(given & (pl.col("history").list.len() == 0)).then(pl.lit("history_empty"))
    )  # fmt: skip
    if timed:
        missing = pl.col("timestamp").is_null()
        outside = (pl.col("timestamp") < 0) | (pl.col("timestamp") >= LATEST)
        reason = (
            reason.when(missing & pl.col("note").is_not_null()).then(pl.lit("timestamp_unreadable"))
            .when(missing).then(pl.lit("timestamp_missing"))
            .when(outside).then(pl.lit("timestamp_out_of_range"))
        )  # fmt: skip
    reason = reason.when(pl.col("is_known").is_null()).then(pl.lit("unknown_item"))
    reason = reason.when(_strangers(rows, good)).then(pl.lit("unknown_history_item"))
    if timed:
        # A given split may hold equal rows by right (windows cut from a longer row of one item): it keeps them.
        twin = pl.int_range(pl.len()).over("user_id", "timestamp", "item_id") > 0
        reason = reason.when(~given.fill_null(value=False) & twin).then(pl.lit("duplicate"))
    return rows.with_columns(reason=reason).drop("is_known")


def _strangers(rows: pl.DataFrame, good: pl.DataFrame) -> pl.Series:
    """Return which rows have a history that names an item without a row in the item table."""
    named = rows.select("history").with_row_index("at").explode("history", empty_as_null=True).drop_nulls("history")
    at = named.join(good, left_on="history", right_on="known", how="anti")["at"].unique()
    nulls = rows["history"].list.eval(pl.element().is_null()).list.any().fill_null(value=False)
    return pl.Series(np.isin(np.arange(rows.height), at.to_numpy())) | nulls


def _quarantined(table: str, judged: pl.DataFrame) -> pl.DataFrame:
    bad = judged.filter(pl.col("reason").is_not_null())
    content = [name for name in bad.columns if name not in ("file", "row", "note", "reason")]
    return bad.select(
        pl.lit(table).alias("table"), "file", "row", "reason",
        pl.col("note").fill_null("").alias("detail"),
        pl.struct(content).struct.json_encode().alias("raw"),
    ).select(list(QUARANTINE.columns)).sort("file", "row")  # fmt: skip


def _count(judged: pl.DataFrame) -> dict[str, object]:
    reasons = judged["reason"].drop_nulls().value_counts().sort("reason")
    by_reason = dict(zip(reasons["reason"].to_list(), reasons["count"].to_list(), strict=True))
    kept = judged["reason"].null_count()
    if judged.height != kept + sum(by_reason.values()):
        raise RuntimeError(f"rows were lost: {judged.height} in, {kept} kept, {by_reason} in quarantine")
    return {"rows_in": judged.height, "kept": kept, "quarantined": by_reason}


def _refuse_bad_share(counts: dict[str, dict[str, object]], quarantine: pl.DataFrame, max_share: float) -> None:
    for table, count in counts.items():
        bad = quarantine.filter(pl.col("table") == table)
        share = bad.height / max(int(str(count["rows_in"])), 1)
        if share > max_share:
            top = bad["reason"].value_counts().sort("count", "reason", descending=[True, False]).row(0)
            example = bad.filter(pl.col("reason") == top[0]).row(0, named=True)
            raise InputError(
                f"{bad.height} of {count['rows_in']} rows of {table} are bad, most of them {top[0]} ({top[1]}); "
                f"for instance row {example['row']}: {example['raw'][:160]} {example['detail']}".rstrip(),
                file=example["file"], field=table, value=round(share, 4),
                rule=f"a share in quarantine of at most {max_share} (ingest.quarantine_max_share)", cure=_CURE_SHARE,
            )  # fmt: skip


def _require_users(kept: pl.DataFrame, *, timed: bool, given: bool) -> None:
    if given or not timed:
        usable = kept["user_id"].n_unique()
    else:
        times = kept.group_by("user_id").agg(pl.col("timestamp").n_unique())
        usable = times.filter(pl.col("timestamp") > 1).height
    if usable < 2:
        raise InputError(
            "too few usable users",
            field="user_id", value=usable, rule="at least two users with two purchases at different times",
            cure="give more interactions, or a later ingest.as_of",
        )  # fmt: skip


def _texts(items: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    price = pl.col("price")
    plausible = items.with_columns(price=pl.when(price.is_finite() & (price >= 0)).then(price))
    dropped = plausible["price"].null_count() - items["price"].null_count()
    texts = [pl.col(name).fill_null("").str.strip_chars() for name in _TEXTS]
    return plausible.with_columns(texts).select(list(ITEMS.columns)).sort("item_id"), dropped


def _ordered(kept: pl.DataFrame, *, timed: bool) -> pl.DataFrame:
    """Number the global time line: by time and user (lines of one basket share a number), or by place in the files."""
    part = pl.col("split").replace_strict({name: i for i, name in enumerate(SPLITS)}, default=0, return_dtype=pl.Int8)
    line = ["part", "timestamp", "user_id"] if timed else ["part", "row"]
    kept = kept.with_columns(part=part.fill_null(0))
    order = (pl.struct(line).rank("dense") - 1).cast(pl.Int64)
    return kept.with_columns(order=order).sort("order", "user_id", "item_id").select(list(INTERACTIONS.columns))
