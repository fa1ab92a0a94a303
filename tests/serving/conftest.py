"""Models and stores for tests of the service's logic, without a server but Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from rporec.serving import served
from rporec.serving.served import Served
from rporec.serving.store import Store
from rporec.serving.store_redis import RedisStore
from rporec.serving.store_sqlite import SqliteStore
from tests.redis_server import redis_url
from tests.release.fixtures import *  # noqa: F403

__all__ = ["redis_url"]


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store of each kind."""
    found: Store
    if request.param == "sqlite":
        found = SqliteStore(tmp_path / "home" / "serving.db")
    else:
        url = request.getfixturevalue("redis_url")
        redis.Redis.from_url(url).flushall()
        found = RedisStore(url)
    yield found
    found.close()


@pytest.fixture(scope="session")
def model(workspace: Path) -> Served:
    """The toy package, loaded."""
    return served.load(workspace / "scratch/package")
