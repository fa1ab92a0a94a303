"""Rollback, the three aliases, and both after a real SIGKILL between any two writes."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rporec.errors import InputError
from rporec.release import alias, audit, lookup, manifest, registry, rollback
from rporec.release.audit_row import Log
from rporec.release.lock import single_writer
from rporec.release.place import Place
from rporec.release.rollback import Wish
from tests.project import ROOT, environment
from tests.release import world
from tests.release.registered import MODEL, held, promote, told


@pytest.fixture(scope="module")
def packages(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three packages."""
    base = tmp_path_factory.mktemp("packages")
    for mark in "abc":
        world.write_package(base / mark, workspace, mark=mark)
    return [base / mark for mark in "abc"]


@pytest.fixture(scope="module")
def two(template: Path, packages: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A registry whose version 2 took the place of version 1; do not change it."""
    home = tmp_path_factory.mktemp("two")
    shutil.copy(template, home / "mlflow.db")
    place = Place(lookup.default_uri(home), home)
    for package in packages[:2]:
        promote(place, package)
    return place


@pytest.fixture
def served(two: Place, tmp_path: Path) -> Place:
    """The same registry for one test: champion 2, previous 1."""
    home = tmp_path / "served"
    home.mkdir()
    shutil.copy(two.home / "mlflow.db", home / "mlflow.db")
    return Place(lookup.default_uri(home), home)


def _back(place: Place, to: int | None = None) -> rollback.Rollback:
    return rollback.rollback(place, MODEL, Wish(to, "ada", "complaints"), wait_seconds=0.0)


def _damage(place: Place, number: int, folder: Path) -> None:
    """Give a version a copy of its package in which a byte is another one."""
    version = lookup.by_number(place.uri, MODEL, number)
    assert version is not None
    shutil.copytree(lookup.package_folder(place.uri, version, place.cache), folder)
    with (folder / "card.md").open("a") as stream:
        stream.write("!")
    with sqlite3.connect(place.home / "mlflow.db") as database:
        database.execute("UPDATE model_versions SET source = ? WHERE version = ?", (folder.as_uri(), number))


def test_users_get_the_previous_version_back_with_a_row_that_says_why(served: Place) -> None:
    done = _back(served)
    assert (done.version.number, done.replaced) == (1, 2)
    assert held(served) == (1, 2, None)
    last = audit.rows(served.audit, MODEL)[-2:]
    assert [(row.alias, row.from_version, row.to_version) for row in last] == [("champion", 2, 1), ("previous", 1, 2)]
    version = lookup.by_number(served.uri, MODEL, 1)
    assert version is not None
    for row in last:
        assert (row.act, row.who, row.reason) == ("rollback", "ada", "complaints")
        assert row.verdict_hash == version.tags["verdict_hash"]
    client = registry.client(served)
    assert dict(client.get_registered_model(MODEL).aliases) == {"champion": 1, "previous": 2}
    client.set_registered_model_alias(MODEL, "challenger", "2")
    alias.put(served, MODEL, "challenger", None)
    assert dict(client.get_registered_model(MODEL).aliases) == {"champion": 1, "previous": 2}


def test_what_was_rolled_back_comes_back_by_its_number_only(served: Place) -> None:
    _back(served)
    with pytest.raises(InputError, match="previous version, 2 of rporec-demo, was itself rolled back by ada"):
        _back(served)
    assert held(served) == (1, 2, None)
    _back(served, 2)
    assert held(served) == (2, 1, None)
    assert audit.rows(served.audit, MODEL)[-1].act == "rollback"


def test_a_rolled_back_package_is_not_promoted_again(served: Place, packages: list[Path]) -> None:
    _back(served)
    done = promote(served, packages[1])
    assert (done.moved, done.version.number) == (False, 2)
    assert held(served) == (1, 2, None)
    rollback.bring_back(served, done.version, "ada", wait_seconds=0.0)
    assert held(served) == (2, 1, None)
    assert told(served, "champion")[-1] == (1, 2, "promote")
    assert registry.taken_back(served, MODEL, done.version) is None


@pytest.mark.parametrize(("to", "problem"), [(9, "has no version 9"), (2, "is the champion already")])
def test_a_wish_that_cannot_be_met_is_refused(served: Place, to: int, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        _back(served, to)
    assert held(served) == (2, 1, None)


def test_no_previous_version_and_no_champion_are_told(served: Place, place: Place) -> None:
    alias.put(served, MODEL, "previous", None)
    with pytest.raises(InputError, match="no previous version"):
        _back(served)
    with pytest.raises(InputError, match="no champion to roll back"):
        _back(place)


def test_a_package_that_is_not_whole_is_not_given_to_users(served: Place, tmp_path: Path) -> None:
    _damage(served, 1, tmp_path / "damaged")
    with pytest.raises(InputError, match="was changed"):
        _back(served)
    assert held(served) == (2, 1, None)
    manifest.write(tmp_path / "damaged")
    with pytest.raises(InputError, match="does not hold the package that it was made for"):
        _back(served, 1)
    assert told(served, "champion", "intent") == told(served, "champion")


def test_a_challenger_is_a_version_that_passed_and_waits(served: Place, packages: list[Path]) -> None:
    done = promote(served, packages[2], aim="challenger")
    assert (done.moved, done.version.number) == (False, 3)
    assert held(served) == (2, 1, 3)
    assert told(served, "challenger") == [(None, 3, "challenge")]
    with pytest.raises(InputError, match="version 3 of rporec-demo never served"):
        _back(served, 3)
    done = promote(served, packages[2])
    assert (done.moved, done.version.number, done.replaced) == (True, 3, 2)
    assert held(served) == (3, 2, None)
    assert told(served, "challenger") == [(None, 3, "challenge"), (3, None, "promote")]


def test_an_alias_moved_by_other_means_gets_a_row(served: Place) -> None:
    registry.client(served).set_registered_model_alias(MODEL, "champion", "1")
    registry.mend(served, MODEL, "ada", wait_seconds=0.0)
    assert told(served, "champion")[-1] == (2, 1, "found")
    rows = len(audit.rows(served.audit, MODEL))
    registry.mend(served, MODEL, "ada", wait_seconds=0.0)
    assert len(audit.rows(served.audit, MODEL)) == rows


def test_a_promotion_that_comes_between_does_not_turn_the_rollback_around(
    served: Place, packages: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 2 was to go; once version 3 stands in its place, `previous` is version 2."""

    @contextmanager
    def beaten_to_it(log: Log, wait_seconds: float) -> Iterator[None]:
        promote(served, packages[2])
        with single_writer(log, wait_seconds):
            yield

    with monkeypatch.context() as patch:
        patch.setattr(rollback, "single_writer", beaten_to_it)
        with pytest.raises(InputError, match="the champion changed while the rollback waited: it was version 2"):
            _back(served)
    assert held(served) == (3, 2, None)
    _back(served, 1)
    assert held(served) == (1, 3, None)


def _die_before(count: int, action: Callable[[], object]) -> None:
    """Run in a process of its own: the write number `count` is a SIGKILL instead; count the writes from 0."""
    done = 0

    def counting(write: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*values: Any) -> Any:
            nonlocal done
            if done == count:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1
            return write(*values)

        return counted

    audit.intend, audit.close, alias.put = (counting(write) for write in (audit.intend, audit.close, alias.put))
    action()
    os._exit(0)


def _killed_before(count: int, action: Callable[[], object]) -> bool:
    process = multiprocessing.get_context("fork").Process(target=_die_before, args=(count, action))
    process.start()
    process.join(120)
    return process.exitcode == -signal.SIGKILL


# Writes of a rollback to the challenger: intents, champion, previous, challenger, done.
@pytest.mark.parametrize("writes", range(6))
def test_a_rollback_killed_between_two_writes_is_whole_or_nothing(served: Place, writes: int) -> None:
    alias.put(served, MODEL, "challenger", 1)
    registry.mend(served, MODEL, "someone", wait_seconds=0.0)
    assert _killed_before(writes, lambda: _back(served)) == (writes < 5)
    registry.mend(served, MODEL, "someone", wait_seconds=0.0)
    carried = writes > 1
    assert held(served) == ((1, 2, None) if carried else (2, 1, 1))
    assert audit.open_moves(served.audit, MODEL) == []
    ended = [(2, 1, "rollback")]
    assert told(served, "champion")[2:] == (ended if carried else [])
    assert told(served, "champion", "dropped") == (ended if writes == 1 else [])
    for name, number in zip(lookup.ALIASES, held(served), strict=True):
        assert told(served, name)[-1][1] == number
    assert [row.who for row in audit.rows(served.audit, MODEL) if row.act == "rollback"] == ["ada"] * 3 * carried
    if not carried:
        _back(served)
    assert held(served) == (1, 2, None)


# Writes of a promotion: intents, champion, previous, done.
@pytest.mark.platform
@pytest.mark.parametrize("writes", range(5))
def test_a_promotion_killed_between_two_writes_is_taken_up(served: Place, packages: list[Path], writes: int) -> None:
    assert _killed_before(writes, lambda: promote(served, packages[2])) == (writes < 4)
    champion = registry.champion(served, MODEL)
    assert champion is not None
    assert champion.number == (3 if writes > 1 else 2)
    done = promote(served, packages[2])
    assert (done.moved, done.version.number) == (writes <= 1, 3)
    assert held(served) == (3, 2, None)
    assert told(served, "champion") == [(None, 1, "promote"), (1, 2, "promote"), (2, 3, "promote")]
    assert told(served, "previous") == [(None, 1, "promote"), (1, 2, "promote")]


def test_two_rollbacks_at_once_are_one_after_the_other(served: Place) -> None:
    with (
        single_writer(served.audit, wait_seconds=0.0),
        pytest.raises(InputError, match="another promotion or rollback is running"),
    ):
        _back(served)
    assert held(served) == (2, 1, None)


def test_the_command_imports_neither_torch_nor_mlflow(served: Place) -> None:
    env = environment({"RPOREC_HOME": str(served.home), "REASON": "complaints", "TO": "1"})
    command = [sys.executable, "-X", "importtime", "-m", "infra.releases", "rollback"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert not imported & {"torch", "mlflow", "transformers", "pandas"}
    assert "rollback: version 1 of rporec-demo is the champion, in place of version 2" in done.stderr
    assert held(served) == (1, 2, None)
    assert audit.rows(served.audit, MODEL)[-1].reason == "complaints"
