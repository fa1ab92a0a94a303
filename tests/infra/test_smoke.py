"""A new champion is asked by a real service, and the version before comes back when it fails; the monitor watches."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra import children, monitor, reference, smoke
from infra.smoke import FailedError, Question
from infra.workspace import Workspace
from rporec import config
from rporec.errors import InputError
from rporec.release import audit, lookup, manifest, registry, verdict
from rporec.release.lookup import Version
from rporec.release.place import Place
from rporec.release.registry import Request
from tests.bento.serving import ROOMY, Server, lay_out, serving
from tests.release import world
from tests.release.fixtures import *  # noqa: F403

MODEL = "rporec-demo"


def promote(place: Place, package: Path) -> str:
    """Make a package the champion as the schedule does; return its hash."""
    package_hash, now = manifest.read(package).package_hash, registry.champion(place, MODEL)
    against = {"champion": now.number, "champion_hash": now.package_hash} if now else {}
    judged = verdict.read(world.write_verdict(place.home / "gates.json", package_hash, **against))
    registry.promote(place, MODEL, Request(package, judged, "", package.as_uri(), {"as_of": ""}, "me"), 0.0)
    return package_hash


@pytest.fixture(scope="module")
def space(template: Path, workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A workspace whose registry has the first of two packages as its champion."""
    folder = tmp_path_factory.mktemp("smoke")
    code = lay_out(folder / "code", **ROOMY, poll_seconds=0.2)
    home = folder / "home"
    home.mkdir()
    shutil.copy(template, home / "mlflow.db")
    world.write_package(folder / "second", workspace, mark="2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RPOREC_HOME", str(home))
        promote(Place(lookup.default_uri(home), home), workspace / "scratch/package")
        yield Workspace(code, code, home, None, config.load(code / "params.yaml"), {}, {})


@pytest.fixture(scope="module")
def place(space: Workspace) -> Place:
    return Place(lookup.default_uri(space.home), space.home)


@pytest.fixture(scope="module")
def server(space: Workspace) -> Iterator[Server]:
    """A service that follows the champion."""
    with serving(space.root, space.home) as found:
        yield found


def champion(place: Place) -> Version:
    found = registry.champion(place, MODEL)
    assert found is not None
    return found


def test_a_running_service_is_asked(
    space: Workspace, place: Place, server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="rporec")
    monkeypatch.setenv("RPOREC_HOME", str(space.home))
    monkeypatch.setenv("RPOREC_SERVICE_URL", server.address)
    smoke.test(space, "another package")
    assert "not the champion, nothing to ask" in caplog.text
    smoke.test(space, champion(place).package_hash)
    assert "version 1 of rporec-demo answers, 4 questions" in caplog.text


def _checks(server: Server, place: Place, limits: config.MonitorParams) -> dict[str, monitor.Check]:
    return {check.name: check for check in monitor.examine(server.address, place, MODEL, limits)}


def test_the_monitor_sees_fallbacks_and_drift(server: Server, space: Workspace, place: Place) -> None:
    limits = space.params.monitor.model_copy(update={"min_requests": 40, "max_age_days": 10_000})
    state = place.home / "monitor" / f"{MODEL}.json"
    counts = lookup.package_folder(place.uri, champion(place), place.cache)
    known = reference.of(place, MODEL, champion(place).package_hash)
    assert (len(known.popularity), known.lengths) == (6, [])
    first = _checks(server, place, limits)
    assert first["health"].status == "pass"
    assert {first[name].status for name in ("popularity", "no_reasoning", "item_popularity")} == {"unknown"}
    assert json.loads(state.read_text()) == {}, "too few answers: the next look counts from here"

    import polars as pl

    bought = pl.read_parquet(counts / "popularity.parquet").sort("count", descending=True)
    for item, times in bought.select("item_id", pl.col("count") * 60 // pl.col("count").sum()).iter_rows():
        for _ in range(times):
            server.recommend(history=[item], k=1)
    well = _checks(server, place, limits)
    assert {well[name].status for name in ("popularity", "no_reasoning", "item_popularity")} == {"pass"}, well
    assert well["history_length"].status == "unknown", "not promoted by a night: no reference"

    rare = bought["item_id"][-1]
    for _ in range(40):
        server.recommend(history=[rare], k=1)
        server.recommend(history=["nowhere"], k=1)
    ill = _checks(server, place, limits)
    assert (ill["popularity"].status, ill["popularity"].observed) == ("fail", 0.5)
    assert ill["item_popularity"].status == "fail"
    assert _checks(server, place, limits)["popularity"].status == "unknown", "counted since the last look"


def test_histories_are_compared_with_those_of_the_night(
    server: Server, space: Workspace, place: Place, workspace: Path
) -> None:
    night = replace(space, root=workspace, home=place.home)
    shutil.copytree(workspace / "scratch/package", workspace / "outputs/package", dirs_exist_ok=True)
    reference.keep(night, champion(place).package_hash)
    shutil.rmtree(workspace / "outputs/package")
    limits = space.params.monitor.model_copy(update={"min_requests": 10, "max_age_days": 10_000})
    _checks(server, place, limits)
    for _ in range(30):
        server.recommend(history=["i00"] * 20, k=1)
    assert _checks(server, place, limits)["history_length"].status == "fail"


def test_a_service_that_is_away_or_of_another_model_is_ill(server: Server, space: Workspace, place: Place) -> None:
    (only,) = monitor.examine(f"http://127.0.0.1:{children.free_port()}", place, MODEL, space.params.monitor)
    assert (only.name, only.status) == ("health", "fail")
    found = monitor.examine(server.address, place, "rporec-other", space.params.monitor)
    assert found[0].told == "the service serves rporec-demo, not rporec-other"


def test_a_service_of_its_own_is_asked_and_gone_afterwards(
    space: Workspace, place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="rporec")
    monkeypatch.setenv("RPOREC_HOME", str(space.home))
    monkeypatch.delenv("RPOREC_SERVICE_URL", raising=False)
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    smoke.test(space, promote(place, space.home.parent / "second"))
    assert "version 2 of rporec-demo answers" in caplog.text
    assert {process.pid for process in psutil.Process().children(recursive=True)} <= before


def test_the_version_before_comes_back_when_the_new_one_does_not_answer(
    space: Workspace, place: Place, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RPOREC_HOME", str(space.home))
    monkeypatch.setenv("RPOREC_SERVICE_URL", f"http://127.0.0.1:{children.free_port()}")
    hasty = space.params.promote.model_copy(update={"smoke_seconds": 0.5})
    quick = replace(space, params=space.params.model_copy(update={"promote": hasty}))
    second = champion(place)
    assert second.number == 2
    for _ in range(2):  # a retry fails as the first try did
        with pytest.raises(
            InputError, match=r"version 2 of rporec-demo failed its smoke test: .*users are on version 1"
        ):
            smoke.test(quick, second.package_hash)
    assert champion(place).number == 1
    moves = [row for row in audit.rows(place.audit, MODEL) if row.act == "rollback" and row.alias == "champion"]
    assert [(row.from_version, row.to_version) for row in moves] == [(2, 1)]
    assert moves[0].reason.startswith("smoke test: the service did not come to version 2")
    server.until("the running service follows", lambda: server.call("/model").json["version"] == 1)
    with pytest.raises(InputError, match="users stay on version 1: the previous version, 2 of rporec-demo, was itself"):
        smoke.test(quick, champion(place).package_hash)
    assert champion(place).number == 1


def _answer(**changed: object) -> dict[str, Any]:
    items = [{"item_id": f"i{place}", "score": 0.5 - place / 10, "rests_on": []} for place in range(3)]
    about = {"version": 1, "package_hash": "p"}
    return {"items": items, "ranking": "rechead", "unknown_ids": [], "model": about, **changed}


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({}, ""),
        ({"ranking": "popularity"}, "popularity ranked"),
        ({"unknown_ids": ["x"]}, "unknown ids"),
        ({"model": {"version": 7, "package_hash": "q"}}, "version 7 answered"),
        ({"items": []}, "0 items"),
        ({"items": [{"item_id": "i", "score": 0.5, "rests_on": []}] * 2}, "an item twice"),
        ({"items": [{"item_id": "i", "score": 1.5, "rests_on": []}]}, "no probability"),
        ({"items": [{"item_id": "i", "score": float("nan"), "rests_on": []}]}, "no probability"),
        ({"items": [{"item_id": str(n), "score": n / 9, "rests_on": []} for n in range(3)]}, "out of order"),
        ({"items": [{"item_id": "i", "score": 0.5, "rests_on": None}]}, "no explanation"),
    ],
)
def test_answers_that_are_wrong_are_named(changed: dict[str, object], fault: str) -> None:
    question = Question({"history": ["a"], "k": 3, "explain": True}, "rechead")
    asked = Version(MODEL, 1, "", "", {"package_hash": "p"})
    if not fault:
        smoke.check(_answer(), question, asked)
        return
    with pytest.raises(FailedError, match=fault):
        smoke.check(_answer(**changed), question, asked)


def test_counters_that_began_anew_are_not_subtracted() -> None:
    name = "rporec_answer_seconds_count{live}"
    assert monitor.fresh({name: 30.0}, {name: 10.0}, 20) == ({name: 20.0}, {name: 30.0})
    assert monitor.fresh({name: 30.0}, {name: 10.0}, 21) == ({name: 20.0}, {name: 10.0})
    assert monitor.fresh({name: 5.0}, {name: 10.0}, 1) == ({name: 5.0}, {name: 5.0})
    assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ
