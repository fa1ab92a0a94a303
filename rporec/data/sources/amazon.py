"""Amazon Reviews 2023 as published: one review a JSON line, one product family a JSON line.

An item is a `parent_asin`, a family of variants. What the page gathered over all time (average rating, numbers of
ratings, sales ranks, what is bought together) never reaches an item's text: it tells of the years after as_of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import polars as pl

from rporec.data.sources import published, times
from rporec.data.sources.base import RAW_INTERACTIONS, RAW_ITEMS, Bounds, Raw
from rporec.data.sources.jsonl import Fields, spool
from rporec.data.sources.layout import DataFile
from rporec.data.sources.tablefile import readable
from rporec.errors import InputError

_SIGN = " > "  # between the levels of a category
# Names of details that gather other people's later behaviour, and texts that quote it.
_LATER_NAME = re.compile(
    r"\brank(s|ing|ings)?\b|best ?sellers?\b"
    r"|\b(customer|average|avg|mean|overall|stars?|total|global) (\w+ )?(reviews?|ratings?)\b"
    r"|\b(ratings?|reviews?) (number|count|average|total)\b|\b(number|count) of (\w+ )?(ratings?|reviews?)\b"
    r"|^(ratings?|reviews?|stars?)$|bought together|also (bought|viewed)|helpful votes?"
)
_LATER_TEXT = re.compile(
    r"best[ -]?sellers? rank|customer reviews?\s*:|out of (5|five) stars?"
    r"|\b[\d,.]{1,15}[km]? (global |customer |verified )?(ratings|reviews)\b"
    r"|^#[\d,]+ in [a-z]",
    re.IGNORECASE,
)
_AMOUNT = r"\$?\s?(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?"
_PRICE = re.compile(rf"(?:from\s+)?{_AMOUNT}(?:\s*(?:-|–|to)\s*{_AMOUNT})?", re.IGNORECASE)
_DEEPEST = 8  # levels of details; no published item has more than two
_NO_PRICE = ("", "—", "–", "-", "None", "null")


@dataclass(frozen=True)
class AmazonSource:
    """Reads the categories of a folder.

    Args:
        place: the folder with reviews and items of one or several categories.
    """

    place: str | None

    def read(self, scratch: Path, bounds: Bounds) -> Raw:  # noqa: ARG002 - polars pushes the bounds down itself
        """Read all files once (see `rporec.data.sources.base.Source`)."""
        tables = published.find("amazon_reviews_2023", self.place).tables
        stated: dict[str, dict[str, object]] = {}
        reviews = [_reviews(file, scratch, stated) for file in tables["reviews"]]
        items = []
        for file in tables["items"]:
            items.append(spool(file, RAW_ITEMS, _item, scratch))
            stated[file.name] = {"item_id": "parent_asin", "price": "text such as 'from 3.99': the least amount in it"}
        return Raw(pl.concat(reviews), pl.concat(items), timed=True, given=False, stated=stated)


def _reviews(file: DataFile, scratch: Path, stated: dict[str, dict[str, object]]) -> pl.LazyFrame:
    frame = spool(file, RAW_INTERACTIONS, _review, scratch)
    try:
        with readable(file.url):
            reading = times.read_times(frame, "timestamp")
    except times.MixedTimesError as error:
        raise InputError(
            f"the times of the reviews cannot be read: {error}",
            file=file.url, field="timestamp", rule="whole ms since 1970 UTC", cure="download the file again",
        ) from None  # fmt: skip
    assert reading is not None  # the column is whole numbers
    stated[file.name] = {"item_id": "parent_asin", "timestamp": reading.stated}
    lost = pl.when(reading.seconds.is_null() & pl.col("timestamp").is_not_null()).then(
        pl.format("timestamp '{}'", pl.col("timestamp"))
    )
    note = pl.concat_str("note", lost, separator="; ", ignore_nulls=True)
    return frame.with_columns(note=pl.when(note != "").then(note).otherwise("note"), timestamp=reading.seconds)


def _review(fields: Fields) -> dict[str, object]:
    return {
        "user_id": fields.text("user_id"),
        "item_id": fields.text("parent_asin"),
        "timestamp": fields.whole("timestamp"),
        "rating": fields.number("rating"),
    }


def _item(fields: Fields) -> dict[str, object]:
    details = _details(fields)
    texts = [*fields.texts("description"), *fields.texts("features")]
    about = [*(text for text in texts if not _LATER_TEXT.search(text)), "; ".join(_flat(details))]
    brand = next((value for name, value in details.items() if name.lower() == "brand" and isinstance(value, str)), "")
    return {
        "item_id": fields.text("parent_asin"),
        "title": fields.text("title"),
        "description": " ".join(text for text in about if text) or None,
        "brand": brand.strip() or fields.text("store"),
        "category": _SIGN.join(fields.texts("categories")) or fields.text("main_category"),
        "price": _price(fields),
    }


def _details(fields: Fields) -> dict[str, object]:
    """Return the details, an object or the same as JSON text, sorted by name."""
    value = fields.record.get("details")
    found = value
    if isinstance(value, str):
        try:
            found = orjson.loads(value) if value.strip() else {}
        except orjson.JSONDecodeError:
            found = value
    if isinstance(found, dict):
        return dict(sorted(found.items()))
    if value is not None:
        fields.lost("details", value)
    return {}


def _flat(details: dict[str, object], above: str = "", depth: int = 0) -> Iterator[str]:
    """Yield details as `name: value`, inner objects as `name / inner name: value`, sorted, without later knowledge."""
    if depth > _DEEPEST:
        return
    for name, value in sorted(details.items()):
        words = re.sub(r"[\W_]+", " ", name).strip().lower()
        if _LATER_NAME.search(words):
            continue
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name} / ", depth + 1)
            continue
        parts = value if isinstance(value, list) else [value]
        kept = [str(part).strip() for part in parts if isinstance(part, str | int | float) and str(part).strip()]
        text = ", ".join(part for part in kept if not _LATER_TEXT.search(part))
        if text:
            yield f"{above}{name}: {text}"


def _price(fields: Fields) -> float | None:
    """Return the price, the least one where a family has several; a dash says that there is none."""
    value = fields.record.get("price")
    if not isinstance(value, str):
        return fields.number("price")
    text = value.strip()
    if text in _NO_PRICE:
        return None
    found = _PRICE.fullmatch(text)
    if found is None:
        fields.lost("price", value)
        return None
    return float(found[1].replace(",", "") + (found[2] or ""))
