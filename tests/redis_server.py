"""A real Redis server for tests, on a free port of the loopback, ended with them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
import redis

from infra import children
from tests.waiting import until


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis server on a free port, ended with the tests."""
    port = children.free_port()
    folder = tmp_path_factory.mktemp("redis")
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        told = (folder / "log").read_text
        until("Redis answers", redis.Redis(port=port).ping, processes=[process], told=told, no=redis.ConnectionError)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        children.end(process)
