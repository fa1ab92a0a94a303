from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

import pytest

from rporec.errors import InputError
from rporec.release import audit, lookup, manifest, registry, verdict
from rporec.release.registry import Place, Promotion, Request
from tests.kills import killed
from tests.release import world

MODEL = "rporec-demo"


def _artifact(place: Place, package: Path) -> str:
    """Put a copy of the package where MLflow's artefacts would lie."""
    target = place.home / "mlartifacts" / manifest.read(package).package_hash
    if not target.exists():
        shutil.copytree(package, target)
    return target.as_uri()


def _promote(place: Place, package: Path, *, as_of: str = "2026-01-01", **verdict_of: object) -> Promotion:
    now = registry.champion(place, MODEL)
    against = {"champion": now.number, "champion_hash": now.package_hash} if now else {}
    settings = {**against, **verdict_of}
    package_hash = str(settings.pop("package_hash", manifest.read(package).package_hash))
    path = world.write_verdict(place.home / "gates.json", package_hash, **settings)
    tags = {"git_commit": "c", "dvc_lock_hash": "l", "data_hash": "d", "as_of": as_of}
    request = Request(package, verdict.read(path), "", _artifact(place, package), tags, "someone")
    return registry.promote(place, MODEL, request, wait_seconds=0.0)


@pytest.fixture
def second(workspace: Path, tmp_path: Path) -> Path:
    world.write_package(tmp_path / "second", workspace, as_of="2026-01-02", mark="2")
    return tmp_path / "second"


def test_a_passing_package_becomes_champion_with_its_lineage(place: Place, package: Path) -> None:
    done = _promote(place, package)
    assert (done.moved, done.replaced, done.version.number) == (True, None, 1)
    found = registry.champion_package(place, MODEL)
    assert found is not None
    version, folder = found
    assert version.number == 1
    assert manifest.verify(folder).package_hash == version.package_hash == manifest.read(package).package_hash
    for tag in ("git_commit", "dvc_lock_hash", "data_hash", "package_hash", "verdict", "as_of", "verdict_hash"):
        assert version.tags[tag]
    assert version.tags["verdict"] == "pass"


def test_the_next_champion_leaves_the_old_one_as_previous_and_a_row_each(
    place: Place, package: Path, second: Path
) -> None:
    _promote(place, package)
    done = _promote(place, second, as_of="2026-01-02")
    assert (done.version.number, done.replaced) == (2, 1)
    previous = lookup.by_alias(place.uri, MODEL, lookup.PREVIOUS)
    assert previous is not None
    assert previous.number == 1
    told = [(row.from_version, row.to_version, row.who) for row in audit.rows(place.audit, MODEL)]
    assert told == [(None, 1, "someone"), (1, 2, "someone")]
    assert all(row.verdict_hash for row in audit.rows(place.audit, MODEL))


def test_the_same_package_is_not_registered_twice(place: Place, package: Path, second: Path) -> None:
    _promote(place, package)
    again = _promote(place, package)
    assert (again.moved, again.version.number) == (False, 1)
    _promote(place, second, as_of="2026-01-02")
    old = _promote(place, package)
    assert (old.moved, old.version.number) == (False, 1)
    champion = registry.champion(place, MODEL)
    assert champion is not None
    assert champion.number == 2
    assert len(audit.rows(place.audit, MODEL)) == 2


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"failed": "floor"}, "did not pass"),
        ({"package_hash": "0" * 64}, "for another package"),
        ({"champion": 7}, "champion changed"),
        ({"champion": 1}, "champion changed"),
    ],
)
def test_a_verdict_that_does_not_fit_is_refused(
    place: Place, package: Path, changes: dict[str, object], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        _promote(place, package, **changes)
    assert registry.champion(place, MODEL) is None
    assert lookup.by_number(place.uri, MODEL, 1) is None
    assert audit.rows(place.audit, MODEL) == []


def test_changed_files_are_refused(place: Place, package: Path) -> None:
    (package / "card.md").write_text("better than it is")
    with pytest.raises(InputError, match="was changed"):
        _promote(place, package)
    assert registry.champion(place, MODEL) is None


def test_data_older_than_the_champions_are_refused(place: Place, package: Path, second: Path) -> None:
    _promote(place, second, as_of="2026-01-02")
    with pytest.raises(InputError, match="older than the champion"):
        _promote(place, package, as_of="2026-01-01")


def test_two_promotions_at_once_are_refused(place: Place, package: Path) -> None:
    with place.audit.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another promotion is running"):
            _promote(place, package)
    _promote(place, package)


def test_a_kill_between_version_and_alias_is_mended(place: Place, package: Path) -> None:
    with killed(registry, "_move"):
        _promote(place, package)
    assert registry.champion(place, MODEL) is None
    assert registry.registered(place, MODEL, manifest.read(package).package_hash) is None
    done = _promote(place, package)
    assert (done.moved, done.version.number) == (True, 1)


def test_a_kill_between_alias_and_audit_is_mended(place: Place, package: Path) -> None:
    with killed(audit, "append"):
        _promote(place, package)
    assert audit.rows(place.audit, MODEL) == []
    done = _promote(place, package)
    assert (done.moved, done.version.number) == (False, 1)
    rows = audit.rows(place.audit, MODEL)
    assert [(row.from_version, row.to_version) for row in rows] == [(None, 1)]
    assert "reconciled" in rows[0].reason


def test_a_champion_of_the_same_number_but_other_bytes_has_changed(place: Place, package: Path, second: Path) -> None:
    """As in a registry that was made anew: its first version is another package than the one judged against."""
    _promote(place, package)
    with pytest.raises(InputError, match="champion changed"):
        _promote(place, second, as_of="2026-01-02", champion=1, champion_hash="0" * 64)
    assert lookup.by_number(place.uri, MODEL, 2) is None


def test_the_verdict_of_today_is_noted_for_a_version_made_earlier(place: Place, package: Path, second: Path) -> None:
    with killed(registry, "_move"):
        _promote(place, package)
    stale = lookup.by_number(place.uri, MODEL, 1)
    _promote(place, second)
    done = _promote(place, package)
    today = verdict.read(place.home / "gates.json").digest
    assert stale is not None
    assert (done.moved, done.version.number, done.replaced) == (True, 1, 2)
    assert stale.tags["verdict_hash"] != today
    assert [row.verdict_hash for row in audit.rows(place.audit, MODEL)][-1] == today
    champion = registry.champion(place, MODEL)
    assert champion is not None
    assert champion.tags["verdict_hash"] == today


def test_artefacts_changed_behind_the_registrys_back_are_not_served(place: Place, package: Path) -> None:
    version = _promote(place, package).version
    folder = lookup.package_folder(place.uri, version, place.cache)
    (folder / "card.md").write_text("changed")
    manifest.write(folder)
    with pytest.raises(InputError, match="does not hold the package that it was made for"):
        registry.champion_package(place, MODEL)
