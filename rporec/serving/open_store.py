"""Which store a service uses: Redis where a URL is given, else a file in RPOREC_HOME."""

from __future__ import annotations

from pathlib import Path

from rporec.errors import InputError
from rporec.serving.store import Store, StoreError
from rporec.serving.store_sqlite import SqliteStore

FILE = "serving.db"


def open_store(url: str | None, home: Path) -> Store:
    """Open the store.

    Args:
        url: `serve.store`; None = sqlite.
        home: RPOREC_HOME.

    Raises:
        InputError: the sqlite file cannot be made. (A Redis that is away is waited for, request by request.)
    """
    if url is not None:
        from rporec.serving.store_redis import RedisStore  # the default needs no Redis client

        return RedisStore(url)
    try:
        return SqliteStore(home / FILE)
    except StoreError as error:
        raise InputError(
            f"the store of reasoning cannot be opened: {error}", file=home / FILE,
            cure="set RPOREC_HOME to a folder that this user may write, or serve.store to a Redis URL",
        ) from error  # fmt: skip
