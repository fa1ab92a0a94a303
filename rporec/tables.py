"""Column contracts of every table between stages, checked at the reader's door.

Statistical expectations live in `rporec.data.contracts`; here only names and types.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from rporec.errors import InputError
from rporec.files import atomic_file


@dataclass(frozen=True)
class Table:
    """A table's name and its columns in order (polars types)."""

    name: str
    columns: dict[str, pl.DataType]


_STR, _I64, _I32, _F64, _BOOL = pl.String(), pl.Int64(), pl.Int32(), pl.Float64(), pl.Boolean()

INTERACTIONS = Table(
    "interactions",
    {
        "user_id": _STR,
        "item_id": _STR,
        "timestamp": _I64,
        "order": _I64,
        "split": _STR,
        "history": pl.List(_STR),
    },
)
ITEMS = Table(
    "items",
    {
        "item_id": _STR, "title": _STR, "description": _STR, "brand": _STR, "category": _STR, "price": _F64,
        "known_from": _I64,
    },
)  # fmt: skip
# What a package serves: whoever ranks has no use for when an item came to be known.
CATALOGUE = Table("items", {name: kind for name, kind in ITEMS.columns.items() if name != "known_from"})
QUARANTINE = Table(
    "quarantine", {"table": _STR, "file": _STR, "row": _I64, "reason": _STR, "detail": _STR, "raw": _STR}
)
ORACLE = Table("oracle", {"user_id": _STR, "item_id": _STR, "timestamp": _I64, "ndcg": _F64})
ROWS = Table(
    "rows",
    {
        "row_id": _I64, "group": _I64, "user_id": _STR, "timestamp": _I64,
        "history": pl.List(_I32), "target": _I32, "slice": _STR,
    },
)  # fmt: skip
COMPLETIONS = Table(
    "completions",
    {
        "group": _I64, "sample": _I32, "slice": _STR, "prompt": _STR, "completion": _STR,
        "thought": _STR, "answer": _STR, "well_formed": _BOOL,
        "grounded": _F64, "named": _I32,  # of the thought: share of its names that are true, and how many are
    },
)  # fmt: skip
# What the backbone was taught to write: composed with the target in view, so never an input of the Rechead.
COMPOSED = Table("composed", {"row_id": _I64, "thought": _STR, "answer": _STR})
# Every row that the backbone learned from, in a text or in a count: nothing that is written for it may be read.
LEARNED = Table("learned", {"row_id": _I64})
KNOWN = Table("known", {"item_id": _STR})  # the catalogue, in the order of the items' indices
ROLLOUTS = Table(
    "rollouts",
    {
        "step": _I32, "group": _I64, "sample": _I32, "prompt": _STR, "completion": _STR, "reward": _F64,
        "format": _F64, "outside": _F64, "rank": _F64, "concise": _F64, "similar": _F64, "entropy": _F64,
        "grounded": _F64, "valid": _F64, "well_formed": _F64, "advantage": _F64,
    },
)  # fmt: skip
RANKS_FIXED: dict[str, pl.DataType] = {
    "row_id": _I64, "group": _I64, "user_id": _STR, "target": _I32, "history_length": _I32,
    "target_train_count": _I32, "user_new": _BOOL, "item_new": _BOOL,
}  # fmt: skip

# Of one arm of the ablations and one seed: where the targets of the rows of valid and test stand.
ABLATED = Table("ablated", {"slice": _STR, "row_id": _I64, "user_id": _STR, "above": _I32, "ties": _I32})
# Of one writer and seed of a study of alignment: the same by way of decoding, and how its texts are (means of samples).
STUDIED = Table(
    "studied",
    {
        "slice": _STR, "decoding": _STR, "row_id": _I64, "user_id": _STR, "above": _I32, "ties": _I32,
        "grounded": _F64, "named": _F64, "words": _F64, "well_formed": _F64,
    },
)  # fmt: skip


def ranks_table(rankers: list[str]) -> Table:
    """Return the contract of `ranks.parquet`: the fixed columns and two counts a ranker (`_above`, `_ties`)."""
    counted = {f"{ranker}_{part}": _I32 for ranker in rankers for part in ("above", "ties")}
    return Table("ranks", {**RANKS_FIXED, **counted})


def read(path: Path, table: Table) -> pl.DataFrame:
    """Read a parquet file that must hold exactly the table's columns and types.

    Raises:
        InputError: the file is absent, unreadable, or breaks the contract.
    """
    cure = f"run the stage that writes {path.name} again (make run)"
    if not path.is_file():
        raise InputError(f"the {table.name} table is missing", file=path, cure=cure)
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise InputError(f"the {table.name} table cannot be read: {error}", file=path, cure=cure) from error
    check(frame, table, str(path))
    return frame


def check(frame: pl.DataFrame, table: Table, file: str) -> None:
    """Raise InputError unless `frame` has exactly the table's columns, in order, with their types."""
    expected, found = table.columns, dict(frame.schema)
    for name, kind in expected.items():
        if name not in found:
            raise InputError(
                f"the {table.name} table lacks a column",
                file=file, field=name, rule=f"type {kind}", cure="write the table with this column",
            )  # fmt: skip
        if found[name] != kind:
            raise InputError(
                f"a column of the {table.name} table has the wrong type",
                file=file, field=name, value=str(found[name]), rule=f"type {kind}", cure="convert the column",
            )  # fmt: skip
    if extra := [name for name in found if name not in expected]:
        raise InputError(
            f"the {table.name} table has a column that its contract does not know",
            file=file, field=extra[0], rule=f"columns are {list(expected)}", cure="drop the column",
        )  # fmt: skip


def write(frame: pl.DataFrame, path: Path, table: Table) -> None:
    """Check a table against its contract and write it atomically as parquet (same rows, same bytes)."""
    frame = frame.select(list(table.columns))
    check(frame, table, str(path))
    with atomic_file(path) as temporary:
        frame.write_parquet(temporary, compression="zstd", statistics=True, row_group_size=1 << 20)


def empty(table: Table) -> pl.DataFrame:
    """Return the table with no rows."""
    return pl.DataFrame(schema=table.columns)
