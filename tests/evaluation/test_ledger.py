"""The ledger counts looks at the same rows, and pays for each."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from rporec.errors import InputError
from rporec.evaluation.ledger import Seen, look_alpha, rows_hash, seen, spend


def rows(name: str, events: range) -> Seen:
    return Seen(name, np.array(events, dtype=np.uint64))


ROWS, OTHER = rows("rows", range(9)), rows("other rows", range(20, 29))


def test_each_other_package_is_a_further_look_and_the_same_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "home" / "ledger.jsonl"
    numbers = [spend(path, ROWS, package, 0.05).number for package in ("a", "b", "a", "c", "b")]
    assert numbers == [1, 2, 1, 3, 2]
    assert len(path.read_text().splitlines()) == 3
    assert spend(path, OTHER, "c", 0.05).number == 1


def test_all_looks_together_spend_at_most_alpha() -> None:
    assert sum(look_alpha(0.05, k) for k in range(1, 5000)) <= 0.05
    assert look_alpha(0.05, 1) == pytest.approx(0.0304, abs=1e-4)
    assert look_alpha(0.05, 2) == pytest.approx(look_alpha(0.05, 1) / 4)


def test_a_torn_last_line_is_dropped_and_the_count_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    spend(path, ROWS, "a", 0.05)
    with path.open("a") as stream:
        stream.write('{"rows_hash": "rows", "pack')
    assert spend(path, ROWS, "b", 0.05).number == 2
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()] == [1, 2]


def test_a_broken_line_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text("not json\n")
    with pytest.raises(InputError, match="line 1"):
        spend(path, ROWS, "a", 0.05)


def test_rows_are_known_by_their_ids_not_by_order_or_index() -> None:
    rows = pl.DataFrame(
        {"user_id": ["u", "v"], "timestamp": [1, 2], "target": [0, 1], "history": [[1], [0, 1]]},
        schema_overrides={"history": pl.List(pl.Int32)},
    )
    same = rows.reverse().with_columns(target=1 - pl.col("target"), history=pl.Series([[1, 0], [0]]))
    assert rows_hash(rows, ["x", "y"]) == rows_hash(same, ["y", "x"])
    assert rows_hash(rows, ["x", "y"]) != rows_hash(rows, ["x", "z"])
    assert rows_hash(rows, ["x", "y"]) != rows_hash(rows.head(1), ["x", "y"])


def test_the_same_package_against_another_champion_is_a_further_look(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    assert [spend(path, ROWS, "a", 0.05, rival).number for rival in ("x", "y", "x")] == [1, 2, 1]


def test_nights_that_share_events_share_their_looks(tmp_path: Path) -> None:
    """A window of seven days that moves by one: its oldest day has been looked at on six nights before."""
    path = tmp_path / "ledger.jsonl"
    numbers = [spend(path, rows(f"{day}", range(day, day + 7)), f"{day}", 0.05).number for day in range(12)]
    assert numbers == [1, 2, 3, 4, 5, 6, 7, 7, 7, 7, 7, 7]


def test_all_looks_at_one_event_together_spend_at_most_alpha(tmp_path: Path) -> None:
    path, rng = tmp_path / "ledger.jsonl", np.random.default_rng(0)
    spent = np.zeros(40)
    for night in range(60):
        held = np.sort(rng.choice(40, size=int(rng.integers(1, 20)), replace=False))
        spent[held] += spend(path, Seen(f"{night}", held.astype(np.uint64)), f"{night}", 0.05).alpha
    assert spent.max() <= 0.05


def test_lost_events_are_an_error_and_not_forgotten_looks(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    spend(path, ROWS, "a", 0.05)
    (tmp_path / "events" / "rows.npy").unlink()
    with pytest.raises(InputError, match="events of look 1 cannot be read"):
        spend(path, OTHER, "b", 0.05)


def test_a_line_from_before_events_were_counted_still_counts_for_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"alpha": 0.03, "number": 1, "package_hash": "a", "rows_hash": "rows"}\n')
    assert spend(path, OTHER, "b", 0.05).number == 1
    assert spend(path, ROWS, "b", 0.05).number == 2


def test_an_event_is_known_by_user_moment_and_item_whatever_its_history() -> None:
    table = pl.DataFrame(
        {"user_id": ["u", "v"], "timestamp": [1, 2], "target": [0, 1], "history": [[1], [0, 1]]},
        schema_overrides={"history": pl.List(pl.Int32)},
    )
    longer = table.with_columns(history=pl.Series([[0, 1], [1, 0, 1]]))
    assert seen(table, ["x", "y"]).codes.tolist() == seen(longer, ["x", "y"]).codes.tolist()
    assert seen(table, ["x", "y"]).rows_hash != seen(longer, ["x", "y"]).rows_hash
    assert not set(seen(table, ["x", "y"]).codes) & set(seen(table, ["y", "x"]).codes)
