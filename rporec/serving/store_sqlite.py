"""The store in one sqlite file: the default, shared by the workers of one machine."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rporec.reasoning.parse import Parsed
from rporec.serving.store import Kept, NewItem, Reader, StoreError, pack, pack_item, unpack, unpack_item

_SCHEMA = """
CREATE TABLE IF NOT EXISTS reasoning (package TEXT, key TEXT, written TEXT, PRIMARY KEY (package, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS heads (package TEXT, key TEXT, head BLOB, PRIMARY KEY (package, key));
CREATE TABLE IF NOT EXISTS users (package TEXT, user TEXT, history TEXT, PRIMARY KEY (package, user)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS items (place INTEGER PRIMARY KEY, model TEXT, id TEXT, item TEXT, UNIQUE (model, id));
"""
# Heads lie apart: they are larger than all else, and a file of before they were kept needs nothing but the table.
_KEPT = """
SELECT reasoning.key, written, head FROM reasoning LEFT JOIN heads USING (package, key)
WHERE reasoning.package = ? AND reasoning.key IN
"""
_LOCK_SECONDS = 5.0  # waited for another process that writes
_TOGETHER = 500  # keys of one question: sqlite takes only so many


class SqliteStore:
    """A store in a file, which is made when it is absent.

    Args:
        file: the database.

    Raises:
        StoreError: it cannot be opened.
    """

    def __init__(self, file: Path) -> None:
        self.file, self._lock = file, threading.Lock()
        with _told():
            file.parent.mkdir(parents=True, exist_ok=True)
            # One connection behind a lock: threads of a worker take turns, which costs less than a connection each.
            self._database = sqlite3.connect(file, timeout=_LOCK_SECONDS, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode=WAL")  # readers go on while a batch is written
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.executescript(_SCHEMA)

    def reader(self) -> Reader | None:
        """Return a connection of its own: in WAL mode it waits for nobody who writes."""
        return _SqliteReader(self.file)

    def kept(self, package_hash: str, keys: Sequence[str]) -> list[Kept | None]:
        """Return what is kept under each key, None where there is no reasoning."""
        with self._turn() as database:
            return _kept(database, package_hash, keys)

    def keep_reasoning(self, package_hash: str, written: Mapping[str, Parsed]) -> None:
        """Keep reasoning by key; what is kept already is replaced."""
        rows = [(package_hash, key, pack(one)) for key, one in written.items()]
        with self._turn() as database:
            database.executemany("INSERT OR REPLACE INTO reasoning VALUES (?, ?, ?)", rows)

    def keep_heads(self, package_hash: str, heads: Mapping[str, bytes]) -> None:
        """Keep heads of rankings by key; what is kept already is replaced."""
        rows = [(package_hash, key, head) for key, head in heads.items()]
        with self._turn() as database:
            database.executemany("INSERT OR REPLACE INTO heads VALUES (?, ?, ?)", rows)

    def user(self, package_hash: str, user_id: str) -> list[str] | None:
        """Return a user's history of item ids, oldest first, None for an unknown user."""
        with self._turn() as database:
            return _user(database, package_hash, user_id)

    def keep_users(self, package_hash: str, histories: Mapping[str, Sequence[str]]) -> None:
        """Keep the histories of users."""
        rows = [(package_hash, user_id, json.dumps(list(history))) for user_id, history in histories.items()]
        with self._turn() as database:
            database.executemany("INSERT OR REPLACE INTO users VALUES (?, ?, ?)", rows)

    def items(self, model: str) -> list[NewItem]:
        """Return the items added to a registered model, in the order of their adding."""
        with self._turn() as database:
            rows = database.execute("SELECT item FROM items WHERE model = ? ORDER BY place", (model,)).fetchall()
        return [unpack_item(line) for (line,) in rows]

    def add_item(self, model: str, item: NewItem) -> bool:
        """Add an item; False, and nothing changed, when its id is taken."""
        query = "INSERT OR IGNORE INTO items (model, id, item) VALUES (?, ?, ?)"
        with self._turn() as database:
            return database.execute(query, (model, item.item_id, pack_item(item))).rowcount == 1

    def items_added(self, model: str) -> int:
        """Return how many items were added."""
        with self._turn() as database:
            return int(database.execute("SELECT count(*) FROM items WHERE model = ?", (model,)).fetchone()[0])

    def forget(self, keep: Collection[str]) -> None:
        """Drop reasoning, heads and users of all packages but these, by hash."""
        marks = ",".join("?" * len(keep))
        with self._turn() as database:
            for table in ("reasoning", "heads", "users"):
                database.execute(f"DELETE FROM {table} WHERE package NOT IN ({marks})", list(keep))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    @contextmanager
    def _turn(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _told(), self._database as database:
            yield database


class _SqliteReader:
    """Reads on a connection of its own. For one thread; a file that is locked is told at once and not waited for."""

    def __init__(self, file: Path) -> None:
        with _told():
            self._database = sqlite3.connect(file, timeout=0.0, check_same_thread=False)
            self._database.execute("PRAGMA query_only=ON")

    def kept(self, package_hash: str, keys: Sequence[str]) -> list[Kept | None]:
        with _told():
            return _kept(self._database, package_hash, keys)

    def user(self, package_hash: str, user_id: str) -> list[str] | None:
        with _told():
            return _user(self._database, package_hash, user_id)

    def close(self) -> None:
        self._database.close()


def _kept(database: sqlite3.Connection, package_hash: str, keys: Sequence[str]) -> list[Kept | None]:
    found: dict[str, Kept | None] = {}
    for start in range(0, len(keys), _TOGETHER):
        part = keys[start : start + _TOGETHER]
        query = f"{_KEPT} ({','.join('?' * len(part))})"
        for key, written, head in database.execute(query, [package_hash, *part]).fetchall():
            found[key] = unpack(key, written, head)
    return [found.get(key) for key in keys]


def _user(database: sqlite3.Connection, package_hash: str, user_id: str) -> list[str] | None:
    query = "SELECT history FROM users WHERE package = ? AND user = ?"
    row = database.execute(query, (package_hash, user_id)).fetchone()
    return None if row is None else [str(item_id) for item_id in json.loads(row[0])]


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"the sqlite store failed: {error}") from error
