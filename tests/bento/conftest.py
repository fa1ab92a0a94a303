"""A running service for each module of tests: what one adds to the catalogue, the next must not rank."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rporec.recommender import Recommender
from rporec.serving import served
from rporec.serving.fill import fill
from rporec.serving.store_sqlite import SqliteStore
from tests.bento.serving import ROOMY, Server, lay_out, serving
from tests.redis_server import redis_url
from tests.release.fixtures import *  # noqa: F403

__all__ = ["redis_url"]

USERS = {"ann": ["i00", "i01", "i02"], "bob <script>": ["i20"], "eve": ["gone", "i07"]}


@pytest.fixture(scope="session")
def local(workspace: Path) -> Recommender:
    """The same package in this process."""
    return Recommender.load(workspace / "scratch/package")


@pytest.fixture(scope="module")
def server(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service of the toy package whose store knows three users."""
    folder = tmp_path_factory.mktemp("service")
    home, package = folder / "home", workspace / "scratch/package"
    store = SqliteStore(home / "serving.db")
    fill(served.load(package), store, USERS)
    store.close()
    with serving(lay_out(folder / "code", **ROOMY), home, RPOREC_PACKAGE=str(package)) as found:
        yield found
