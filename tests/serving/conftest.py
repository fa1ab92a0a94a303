"""Models and stores for tests of the service's logic, without a server but Redis."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from rporec.serving import served
from rporec.serving.served import Served
from rporec.serving.store import Store
from rporec.serving.store_redis import RedisStore
from rporec.serving.store_sqlite import SqliteStore
from tests import servers
from tests.release.fixtures import *  # noqa: F403


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis server on a free port, ended with the tests."""
    port = servers.free_port()
    folder = tmp_path_factory.mktemp("redis")
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        client = redis.Redis(port=port)
        deadline = time.monotonic() + 60
        while True:
            try:
                client.ping()
                break
            except redis.ConnectionError:
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        servers.end(process)


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
    return served.load(workspace / "scratch/package", None, None, {})
