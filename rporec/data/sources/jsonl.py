"""JSON lines, read once in batches into parquet parts, so that tables stay lazy and memory holds one batch.

Every line becomes one row: a line that is no JSON object keeps its place with a fault, a wrong value becomes null
with a note. What the fields mean is the adapter's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import polars as pl

from rporec.data.sources import archive
from rporec.data.sources.base import NOTE_LENGTH
from rporec.data.sources.layout import DataFile
from rporec.errors import InputError

_BATCH_ROWS, _BATCH_BYTES = 20_000, 32 << 20  # a batch ends at whichever comes first
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Fields:
    """The fields of one JSON object; what has the wrong type reads as None and leaves a note."""

    record: dict[str, object]
    notes: list[str] = field(default_factory=list)

    def text(self, name: str) -> str | None:
        """Return a text, or None."""
        value = self.record.get(name)
        if value is None or isinstance(value, str):
            return value
        self.lost(name, value)
        return None

    def number(self, name: str) -> float | None:
        """Return a finite number, or None."""
        value = self.record.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):  # JSON has no infinite number
            return float(value)
        if value is not None:
            self.lost(name, value)
        return None

    def whole(self, name: str) -> int | None:
        """Return a whole number of 64 bits, or None."""
        value = self.record.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
            return value
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:  # beyond, a float is no exact number
            return int(value)
        if value is not None:
            self.lost(name, value)
        return None

    def texts(self, name: str) -> list[str]:
        """Return a list of texts, the blank ones left out; one text is a list of one."""
        value = self.record.get(name)
        listed = value if isinstance(value, list) else [] if value is None else [value]
        if any(part is not None and not isinstance(part, str) for part in listed):
            self.lost(name, value)
        return [part.strip() for part in listed if isinstance(part, str) and part.strip()]

    def lost(self, name: str, value: object) -> None:
        """Note that a value could not be read."""
        self.notes.append(f"{name} '{shown(value)}'")


def shown(value: object) -> str:
    """Return the beginning of a JSON value as text; of one that nests without end, its kind."""
    try:
        return str(value)[:NOTE_LENGTH]
    except RecursionError:
        return f"a deeply nested {type(value).__name__}"


Parse = Callable[[Fields], dict[str, object]]


def spool(file: DataFile, schema: dict[str, pl.DataType], parse: Parse, scratch: Path) -> pl.LazyFrame:
    """Read JSON lines once and return them lazily, one row a line.

    Args:
        file: a .jsonl or .jsonl.gz file.
        schema: the table's columns; fault, note, file and row are filled in here, absent ones are null.
        parse: the other columns of one object.
        scratch: parquet parts stay here as long as the table is read.

    Raises:
        InputError: the file is empty, cannot be read to its end, or has an endless line.
    """
    folder = scratch / f"{file.name.replace('/', '+')}.parts"
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[Path] = []
    for rows in _batches(_rows(file, parse)):
        parts.append(folder / f"{len(parts):06d}.parquet")
        columns = {name: [row.get(name) for row in rows] for name in schema}
        pl.DataFrame(columns, schema=schema).write_parquet(parts[-1], compression="zstd")
    if not parts:
        raise InputError(
            "the data file is empty", file=file.url, rule="one JSON object a line", cure="download it again"
        )
    return pl.scan_parquet(parts, glob=False)


def _rows(file: DataFile, parse: Parse) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield (bytes of the line, row) of each line."""
    for number, line in enumerate(archive.lines(file.url)):
        yield (
            len(line),
            {"file": file.name, "row": number, **_row(line.removeprefix(_BOM) if not number else line, parse)},
        )


def _row(line: bytes, parse: Parse) -> dict[str, object]:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return _faulty("not_json" if _is_text(line) else "not_utf8", line)
    if not isinstance(record, dict):
        return _faulty("not_an_object", line)
    fields = Fields(record)
    row = parse(fields)
    return {**row, "note": "; ".join(fields.notes) or None}


def _faulty(fault: str, line: bytes) -> dict[str, object]:
    return {"fault": fault, "note": line[: 4 * NOTE_LENGTH].decode("utf-8", "replace")[:NOTE_LENGTH]}


def _is_text(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _batches(rows: Iterator[tuple[int, dict[str, object]]]) -> Iterator[list[dict[str, object]]]:
    batch: list[dict[str, object]] = []
    held = 0
    for size, row in rows:
        batch.append(row)
        held += size
        if len(batch) == _BATCH_ROWS or held >= _BATCH_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch
