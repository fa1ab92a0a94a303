from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rporec.files import read_json, sha256_file
from rporec.release import lookup, manifest, summary
from tests.release import world


@pytest.fixture
def root(workspace: Path, tmp_path: Path) -> Path:
    shutil.copytree(workspace / "scratch/package", tmp_path / "outputs/package")
    shutil.copytree(workspace / "outputs/evaluate", tmp_path / "outputs/evaluate")
    return tmp_path


def _standing(root: Path) -> tuple[str | None, int | None, bool]:
    found = summary.standing(root, lookup.default_uri(root), "rporec-demo")
    return found.verdict, found.version, found.settled


def test_a_package_that_nobody_judged_has_no_verdict(root: Path) -> None:
    assert _standing(root) == (None, None, False)


def test_a_verdict_counts_for_its_own_package_only(root: Path) -> None:
    package_hash = manifest.read(root / summary.PACKAGE).package_hash
    world.write_verdict(root / summary.GATES, "0" * 64)
    assert _standing(root) == (None, None, False)
    world.write_verdict(root / summary.GATES, package_hash)
    assert _standing(root) == ("pass", None, False)
    world.write_verdict(root / summary.GATES, package_hash, failed="floor")
    assert _standing(root) == ("fail", None, False)


def test_a_recorded_fail_is_settled_until_the_verdict_changes(root: Path) -> None:
    package_hash = manifest.read(root / summary.PACKAGE).package_hash
    gates = world.write_verdict(root / summary.GATES, package_hash, failed="floor")
    note = {"package_hash": package_hash, "verdict": "fail", "version": None, "verdict_hash": sha256_file(gates)}
    world.write(root / summary.PROMOTION, note)
    assert _standing(root) == ("fail", None, True)
    world.write_verdict(gates, package_hash, failed="form")
    assert _standing(root) == ("fail", None, False)


def test_a_version_that_the_registry_does_not_know_is_not_believed(root: Path) -> None:
    package_hash = manifest.read(root / summary.PACKAGE).package_hash
    note = {"package_hash": package_hash, "verdict": "pass", "version": 3, "verdict_hash": ""}
    world.write(root / summary.PROMOTION, note)
    assert _standing(root) == (None, None, False)


def test_a_version_that_was_not_judged_here_is_not_settled(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its outputs came from the shared cache into a fresh clone: the report is still to be written."""
    package_hash = manifest.read(root / summary.PACKAGE).package_hash
    known = lookup.Version("rporec-demo", 4, "", "run", {"package_hash": package_hash})
    monkeypatch.setattr(lookup, "by_package", lambda *_: known)
    assert _standing(root) == (None, 4, False)
    gates = world.write_verdict(root / summary.GATES, package_hash)
    note = {"package_hash": package_hash, "verdict": "pass", "version": 4, "verdict_hash": sha256_file(gates)}
    world.write(root / summary.PROMOTION, note)
    assert _standing(root) == ("pass", 4, True)


@pytest.mark.parametrize("before", ["nothing", "a refusal"])
def test_a_version_that_a_kill_left_without_its_alias_is_judged_again(
    root: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    """Its verdict may be against a champion that is none any more."""
    package_hash = manifest.read(root / summary.PACKAGE).package_hash
    made, other = (lookup.Version("rporec-demo", number, "", "run", {}) for number in (4, 5))
    monkeypatch.setattr(lookup, "by_package", lambda *_: made)
    monkeypatch.setattr(lookup, "by_alias", lambda *_: other)
    gates = world.write_verdict(root / summary.GATES, package_hash, champion=3)
    if before == "a refusal":
        note = {"package_hash": package_hash, "verdict": "fail", "version": None, "verdict_hash": sha256_file(gates)}
        world.write(root / summary.PROMOTION, note)
    found = summary.standing(root, lookup.default_uri(root), "rporec-demo")
    assert (found.version, found.unjudged, found.settled) == (4, True, False)
    monkeypatch.setattr(lookup, "by_alias", lambda *_: made)  # killed after the alias: only the rest is to be done
    found = summary.standing(root, lookup.default_uri(root), "rporec-demo")
    assert (found.version, found.unjudged, found.settled) == (4, False, False)


def test_a_version_rolled_back_since_is_not_judged_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package_hash = manifest.read(root / summary.PACKAGE).package_hash
    made, other = (lookup.Version("rporec-demo", number, "", "run", {}) for number in (4, 3))
    monkeypatch.setattr(lookup, "by_package", lambda *_: made)
    monkeypatch.setattr(lookup, "by_alias", lambda *_: other)
    world.write_verdict(root / summary.GATES, package_hash, champion=3)
    world.write(root / summary.PROMOTION, {"package_hash": package_hash, "verdict": "pass", "version": 4})
    found = summary.standing(root, lookup.default_uri(root), "rporec-demo")
    assert (found.version, found.unjudged, found.settled) == (4, False, True)


def test_the_summary_holds_what_machines_expect(root: Path) -> None:
    package_hash = manifest.read(root / summary.PACKAGE).package_hash
    world.write_verdict(root / summary.GATES, package_hash)
    world.write(root / "records/align.json", {"seconds": 2.5, "peak_mb": 300.0})
    world.write(root / "records/gate.json", {"seconds": 1.0, "peak_mb": 200.0})
    facts = summary.RunFacts("demo", "abc", ["ingest", "align"], ["ingest"], lookup.default_uri(root))
    built = summary.build_summary(root, facts)
    expected = "profile verdict version git_commit data_hash package_hash metrics stages"
    assert list(built) == expected.split()
    assert (built["profile"], built["verdict"], built["version"], built["git_commit"]) == ("demo", "pass", None, "abc")
    assert (built["data_hash"], built["package_hash"]) == (
        read_json(root / summary.PACKAGE / "lineage.json")["data_hash"],
        package_hash,
    )
    assert set(built["metrics"]) == set(world.RANKERS)
    assert all(set(figures) == {*world.FIGURES, "n"} for figures in built["metrics"].values())
    assert built["stages"] == [
        {"name": "ingest", "seconds": None, "peak_mb": None, "cached": True},
        {"name": "align", "seconds": 2.5, "peak_mb": 300.0, "cached": False},
        {"name": "gate", "seconds": 1.0, "peak_mb": 200.0, "cached": False},
    ]
