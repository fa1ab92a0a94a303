"""Rows of the audit stay as written, in sqlite and PostgreSQL; the file of earlier releases is taken over."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
import sqlalchemy as sa

from rporec.errors import InputError
from rporec.release import audit, audit_store
from rporec.release.audit_row import Log, Row, rolled_back
from rporec.release.lock import single_writer
from rporec.release.place import Place
from tests import postgres
from tests.kills import killed

CHANGES = (
    "UPDATE rporec_audit SET who = 'nobody'",
    "DELETE FROM rporec_audit",
    "DELETE FROM rporec_audit WHERE 1 = 1 AND id = 1",
)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    """An audit in a file of its own, as beside a registry on a server."""
    return Place("http://localhost:1", tmp_path).audit


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with postgres.server() as address:
        yield f"postgresql+psycopg://{postgres.USER}:{quote(postgres.PASSWORD, safe='')}@{address}/postgres"


def _row(number: int, *, alias: str = "champion", act: str = "promote", model: str = "m", before: int = 0) -> Row:
    move = f"{act}-{model}-{number}"
    return Row("2026-01-01T00:00:00+00:00", "someone", model, alias, before or None, number, "h", "because", act, move)


def _fill(log: Log) -> None:
    audit.ready(log)
    audit.intend(log, [_row(1)])
    audit.close(log, [_row(1)], "done")
    audit.close(log, [_row(2, model="another")], "done")


def _refuses(log: Log, *statements: str) -> None:
    for statement in statements:
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), audit_store.writing(log) as connection:
            connection.exec_driver_sql(statement)
    assert audit.rows(log, "m") == [_row(1)]
    assert audit.rows(log, "m", "intent") == [_row(1)]
    assert audit.rows(log, "another") == [_row(2, model="another")]


def test_no_row_is_changed_removed_or_replaced(log: Log) -> None:
    assert audit.rows(log, "m") == []
    _fill(log)
    columns = ", ".join(f'"{column.name}"' for column in audit_store.TABLE.columns)
    same_id = f"INSERT OR REPLACE INTO rporec_audit ({columns}) SELECT {columns} FROM rporec_audit WHERE id = 2"
    others = columns.replace('"id", ', "")
    same_move = f"INSERT OR REPLACE INTO rporec_audit ({others}) SELECT {others} FROM rporec_audit WHERE id = 2"
    _refuses(log, *CHANGES, same_id, same_move)


def test_rows_in_postgresql_stay_too_and_machines_wait_for_each_other(postgres_url: str, tmp_path: Path) -> None:
    here, there = (
        Place("http://localhost:1", tmp_path / name, audit_url=postgres_url).audit for name in ("here", "there")
    )
    _fill(here)
    _refuses(here, *CHANGES, "TRUNCATE rporec_audit")
    with (
        single_writer(here, wait_seconds=0.0),
        pytest.raises(InputError, match="another promotion or rollback is running"),
        single_writer(there, wait_seconds=0.0),
    ):
        pass
    with single_writer(there, wait_seconds=0.0):
        audit.close(there, [_row(3)], "done")
    assert [row.to_version for row in audit.rows(here, "m")] == [1, 3]
    assert postgres.PASSWORD not in repr(here)
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT count(*) FROM rporec_audit").fetchone() == (4,)


def test_a_kill_while_the_table_is_made_leaves_none_without_triggers(log: Log) -> None:
    with killed(sa.Connection, "exec_driver_sql", after=2):  # BEGIN, the first trigger
        audit.ready(log)
    _fill(log)
    _refuses(log, *CHANGES)


def test_other_databases_and_files_that_mlflow_has_to_make_are_not_touched(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot keep the audit") as refused:
        audit.ready(Place("mysql://ada:hush@localhost/mlflow", tmp_path).audit)
    assert "hush" not in str(refused.value)
    assert "RPOREC_AUDIT_URL" in str(refused.value)
    own = Place(f"sqlite:///{tmp_path}/mlflow.db", tmp_path)
    assert not audit.ready(own.audit)
    assert audit.rows(own.audit, "m") == []
    assert list(tmp_path.iterdir()) == []


def test_the_file_of_earlier_releases_is_taken_over_once(log: Log) -> None:
    line = {"when": "w", "who": "ada", "model": "m", "alias": "champion", "verdict_hash": "", "reason": "r"}
    lines = [{**line, "from_version": None, "to_version": 1}, {**line, "from_version": 1, "to_version": 2}]
    text = "".join(json.dumps(one) + "\n" for one in lines) + '{"alias": "champ'  # the last was torn by a kill
    log.earlier.write_text(text)
    for _ in range(2):
        assert audit.ready(log)
        found = [(row.from_version, row.to_version, row.who, row.act) for row in audit.rows(log, "m")]
        assert found == [(None, 1, "ada", "promote"), (1, 2, "ada", "promote")]
    kept = log.earlier.with_name("audit.jsonl.imported")
    assert kept.read_text() == text
    kept.rename(log.earlier)  # as a kill between the rows and the new name leaves it
    audit.ready(log)
    assert len(audit.rows(log, "m")) == 2


def test_a_rolled_back_version_is_one_until_somebody_brings_it_back() -> None:
    there, back = _row(2, before=1), _row(1, before=2, act="rollback")
    assert rolled_back([there]) == {}
    assert rolled_back([there, back]) == {2: back}
    assert rolled_back([there, back, _row(3, before=1)]) == {2: back}
    assert rolled_back([there, back, _row(2, before=1), _row(3, before=2)]) == {}
    assert rolled_back([there, _row(1, before=2, act="rollback", alias="previous")]) == {}


def test_a_promotion_waits_for_the_one_that_runs(log: Log) -> None:
    held, order = threading.Event(), []

    def first() -> None:
        with single_writer(log, wait_seconds=0.0):
            held.set()
            time.sleep(0.5)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    held.wait()
    with single_writer(log, wait_seconds=30.0):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


def test_a_promotion_that_does_not_end_is_told(log: Log) -> None:
    started = time.monotonic()
    with (
        single_writer(log, wait_seconds=0.0),
        pytest.raises(InputError, match="another promotion or rollback is running, and was for 1 s"),
        single_writer(log, wait_seconds=0.6),
    ):
        pass
    assert 0.6 <= time.monotonic() - started < 10
