"""The ledger counts looks at the same rows, and pays for each."""

import json
from pathlib import Path

import polars as pl
import pytest

from rporec.errors import InputError
from rporec.evaluation.ledger import look_alpha, rows_hash, spend


def test_each_other_package_is_a_further_look_and_the_same_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "home" / "ledger.jsonl"
    numbers = [spend(path, "rows", package, 0.05).number for package in ("a", "b", "a", "c", "b")]
    assert numbers == [1, 2, 1, 3, 2]
    assert len(path.read_text().splitlines()) == 3
    assert spend(path, "other rows", "c", 0.05).number == 1


def test_all_looks_together_spend_at_most_alpha() -> None:
    assert sum(look_alpha(0.05, k) for k in range(1, 5000)) <= 0.05
    assert look_alpha(0.05, 1) == pytest.approx(0.0304, abs=1e-4)
    assert look_alpha(0.05, 2) == pytest.approx(look_alpha(0.05, 1) / 4)


def test_a_torn_last_line_is_dropped_and_the_count_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    spend(path, "rows", "a", 0.05)
    with path.open("a") as stream:
        stream.write('{"rows_hash": "rows", "pack')
    assert spend(path, "rows", "b", 0.05).number == 2
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()] == [1, 2]


def test_a_broken_line_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text("not json\n")
    with pytest.raises(InputError, match="line 1"):
        spend(path, "rows", "a", 0.05)


def test_rows_are_known_by_their_ids_not_by_order_or_index() -> None:
    rows = pl.DataFrame(
        {"user_id": ["u", "v"], "timestamp": [1, 2], "target": [0, 1], "history": [[1], [0, 1]]},
        schema_overrides={"history": pl.List(pl.Int32)},
    )
    same = rows.reverse().with_columns(target=1 - pl.col("target"), history=pl.Series([[1, 0], [0]]))
    assert rows_hash(rows, ["x", "y"]) == rows_hash(same, ["y", "x"])
    assert rows_hash(rows, ["x", "y"]) != rows_hash(rows, ["x", "z"])
    assert rows_hash(rows, ["x", "y"]) != rows_hash(rows.head(1), ["x", "y"])
