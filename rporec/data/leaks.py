"""What one check of the leak audit found, and how its rows are shown."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

PAIRS = (("train", "valid"), ("train", "test"), ("valid", "test"))  # (earlier, later)
_SHOWN = 3


@dataclass(frozen=True)
class Check:
    """One check.

    Args:
        name: of the check.
        rule: what must hold.
        rows: rows that were looked at.
        bad: rows that break the rule.
        problem: what is wrong, empty when nothing is.
        examples: some of the bad rows, in words.
        cure: what the user can do.
    """

    name: str
    rule: str
    rows: int
    bad: int
    problem: str
    examples: list[str]
    cure: str


def checked(name: str, rule: str, rows: int, bad: pl.DataFrame, problem: str, cure: str) -> Check:
    """Return a check's outcome; `bad` holds the rows that break the rule."""
    if bad.is_empty():
        return Check(name, rule, rows, 0, "", [], "")
    return Check(name, rule, rows, bad.height, problem, [_shown(row) for row in bad.head(_SHOWN).to_dicts()], cure)


def _shown(row: dict[str, object]) -> str:
    if "user_id" not in row:
        return ", ".join(f"{name} {value}" for name, value in row.items())
    target = row.get("target", row.get("item_id"))
    where = f"row {row['row_id']}" if "row_id" in row else f"row {row.get('order', '?')} of {row.get('split', '?')}"
    return f"{where}: user {row['user_id']}, history {row['history']}, target {target}"
