"""Reasoning ahead of time: of the champion, from the tables that it was made from, once."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from infra import night, reasoning
from infra.workspace import Workspace
from rporec import config
from rporec.errors import InputError
from rporec.release import manifest, registry, verdict
from rporec.release.place import Place
from rporec.release.registry import Request
from rporec.serving.open_store import open_store
from tests.release import world
from tests.release.fixtures import *  # noqa: F403


@pytest.fixture
def space(place: Place, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace whose tables are those of the toy package, beside an empty registry."""
    monkeypatch.delenv("RPOREC_STORE", raising=False)
    root = tmp_path / "workspace"
    shutil.copytree(workspace / "outputs/ingest", root / "outputs/ingest")
    return Workspace(root, root, place.home, None, config.load(world.ROOT / "params.yaml"), {}, {})


def _promote(place: Place, package: Path) -> str:
    package_hash = manifest.read(package).package_hash
    judged = verdict.read(world.write_verdict(place.home / "gates.json", package_hash))
    request = Request(package, judged, "", package.as_uri(), {"as_of": ""}, "someone")
    registry.promote(place, "rporec-demo", request, wait_seconds=0.0)
    return package_hash


def test_the_champions_users_are_written_once(
    space: Workspace, place: Place, package: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="rporec")
    with pytest.raises(InputError, match="no champion"):
        reasoning.fill_store(space)
    champion = _promote(place, package)
    store = open_store(None, place.home)
    store.keep_users("a package of long ago", {"u0": []})
    client, others = registry.client(place), "0" * 64  # another profile's champion, kept in the same store
    client.create_registered_model("rporec-tiny")
    client.create_model_version("rporec-tiny", package.as_uri(), tags={"package_hash": others})
    client.set_registered_model_alias("rporec-tiny", "champion", "1")
    store.keep_users(others, {"u9": ["i01"]})
    night.write_reasoning(space, "another package")
    assert store.user(champion, "u0") is None
    night.write_reasoning(space, champion)
    assert "1 active users, 1 histories, 1 written now, 1 ranked now" in caplog.text
    reasoning.fill_store(space)
    assert "1 active users, 1 histories, 0 written now, 0 ranked now" in caplog.text
    assert (store.user(champion, "u0"), store.user("a package of long ago", "u0")) == (["i00"], None)
    assert store.user(others, "u9") == ["i01"]
    store.close()


def test_tables_of_another_run_are_refused(space: Workspace, place: Place, package: Path, workspace: Path) -> None:
    _promote(place, package)
    items = space.root / "outputs/ingest/items.parquet"
    items.write_bytes((workspace / "outputs/sequence/test.parquet").read_bytes())
    with pytest.raises(InputError, match="not those that the champion was made from"):
        reasoning.fill_store(space)
