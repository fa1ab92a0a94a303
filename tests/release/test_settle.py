"""One promotion from start to end, and again after every kind of interruption."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from rporec import config
from rporec.errors import InputError
from rporec.release import alias, audit, lookup, manifest, registry, rollback, settle, summary
from rporec.release.registry import Place
from rporec.release.settle import Actor, Settled
from tests.kills import killed
from tests.release import world
from tests.release.registered import MODEL, held, told


@pytest.fixture
def root(workspace: Path, tmp_path: Path) -> Path:
    """A workspace with a package that passed its gates."""
    root = tmp_path / "root"
    shutil.copytree(workspace, root)
    shutil.copytree(workspace / "scratch/package", root / "outputs/package")
    _judge(root, None)
    return root


def _hash(root: Path) -> str:
    return manifest.read(root / summary.PACKAGE).package_hash


def _judge(root: Path, now: lookup.Version | None, failed: str = "") -> None:
    against = {} if now is None else {"champion": now.number, "champion_hash": now.package_hash}
    world.write_verdict(root / summary.GATES, _hash(root), failed=failed, **against)


def _settle(root: Path, place: Place) -> Settled:
    return settle.settle(root, place, config.load(root / "params.yaml"), Actor("someone", "commit"))


def _another(root: Path, mark: str) -> None:
    shutil.rmtree(root / "outputs/package")
    world.write_package(root / "outputs/package", root, mark=mark)


def _change_params(root: Path, section: str, **values: object) -> None:
    params = yaml.safe_load((root / "params.yaml").read_text())
    params[section] |= values
    (root / "params.yaml").write_text(yaml.safe_dump(params))


def _runs(place: Place) -> int:
    client = registry.client(place)
    return len(client.search_runs([client.get_experiment_by_name(MODEL).experiment_id]))


def test_a_kill_before_the_audit_row_is_mended_and_a_rollback_since_then_holds(root: Path, place: Place) -> None:
    _settle(root, place)
    _another(root, "second")
    _judge(root, registry.champion(place, MODEL))
    with killed(audit, "close"):
        _settle(root, place)
    assert _settle(root, place).version == 2
    assert told(place, "champion") == [(None, 1, "promote"), (1, 2, "promote")]
    registry.client(place).set_registered_model_alias(MODEL, "champion", "1")
    again = _settle(root, place)
    assert "already" in again.told
    champion = registry.champion(place, MODEL)
    assert champion is not None
    assert champion.number == 1


def test_a_version_left_by_a_kill_is_promoted_by_a_new_verdict(root: Path, place: Place) -> None:
    """Another package became champion meanwhile: the old verdict is refused, and the workspace asks for another."""

    with killed(alias, "put"):
        _settle(root, place)
    other = Path(shutil.copytree(root, root.with_name("other")))
    _another(other, "other")
    _judge(other, None)
    assert _settle(other, place).version == 2
    with pytest.raises(InputError, match="champion changed"):
        _settle(root, place)
    assert summary.standing(root, place.uri, MODEL).unjudged
    _judge(root, registry.champion(place, MODEL))
    assert _settle(root, place).version == 1
    champion = registry.champion(place, MODEL)
    assert champion is not None
    assert champion.number == 1


def test_a_verdict_by_other_limits_promotes_nothing(root: Path, place: Place) -> None:
    _change_params(root, "gate", champion_margin=0.004)
    with pytest.raises(InputError, match="limits changed"):
        _settle(root, place)
    assert registry.champion(place, MODEL) is None


def test_the_same_verdict_sent_with_other_params_is_a_run_of_its_own(root: Path, place: Place) -> None:
    """MLflow refuses to change a param of a run, with a traceback."""
    _judge(root, None, failed="floor")
    _settle(root, place)
    _settle(root, place)
    assert _runs(place) == 1
    _change_params(root, "promote", show_items=3)
    assert _settle(root, place).verdict == "fail"
    assert _runs(place) == 2


def test_what_was_rolled_back_stays_until_a_person_asks_for_it(root: Path, place: Place) -> None:
    _settle(root, place)
    _another(root, "second")
    _judge(root, registry.champion(place, MODEL))
    _settle(root, place)
    rollback.rollback(place, MODEL, rollback.Wish(None, "ada", "complaints"), wait_seconds=0.0)
    (root / summary.GATES).unlink()
    kept = _settle(root, place)
    assert (kept.version, kept.taken_back) == (2, True)
    assert "ada rolled it back" in kept.told
    assert "(complaints)" in kept.told
    assert held(place) == (1, 2, None)
    again = settle.settle(root, place, config.load(root / "params.yaml"), Actor("bob", "commit", again=True))
    assert (again.version, again.taken_back) == (2, False)
    assert held(place) == (2, 1, None)
    assert _settle(root, place).told == "this package is version 2 of rporec-demo already"


def test_a_challenger_is_registered_and_promoted_later(root: Path, place: Place) -> None:
    asked = Actor("ada", "commit", aim="challenger")
    done = settle.settle(root, place, config.load(root / "params.yaml"), asked)
    assert (done.version, done.told) == (1, "version 1 of rporec-demo is the challenger; the champion stays")
    assert held(place) == (None, None, 1)
    assert _settle(root, place).version == 1
    assert held(place) == (1, None, None)
