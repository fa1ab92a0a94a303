"""A database opened for reading only, and the two queries on it; its troubles in plain words, without the password.

Nothing is known here of times and raw columns; see `rporec.data.sources.sql`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, quote_plus

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.pool import NullPool

from rporec.data.sources import place as places
from rporec.errors import InputError

_URL = "a SQLAlchemy URL, for instance postgresql+psycopg://user:password@host/database or sqlite:////path/to/file.db"
_SECONDS = 10  # until a host that does not answer counts as unreachable
_CONNECT: dict[str, dict[str, Any]] = {
    "postgresql": {"connect_timeout": _SECONDS}, "mysql": {"connect_timeout": _SECONDS},
    "mariadb": {"connect_timeout": _SECONDS},
    "sqlite": {"check_same_thread": False},  # Polars may ask for the next rows from another thread
}  # fmt: skip
_READ_ONLY = {
    "sqlite": "PRAGMA query_only = ON",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
}  # PostgreSQL has an option of its own
_LOGIN = re.compile(r"authentication|password|access denied|role .* does not exist", re.IGNORECASE)
_NO_CODE = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | `[^`]*` | \$(\w*)\$.*?\$\1\$ | --[^\n]* | /\*.*?\*/""", re.DOTALL | re.VERBOSE
)


@dataclass(frozen=True)
class Database:
    """A database that is read and never written.

    Args:
        engine: opens one connection a reading.
        shown: its place as people may read it.
        secrets: what no message may hold.
    """

    engine: sa.Engine = field(repr=False)
    shown: str
    secrets: frozenset[str] = field(repr=False)

    @contextmanager
    def reading(self, name: str) -> Iterator[sa.Connection]:
        """Yield a connection in a read-only transaction.

        Args:
            name: the parameter whose query is read, named in errors.

        Raises:
            InputError: the database cannot be reached, refuses the login or the query.
        """
        reached = False
        backend = self.engine.dialect.name
        try:
            with self.engine.connect() as connection:
                reached = True
                if backend == "postgresql":
                    connection.execution_options(postgresql_readonly=True)
                elif backend in _READ_ONLY:
                    connection.exec_driver_sql(_READ_ONLY[backend])
                yield connection
        except exc.SQLAlchemyError as error:  # its own words hold the statement and would go on for pages
            words = self._words(error)
            raise (self._refused(name, words) if reached else self._unreachable(words)) from None

    def _words(self, error: exc.SQLAlchemyError) -> str:
        text = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text.splitlines()[0]

    def _refused(self, name: str, words: str) -> InputError:
        return InputError(
            f"a query fails: {words}",
            file=self.shown, field=name, rule="one SELECT that the database answers",
            cure="try the query in the database's own client",
        )  # fmt: skip

    def _unreachable(self, words: str) -> InputError:
        if _LOGIN.search(words):
            return InputError(
                f"the database refuses the login: {words}",
                file=self.shown, cure="correct user and password in DATA= (signs like @ : / are written %40 %3A %2F)",
            )  # fmt: skip
        return InputError(
            f"the database cannot be opened: {words}",
            file=self.shown, cure="check host, port and name in DATA=, and that the database takes connections",
        )  # fmt: skip


def open_database(place: str | None) -> Database:
    """Return the database at a place; no connection is made yet.

    Args:
        place: a SQLAlchemy URL.

    Raises:
        InputError: no place, no URL, no such file, or the driver is not installed.
    """
    if place is None:
        raise InputError("no database is given", field="ingest.source", value="sql", rule=_URL, cure="add DATA=<URL>")
    shown = places.shown(place)
    if place.partition("?")[0].count("@") > 1:  # the driver would name a part of the password as the host
        raise InputError("a database URL holds @ twice", file=shown, rule=_URL, cure="write @ in a password as %40")
    try:
        url = sa.make_url(place)
        backend = url.get_backend_name()
        given = {key: value for key, value in _CONNECT.get(backend, {}).items() if key not in url.query}
        engine = sa.create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=given)
    except exc.NoSuchModuleError:
        scheme = place.partition("://")[0]
        raise InputError("no such kind of database is known", field="DATA", value=scheme, rule=_URL, cure="correct it")\
            from None  # fmt: skip
    except ModuleNotFoundError as error:
        raise InputError(
            "the database's driver is not installed",
            file=shown, field="DATA", value=error.name, cure=f"install {error.name}, or name another driver in the URL",
        ) from None  # fmt: skip
    except (exc.ArgumentError, ValueError, TypeError):
        raise InputError("the database URL cannot be read", file=shown, rule=_URL, cure="correct DATA=") from None
    file = places.local(place)
    if file is not None and backend == "sqlite" and url.database != ":memory:" and not file.is_file():
        raise InputError("the database file does not exist", file=file, cure="correct the path in DATA=")
    options = {value for key, value in url.query.items() if "pass" in key.lower() and isinstance(value, str)}
    plain = {str(secret) for secret in (url.password, *options) if secret}
    return Database(engine, shown, frozenset(form(s) for s in plain for form in (str, quote, quote_plus)))


@dataclass(frozen=True)
class Where:
    """A condition on the rows of a query.

    Args:
        text: SQL with named values.
        values: name → value.
    """

    text: str
    values: dict[str, object]


@dataclass(frozen=True)
class Query:
    """One of the user's queries, as a table to select from.

    Args:
        database: where it is asked.
        name: the parameter that holds it.
        text: one SELECT.
    """

    database: Database
    name: str
    text: str

    def quoted(self, column: str) -> str:
        """Return a column as it is written in SQL."""
        return "q." + self.database.engine.dialect.identifier_preparer.quote(column)

    def select(self, wanted: list[str], where: Where | None = None) -> sa.TextClause:
        """Return `SELECT wanted FROM (query) WHERE where`, ready to execute; `wanted` is SQL."""
        # Written colons are the user's own. A last line may be a comment: the bracket stands on the next.
        own, chosen = (text.replace(":", "\\:") for text in (self.text, ", ".join(wanted)))
        ask = sa.text(f"SELECT {chosen} FROM (\n{own}\n) AS q" + (f" WHERE {where.text}" if where else ""))
        return ask.bindparams(**where.values) if where else ask

    def columns(self) -> list[str]:
        """Return the names of the query's columns; no row crosses."""
        with self.database.reading(self.name) as connection:
            return list(connection.execute(self.select(["q.*"], Where("1 = 0", {}))).keys())


def checked(database: Database, name: str, text: str | None) -> Query:
    """Return the user's query unless it is something else than one SELECT.

    Raises:
        InputError: no query, several statements, or one that does not begin with SELECT or WITH.
    """
    text = (text or "").strip().rstrip(";")
    code = _NO_CODE.sub(" ", text)
    first = re.match(r"[\s(]*(\w+)", code)
    if first is None or first[1].upper() not in ("SELECT", "WITH") or ";" in code or not _closed(code):
        raise InputError(
            "a query is not one SELECT",
            field=name, value=text, rule="one statement that begins with SELECT or WITH", cure="write it so",
        )  # fmt: skip
    return Query(database, name, text)


def _closed(code: str) -> bool:
    """Whether no bracket closes that was not opened: the query must stay within its own brackets."""
    depth = 0
    for sign in re.findall(r"[()]", code):
        depth += 1 if sign == "(" else -1
        if depth < 0:
            return False
    return depth == 0
