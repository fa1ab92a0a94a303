"""Which item rows are good, which version of an item holds at a date, and what of its texts and price is taken over."""

from __future__ import annotations

import polars as pl

from rporec.data.quarantine import Judged
from rporec.days import DAY, EARLIEST, LATEST
from rporec.tables import ITEMS

_TEXTS = ("title", "description", "brand", "category")
_UNREAD = r"(^|; )known_from( \(.*?\))? '"  # a note of a time that could not be read


def judge(items: pl.LazyFrame, as_of: int | None, lag_days: int) -> Judged:
    """Judge item rows; of an item with several versions the one that holds is kept.

    A row that is known only from `as_of` on is left out. Of the others, the newest that was known `lag_days` before
    `as_of` holds, or the oldest where all came later. Of equal ones the first by content is kept, whatever their order.

    Args:
        items: columns RAW_ITEMS.
        as_of: s UTC, exclusive; None = everything.
        lag_days: days.
    """
    rows = items.collect()
    since = pl.col("known_from")
    content = ["item_id", *_TEXTS, "price"]
    rows = rows.sort(*content, "known_from", "file", "row", nulls_last=True).with_columns(
        reason=pl.when(pl.col("fault").is_not_null()).then(pl.col("fault"))
        .when(_blank("item_id")).then(pl.lit("item_id_empty"))
        .when(since.is_null() & pl.col("note").str.contains(_UNREAD)).then(pl.lit("known_from_unreadable"))
        .when((since < EARLIEST) | (since >= LATEST)).then(pl.lit("known_from_out_of_range"))
        .when(pl.all_horizontal(_blank(name) for name in _TEXTS)).then(pl.lit("no_text"))
    )  # fmt: skip
    read = rows.height
    if as_of is not None:  # a time of another unit is no time after the bound
        rows = rows.filter(
            ~(since.is_between(EARLIEST, LATEST, closed="left") & (since >= as_of)).fill_null(value=False)
        )
    outside = {"after_as_of": read - rows.height}
    good, bad = rows.filter(pl.col("reason").is_null()), rows.filter(pl.col("reason").is_not_null())
    holding = _holding(good, None if as_of is None else as_of - lag_days * DAY)
    outside["other_version"] = good.height - holding.height
    twin = pl.int_range(pl.len()).over("item_id") > 0
    holding = holding.with_columns(reason=pl.when(twin).then(pl.lit("duplicate_item")))
    return Judged(pl.concat([holding, bad]), outside)


def _holding(good: pl.DataFrame, moment: int | None) -> pl.DataFrame:
    """Return each item's rows of the version that holds at a moment (s UTC; None = the newest)."""
    since = pl.col("known_from").fill_null(-1)  # without a time: from the beginning
    known = since if moment is None else pl.when(since <= moment).then(since)
    version = pl.coalesce(known.max().over("item_id"), since.min().over("item_id"))
    return good.filter(since == version)


def known(items: Judged) -> pl.DataFrame:
    """Return `item_id` and `good` (bool) of every item that has a row with an id, each once."""
    named = items.judged.filter(~_blank("item_id"))
    return named.group_by("item_id", maintain_order=True).agg(good=pl.col("reason").is_null().any())


def texts(good: pl.DataFrame, price_max: float) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return the ITEMS table and how many prices were dropped, by reason."""
    price = pl.col("price")
    why = (
        pl.when(price.is_null()).then(None)
        .when(~price.is_finite()).then(pl.lit("not_a_number"))
        .when(price < 0).then(pl.lit("negative"))
        .when(price > price_max).then(pl.lit("above_price_max"))
    )  # fmt: skip
    reasons = good.select(why.alias("why"))["why"].drop_nulls().value_counts().sort("why")
    plain = [pl.col(name).fill_null("").str.strip_chars() for name in _TEXTS]
    table = good.with_columns(plain).with_columns(price=pl.when(why.is_null()).then(price))
    return table.select(list(ITEMS.columns)).sort("item_id"), dict(reasons.iter_rows())


def warnings(items: pl.DataFrame, dropped: dict[str, int]) -> list[str]:
    """Return what may still be wrong with the kept items, one sentence each."""
    found = [lookalikes(items["item_id"], "item")] if items.height else []
    if dropped:
        found.append(f"prices count as unknown: {', '.join(f'{n} {why}' for why, n in dropped.items())}")
    return [warning for warning in found if warning]


def lookalikes(ids: pl.Series, what: str) -> str:
    """Return a warning of different ids that differ only by spaces or case, or an empty text."""
    folded = pl.DataFrame({"id": ids.unique()}).with_columns(
        folded=pl.col("id").str.replace_all(r"\s", "").str.to_lowercase()
    )
    groups = folded.group_by("folded").agg(pl.col("id").sort(), n=pl.len()).filter(pl.col("n") > 1).sort("folded")
    if groups.is_empty():
        return ""
    pair = groups["id"][0].to_list()
    return (
        f"{groups['n'].sum()} {what} ids differ only by spaces or case from another one, for instance "
        f"{pair[0]!r} and {pair[1]!r}; they are kept apart"
    )


def _blank(name: str) -> pl.Expr:
    return pl.col(name).is_null() | (pl.col(name).str.strip_chars() == "")
