"""The split of MiniOneRec as published: train, valid and test rows with their histories, and the item texts.

`development` keeps the official test rows unread: valid rows take their place, the newest train rows that of valid.
"""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from rporec.config import ColumnNames
from rporec.data.sources import published
from rporec.data.sources.base import RAW_INTERACTIONS, RAW_ITEMS, Bounds, Raw, complete
from rporec.data.sources.columns import GIVEN_COLUMNS
from rporec.data.sources.jsonl import Fields, shown
from rporec.data.sources.layout import DataFile
from rporec.data.sources.tablefile import readable, scan_table
from rporec.errors import InputError

_NAMES = ColumnNames(
    user_id="user_id", item_id="item_id", target="item_id", history="history_item_id", timestamp="timestamp",
    rating="rating", title="title", description="description", brand="brand", category="categories", price="price",
    known_from="known_from",
)  # fmt: skip
_ROWS = {name: GIVEN_COLUMNS[name] for name in ("user_id", "target", "history")}
_MAX_ITEMS = 1 << 30  # bytes of the item file, which is read whole; the published ones have a few MiB
_MAX_LITERAL = 1 << 20  # characters


@dataclass(frozen=True)
class MiniOneRecSource:
    """Reads one category.

    Args:
        place: the folder with train, valid, test and index.
        split: `official`, or `development`: test = official valid, valid = the newest tenth of official train.
    """

    place: str | None
    split: str

    def read(self, scratch: Path, bounds: Bounds) -> Raw:  # noqa: ARG002 - a given split has no times and is unpacked
        """Open the files (see `rporec.data.sources.base.Source`)."""
        tables = published.find("minionerec", self.place, self.split).tables
        train, valid = (_rows(tables[name][0]) for name in ("train", "valid"))
        if self.split == "official":
            split = {"train": train, "valid": valid, "test": _rows(tables["test"][0])}
        else:
            cut = _cut(train, tables["train"][0])
            split = {
                "train": train.filter(pl.col("row") < cut),
                "valid": train.filter(pl.col("row") >= cut),
                "test": valid,
            }
        parts = [complete(rows.with_columns(split=pl.lit(name)), RAW_INTERACTIONS) for name, rows in split.items()]
        stated: dict[str, dict[str, object]] = {tables["train"][0].name: {"split": self.split}}
        return Raw(pl.concat(parts), _items(tables["items"][0]), timed=False, given=True, stated=stated)


def _rows(file: DataFile) -> pl.LazyFrame:
    frame, _ = scan_table(file, _ROWS, _NAMES)
    return frame.rename({"target": "item_id"})


def _cut(train: pl.LazyFrame, file: DataFile) -> int:
    """Return the number of train rows that stay train: nine tenths, rounded down, as the rows are in time order."""
    with readable(file.url):
        return int(train.select(pl.len()).collect().item()) * 9 // 10


def _items(file: DataFile) -> pl.LazyFrame:
    rows = [
        {"file": file.name, "row": number, **_item(item_id, record)}
        for number, (item_id, record) in enumerate(_read_pairs(file))
    ]
    columns = {name: [row.get(name) for row in rows] for name in RAW_ITEMS}
    return pl.DataFrame(columns, schema=RAW_ITEMS).lazy()


def _read_pairs(file: DataFile) -> list[tuple[str, object]]:
    """Return every pair of the file's object, an id that stands twice twice."""
    rule, cure = "one JSON object, item id → its texts (UTF-8)", "it may be cut off: download it again"
    try:
        if Path(file.url).stat().st_size > _MAX_ITEMS:
            raise InputError(
                "the item file is too large",
                file=file.url,
                rule=f"at most {_MAX_ITEMS} bytes",
                cure="is it the item file?",
            )
        found = json.loads(Path(file.url).read_text(encoding="utf-8"), object_pairs_hook=_Pairs)
    except (ValueError, RecursionError, OSError) as error:
        raise InputError(f"the item file cannot be read: {error}", file=file.url, rule=rule, cure=cure) from error
    if not isinstance(found, _Pairs):
        raise InputError("the item file holds no object", file=file.url, rule=rule, cure=cure)
    return [(name, dict(value) if isinstance(value, _Pairs) else value) for name, value in found]


class _Pairs(list[tuple[str, object]]):
    """A JSON object as it stands, names that occur twice included."""


def _item(item_id: str, record: object) -> dict[str, object]:
    if not isinstance(record, dict):
        return {"item_id": item_id, "fault": "not_an_object", "note": shown(record)}
    fields = Fields(record)
    row = {
        "item_id": item_id,
        "title": _text(fields, "title", " "),
        "description": _text(fields, "description", " "),
        "brand": _text(fields, "brand", " "),
        "category": _text(fields, "categories", " > "),
    }
    return {**row, "note": "; ".join(fields.notes) or None}


def _text(fields: Fields, name: str, sign: str) -> str | None:
    """Return a text as it stands; a list, or a list written as text, is joined by `sign`."""
    value = fields.record.get(name)
    if isinstance(value, str):
        listed = _literal(value)
        return value if listed is None else sign.join(listed) or None
    return sign.join(fields.texts(name)) or None


def _literal(text: str) -> list[str] | None:
    """Return a list of texts written as a Python list, or None; names and calls are never looked up."""
    if not (text.startswith("[") and text.endswith("]")) or len(text) > _MAX_LITERAL:
        return None
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    if not isinstance(found, list) or not all(isinstance(part, str) for part in found):
        return None
    return [part.strip() for part in found if part.strip()]
