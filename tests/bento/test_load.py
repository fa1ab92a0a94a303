"""Which package the service loads."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from bento import runtime, settings
from rporec import config
from rporec.errors import InputError
from rporec.release import lookup
from rporec.release.place import Place
from tests.release import registered, world


def test_the_champion_is_loaded_and_pinned(
    place: Place, package: Path, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RPOREC_HOME", str(place.home))
    first = registered.promote(place, package, as_of="").version.package_hash
    loaded = runtime.first_model(settings.load())
    assert (loaded.name, loaded.version, loaded.package_hash) == ("rporec-demo", 1, first)
    assert loaded.tags["verdict"] == "pass"
    world.write_package(tmp_path / "second", workspace, mark="2")
    second = registered.promote(place, tmp_path / "second", as_of="").version.package_hash
    assert (loaded.version, loaded.recommender.package_hash) == (1, first)
    newest = runtime.first_model(settings.load())
    assert (newest.version, newest.package_hash) == (2, second)
    assert lookup.by_number(place.uri, "rporec-demo", 1) is not None


def test_a_given_package_goes_before_the_champion(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPOREC_PACKAGE", str(package))
    assert runtime.first_model(settings.load()).version is None


def test_a_bento_holds_no_params_and_loads_its_own_package(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RPOREC_PACKAGE", raising=False)
    (tmp_path / "outputs").mkdir()
    package.rename(tmp_path / "outputs/package")
    (tmp_path / "bento").mkdir()
    settings.write_deployment(config.load(world.ROOT / "params.yaml"), tmp_path)
    told = settings.load(tmp_path)
    assert told.package == tmp_path / "outputs/package"
    assert told.serve == config.load(world.ROOT / "params.yaml").serve
    assert runtime.first_model(told).version is None


def test_no_champion_and_a_changed_package_are_told(
    place: Place, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RPOREC_HOME", str(place.home))
    with pytest.raises(InputError, match="no champion to serve"):
        runtime.first_model(settings.load())
    (package / "card.md").write_text("changed")
    monkeypatch.setenv("RPOREC_PACKAGE", str(package))
    with pytest.raises(InputError, match="was changed"):
        runtime.first_model(settings.load())


@pytest.mark.parametrize(
    ("as_of", "limit", "told"),
    [
        ("2026-01-01", 3, {"data_age_days": 3, "stale": False}),
        ("2025-12-31", 3, {"data_age_days": 4, "stale": True}),
        ("", 3, {"data_age_days": None, "stale": None}),
    ],
)
def test_freshness_is_told_where_it_is_known(as_of: str, limit: int, told: dict[str, object]) -> None:
    assert runtime.freshness(as_of, limit, dt.date(2026, 1, 4)) == told
