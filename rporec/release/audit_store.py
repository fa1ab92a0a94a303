"""The audit's table: in sqlite or PostgreSQL, made beside MLflow's tables, and closed by triggers to any rewriting.

What the rows mean is `rporec.release.audit_row`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from rporec.data.sources.place import shown
from rporec.errors import InputError
from rporec.release.audit_row import Log

_LOCK_SECONDS = 30  # that another writer of the same sqlite file is waited for
_METADATA = sa.MetaData()
TABLE = sa.Table(
    "rporec_audit",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("phase", sa.String(16), nullable=False),
    sa.Column("move", sa.String(64), nullable=False),
    sa.Column("act", sa.String(16), nullable=False),
    sa.Column("when", sa.String(40), nullable=False),
    sa.Column("who", sa.String(256), nullable=False),
    sa.Column("model", sa.String(256), nullable=False),
    sa.Column("alias", sa.String(256), nullable=False),
    sa.Column("from_version", sa.Integer),
    sa.Column("to_version", sa.Integer),
    sa.Column("verdict_hash", sa.String(64), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.UniqueConstraint("move", "alias", "phase"),
    sqlite_autoincrement=True,
)
_REFUSAL = "rporec_audit is append-only"
# INSERT OR REPLACE deletes without asking the second trigger, hence the third.
_TRIGGERS = {
    "sqlite": tuple(
        f"CREATE TRIGGER rporec_audit_{name} BEFORE {event} BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
        for name, event in (
            ("no_update", "UPDATE ON rporec_audit"),
            ("no_delete", "DELETE ON rporec_audit"),
            (
                "no_replace",
                "INSERT ON rporec_audit WHEN EXISTS (SELECT 1 FROM rporec_audit WHERE id = NEW.id "
                "OR (move = NEW.move AND alias = NEW.alias AND phase = NEW.phase))",
            ),
        )
    ),
    "postgresql": (
        "CREATE OR REPLACE FUNCTION rporec_audit_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$",
        "CREATE TRIGGER rporec_audit_no_change BEFORE UPDATE OR DELETE ON rporec_audit "
        "FOR EACH ROW EXECUTE FUNCTION rporec_audit_refuse()",
        "CREATE TRIGGER rporec_audit_no_truncate BEFORE TRUNCATE ON rporec_audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION rporec_audit_refuse()",
    ),
}


def exists(log: Log) -> bool:
    """Whether the database may be opened: an sqlite file that MLflow has to make first is not made here."""
    return not log.made_by_mlflow or Path(sa.make_url(log.url).database or "").exists()


def make(log: Log) -> None:
    """Make the table with its triggers, in one transaction; nothing where it is there.

    Raises:
        InputError: the database is neither sqlite nor PostgreSQL.
    """
    with writing(log) as connection:
        if not sa.inspect(connection).has_table(TABLE.name):
            _METADATA.create_all(connection)
            for statement in _TRIGGERS[connection.dialect.name]:
                connection.exec_driver_sql(statement)


def insert(log: Log, values: Sequence[Mapping[str, Any]]) -> None:
    """Append rows, all or none."""
    if values:
        with writing(log) as connection:
            connection.execute(sa.insert(TABLE), list(values))


def select(log: Log, phase: str, model: str | None) -> list[dict[str, Any]]:
    """Return the rows of a phase, oldest first, without `id` and `phase`; of all models for None."""
    if not exists(log):
        return []
    columns = [column for column in TABLE.columns if column.name not in ("id", "phase")]
    query = sa.select(*columns).where(TABLE.c.phase == phase).order_by(TABLE.c.id)
    if model is not None:
        query = query.where(TABLE.c.model == model)
    engine = _engine(log)
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table(TABLE.name):
            return []
        return [dict(row) for row in connection.execute(query).mappings()]


@contextmanager
def writing(log: Log) -> Iterator[sa.Connection]:
    """Yield a connection in a transaction that is committed at the end; on sqlite it holds the table's definition too.

    Raises:
        InputError: the database is neither sqlite nor PostgreSQL.
    """
    engine = _engine(log)
    if engine.dialect.name == "sqlite":
        # Python's driver would leave CREATE outside the transaction: a kill could leave a table without triggers.
        sa.event.listen(engine, "connect", _by_hand)
        sa.event.listen(engine, "begin", _begin)
    with engine.begin() as connection:
        yield connection


def _engine(log: Log) -> sa.Engine:
    url = sa.make_url(log.url)
    kind = url.get_backend_name()
    if kind not in _TRIGGERS:
        raise InputError(
            "this database cannot keep the audit",
            field="RPOREC_AUDIT_URL", value=shown(log.url), rule="sqlite or PostgreSQL, where triggers hold the rows",
            cure="name such a database in RPOREC_AUDIT_URL",
        )  # fmt: skip
    if kind == "sqlite" and url.database and not log.made_by_mlflow:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    options = {"timeout": _LOCK_SECONDS} if kind == "sqlite" else {}
    return sa.create_engine(url, poolclass=NullPool, connect_args=options)


def _by_hand(connection: Any, record: object) -> None:  # noqa: ANN401, ARG001 - the signature of an event
    connection.isolation_level = None


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
