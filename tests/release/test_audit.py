"""The audit outlives a kill, and two promotions wait for each other."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from rporec.errors import InputError
from rporec.release import audit


def _row(number: int) -> audit.Row:
    return audit.Row("2026-01-01T00:00:00+00:00", "someone", "m", "champion", None, number, "h", "because")


def test_a_torn_row_does_not_brick_the_audit(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    audit.append(path, _row(1))
    with path.open("a") as stream:
        stream.write('{"alias": "champ')
    audit.append(path, _row(2))
    assert [row.to_version for row in audit.rows(path, "m")] == [1, 2]
    assert audit.rows(path, "another") == []


def test_a_promotion_waits_for_the_one_that_runs(tmp_path: Path) -> None:
    path, held, order = tmp_path / "audit.jsonl", threading.Event(), []

    def first() -> None:
        with audit.single_writer(path, wait_seconds=0.0):
            held.set()
            time.sleep(0.5)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    held.wait()
    with audit.single_writer(path, wait_seconds=30.0):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


def test_a_promotion_that_does_not_end_is_told(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    started = time.monotonic()
    with (
        audit.single_writer(path, wait_seconds=0.0),
        pytest.raises(InputError, match="another promotion is running, and was for 1 s"),
        audit.single_writer(path, wait_seconds=0.6),
    ):
        pass
    assert 0.6 <= time.monotonic() - started < 10
