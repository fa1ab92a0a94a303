"""The quarantine: where bad rows can be seen with a reason, how they are counted, and how many are too many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from rporec.errors import InputError
from rporec.tables import QUARANTINE

_CURE = "mend the rows named above, or raise ingest.quarantine_max_share"
_ABOUT = ("file", "row", "fault", "note", "reason")  # columns that describe a row and are not of it


@dataclass(frozen=True)
class Judged:
    """Rows with a verdict each.

    Args:
        judged: the raw columns and `reason`, null for good rows.
        outside: rows left out without a verdict, by why (after_as_of, before_window, other_version).
    """

    judged: pl.DataFrame
    outside: dict[str, int] = field(default_factory=dict)

    def kept(self) -> pl.DataFrame:
        """Return the good rows."""
        return self.judged.filter(pl.col("reason").is_null())

    def bad(self) -> pl.DataFrame:
        """Return the bad rows."""
        return self.judged.filter(pl.col("reason").is_not_null())


def table(judged: Mapping[str, Judged]) -> pl.DataFrame:
    """Return the QUARANTINE table of the named tables' bad rows, by table, file and row."""
    return pl.concat([_quarantined(name, rows.bad()) for name, rows in judged.items()])


def count(rows: Judged) -> dict[str, object]:
    """Return rows read, outside the bounds, in (within them), kept, and in quarantine by reason.

    Raises:
        RuntimeError: the numbers do not add up: a row was lost.
    """
    reasons = rows.bad()["reason"].cast(pl.String).value_counts().sort("reason")
    by_reason = dict(zip(reasons["reason"].to_list(), reasons["count"].to_list(), strict=True))
    height, kept = rows.judged.height, rows.kept().height
    if height != kept + sum(by_reason.values()):
        raise RuntimeError(f"rows were lost: {height} in, {kept} kept, {by_reason} in quarantine")
    read = height + sum(rows.outside.values())
    return {"rows_read": read, "outside": rows.outside, "rows_in": height, "kept": kept, "quarantined": by_reason}


def refuse_bad_share(counts: dict[str, dict[str, object]], bad: pl.DataFrame, max_share: float) -> None:
    """Stop when more than `max_share` (in [0, 1]) of a table's rows are bad; show the most frequent reason."""
    for name, found in counts.items():
        rows = bad.filter(pl.col("table") == name)
        share = rows.height / max(int(str(found["rows_in"])), 1)
        if share > max_share:
            top = rows["reason"].value_counts().sort("count", "reason", descending=[True, False]).row(0)
            example = rows.filter(pl.col("reason") == top[0]).row(0, named=True)
            raise InputError(
                f"{rows.height} of {found['rows_in']} rows of {name} are bad, most of them {top[0]} ({top[1]}); "
                f"for instance row {example['row']}: {example['raw'][:160]} {example['detail']}".rstrip(),
                file=example["file"], field=name, value=round(share, 4),
                rule=f"a share in quarantine of at most {max_share} (ingest.quarantine_max_share)", cure=_CURE,
            )  # fmt: skip


def notes(*tables: Judged) -> list[str]:
    """Return a warning for kept rows of which a value could not be read (it counts as unknown)."""
    found = []
    for rows in tables:
        noted = rows.kept().filter(pl.col("note").is_not_null())
        if noted.height:
            first = noted.row(0, named=True)
            found.append(
                f"{noted.height} kept rows of {first['file']} have a value that could not be read and counts as "
                f"unknown, for instance row {first['row']}: {first['note']}"
            )
    return found


def _quarantined(name: str, bad: pl.DataFrame) -> pl.DataFrame:
    content = [column for column in bad.columns if column not in _ABOUT]
    plain = bad.with_columns(pl.selectors.by_dtype(pl.Enum, pl.Categorical).cast(pl.String))
    return plain.select(
        pl.lit(name).alias("table"), "file", "row", "reason",
        pl.col("note").fill_null("").alias("detail"),
        pl.struct(content).struct.json_encode().alias("raw"),
    ).select(list(QUARANTINE.columns)).sort("file", "row")  # fmt: skip
