"""The registry's database appears whole, and never replaces one that is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra import registry as fresh
from rporec.release import lookup, registry
from rporec.release.registry import Place


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "home" / "mlflow.db"


def _prepared(monkeypatch: pytest.MonkeyPatch, meanwhile: Path | None) -> list[Place]:
    """Stand in for MLflow's migrations (many seconds); `meanwhile` is a file that another process makes."""
    places: list[Place] = []

    def prepare(place: Place) -> None:
        database = lookup.sqlite_file(place.uri)
        assert database is not None
        database.parent.mkdir()
        database.write_text("fresh")
        places.append(place)
        if meanwhile is not None:
            meanwhile.write_text("in use")

    monkeypatch.setattr(registry, "prepare", prepare)
    return places


def test_the_database_is_made_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = _prepared(monkeypatch, None)
    fresh.make(file)
    fresh.make(file)
    assert file.read_text() == "fresh"
    assert len(places) == 1
    assert file.stat().st_nlink == 1
    assert {path.name for path in file.parent.iterdir()} == {"mlflow.db", ".mlflow.lock"}


def test_a_database_that_appears_meanwhile_is_not_replaced(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _prepared(monkeypatch, file)
    fresh.make(file)
    assert file.read_text() == "in use"
    assert {path.name for path in file.parent.iterdir()} == {"mlflow.db", ".mlflow.lock"}


def test_without_links_it_is_left_to_mlflow(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    _prepared(monkeypatch, None)
    monkeypatch.setattr(Path, "hardlink_to", refused)
    fresh.make(file)
    assert not file.exists()
