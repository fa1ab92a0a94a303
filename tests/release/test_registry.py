from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

import pytest

from rporec.errors import InputError
from rporec.release import alias, audit, lookup, manifest, registry, verdict
from rporec.release.registry import Place
from tests.kills import killed
from tests.release import world
from tests.release.registered import MODEL, held, promote, told


@pytest.fixture
def second(workspace: Path, tmp_path: Path) -> Path:
    world.write_package(tmp_path / "second", workspace, as_of="2026-01-02", mark="2")
    return tmp_path / "second"


def test_a_passing_package_becomes_champion_with_its_lineage(place: Place, package: Path) -> None:
    done = promote(place, package)
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
    promote(place, package)
    done = promote(place, second, as_of="2026-01-02")
    assert (done.version.number, done.replaced) == (2, 1)
    assert held(place) == (2, 1, None)
    assert told(place, "champion") == [(None, 1, "promote"), (1, 2, "promote")]
    assert told(place, "previous") == [(None, 1, "promote")]
    for row in audit.rows(place.audit, MODEL):
        assert (row.who, len(row.verdict_hash), row.when[-6:]) == ("someone", 64, "+00:00")


def test_the_same_package_is_not_registered_twice(place: Place, package: Path, second: Path) -> None:
    promote(place, package)
    again = promote(place, package)
    assert (again.moved, again.version.number) == (False, 1)
    promote(place, second, as_of="2026-01-02")
    old = promote(place, package)
    assert (old.moved, old.version.number) == (False, 1)
    champion = registry.champion(place, MODEL)
    assert champion is not None
    assert champion.number == 2
    assert len(told(place, "champion")) == 2


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
        promote(place, package, **changes)
    assert registry.champion(place, MODEL) is None
    assert lookup.by_number(place.uri, MODEL, 1) is None
    assert audit.rows(place.audit, MODEL) == []


def test_changed_files_are_refused(place: Place, package: Path) -> None:
    (package / "card.md").write_text("better than it is")
    with pytest.raises(InputError, match="was changed"):
        promote(place, package)
    assert registry.champion(place, MODEL) is None


def test_data_older_than_the_champions_are_refused(place: Place, package: Path, second: Path) -> None:
    promote(place, second, as_of="2026-01-02")
    with pytest.raises(InputError, match="older than the champion"):
        promote(place, package, as_of="2026-01-01")


def test_two_promotions_at_once_are_refused(place: Place, package: Path) -> None:
    with place.audit.lock.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another promotion or rollback is running"):
            promote(place, package)
    promote(place, package)


def test_a_kill_between_version_and_alias_is_mended(place: Place, package: Path) -> None:
    with killed(alias, "put"):
        promote(place, package)
    assert registry.champion(place, MODEL) is None
    assert registry.registered(place, MODEL, manifest.read(package).package_hash) is None
    done = promote(place, package)
    assert (done.moved, done.version.number) == (True, 1)


def test_a_kill_between_alias_and_audit_is_mended(place: Place, package: Path) -> None:
    with killed(audit, "close"):
        promote(place, package)
    assert told(place, "champion") == []
    done = promote(place, package)
    assert (done.moved, done.version.number) == (False, 1)
    assert told(place, "champion") == [(None, 1, "promote")]


def test_a_champion_of_the_same_number_but_other_bytes_has_changed(place: Place, package: Path, second: Path) -> None:
    """As in a registry that was made anew: its first version is another package than the one judged against."""
    promote(place, package)
    with pytest.raises(InputError, match="champion changed"):
        promote(place, second, as_of="2026-01-02", champion=1, champion_hash="0" * 64)
    assert lookup.by_number(place.uri, MODEL, 2) is None


def test_the_verdict_of_today_is_noted_for_a_version_made_earlier(place: Place, package: Path, second: Path) -> None:
    with killed(alias, "put"):
        promote(place, package)
    stale = lookup.by_number(place.uri, MODEL, 1)
    promote(place, second)
    done = promote(place, package)
    today = verdict.read(place.home / "gates.json").digest
    assert stale is not None
    assert (done.moved, done.version.number, done.replaced) == (True, 1, 2)
    assert stale.tags["verdict_hash"] != today
    assert {row.verdict_hash for row in audit.rows(place.audit, MODEL)[-2:]} == {today}
    champion = registry.champion(place, MODEL)
    assert champion is not None
    assert champion.tags["verdict_hash"] == today


def test_artefacts_changed_behind_the_registrys_back_are_not_served(place: Place, package: Path) -> None:
    version = promote(place, package).version
    folder = lookup.package_folder(place.uri, version, place.cache)
    (folder / "card.md").write_text("changed")
    manifest.write(folder)
    with pytest.raises(InputError, match="does not hold the package that it was made for"):
        registry.champion_package(place, MODEL)


def test_a_version_that_was_deleted_in_mlflow_is_no_version(place: Place, package: Path, second: Path) -> None:
    promote(place, package)
    promote(place, second, as_of="2026-01-02")
    registry.client(place).delete_model_version(MODEL, "1")
    name = manifest.read(package).package_hash
    assert (lookup.by_number(place.uri, MODEL, 1), lookup.by_package(place.uri, MODEL, name)) == (None, None)
    with pytest.raises(InputError, match="has no version 1"):
        alias.put(place, MODEL, "champion", 1)
    assert held(place) == (2, None, None)
    assert promote(place, package, as_of="2026-01-02").version.number == 3
    assert held(place) == (3, 2, None)


def test_a_copy_that_came_to_the_registry_in_part_does_not_become_champion(place: Place, package: Path) -> None:
    copy = Path(shutil.copytree(package, place.home / "mlartifacts" / manifest.read(package).package_hash))
    (copy / "card.md").write_text("cut off")
    with pytest.raises(InputError, match="was changed"):
        promote(place, package)
    assert held(place) == (None, None, None)
    shutil.copy(package / "card.md", copy)
    assert promote(place, package).version.number == 1
    assert held(place) == (1, None, None)
