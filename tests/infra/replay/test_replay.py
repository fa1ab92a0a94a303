"""Three nights of a toy market replayed for real: stages, gates, a registry of their own, the next day scored."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from infra import children
from infra.replay.score import METRICS, RANKERS
from tests import project
from tests.waiting import until
from tests.worlds import PATIENT

pytestmark = [pytest.mark.platform, pytest.mark.nights, pytest.mark.pipeline, pytest.mark.timeout(3000)]
FIRST = "2026-01-05"
WORDS = ("replay", "PROFILE=tiny", f"FROM={FIRST}", f"SET={PATIENT} gate.floor_margin=0.05 gate.champion_margin=0.05")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project.clone(tmp_path_factory.mktemp("replay") / "clone")


def _replayed(clone: Path) -> dict[str, Any]:
    return json.loads((clone / "reports" / "replay.json").read_text())


def _folder(clone: Path) -> Path:
    (found,) = (path for path in (clone / "runs" / "replay" / "tiny_nightly").iterdir() if (path / "clone").exists())
    return found


def test_a_replay_that_is_killed_goes_on_with_the_night_where_it_stood(clone: Path) -> None:
    process = project.start(clone, *WORDS, "NIGHTS=1")
    records = "replay/*/*/clone/runs/nights/*/records"  # no rglob: folders come and go meanwhile
    until(
        "the stage after is over",  # by then the stage before it is in dvc.lock
        lambda: list((clone / "runs").glob(f"{records}/cot.json")), 1200,
        processes=[process], told=(clone / ".git" / "make.log").read_text,
    )  # fmt: skip
    for one in children.family(process):
        one.send_signal(signal.SIGKILL)
    process.wait()
    record = next((clone / "runs").glob(f"{records}/backbone.json"))
    before = record.stat().st_mtime_ns
    done = project.make(clone, *WORDS, "NIGHTS=1", timeout=1800)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert record.stat().st_mtime_ns == before, "what was done is not done again"
    (night,) = _replayed(clone)["nights"]
    assert night["promoted"], night
    assert night["start"] == "scratch"
    assert night["minutes"] * 60 >= sum(night["stages"].values()) - 1, "the killed try counts"


def test_more_nights_are_added_and_each_tells_what_it_was_worth(clone: Path) -> None:
    kept = _folder(clone) / "nights" / f"{FIRST}.json"
    before = kept.stat().st_mtime_ns
    done = project.make(clone, *WORDS, "NIGHTS=3", timeout=2700)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert kept.stat().st_mtime_ns == before
    found = _replayed(clone)
    assert [night["date"] for night in found["nights"]] == [FIRST, "2026-01-06", "2026-01-07"]
    for night in found["nights"]:
        assert set(night["ndcg@10"]) == set(RANKERS)
        assert all(0 <= night[metric][name] <= 1 for metric in METRICS for name in RANKERS)
        assert night["rows"] > 0
        assert night["minutes"] > 0
        assert night["bytes"] > 0
        assert night["reason"]
    first, *later = found["nights"]
    assert first["ndcg@10"]["frozen"] == first["ndcg@10"]["champion"]
    assert all(night["champion_hash"] == night["package_hash"] for night in found["nights"] if night["promoted"])
    assert len({night["package_hash"] for night in found["nights"]}) == 3
    assert found["all"]["rows"] == sum(night["rows"] for night in found["nights"])
    assert set(found["all"]["champion_minus_ndcg@10"]) == {"frozen", "markov", "markov_all"}
    assert (clone / "reports" / "replay.svg").read_text().startswith("<svg")
    assert "| 2026-01-07 |" in done.stdout
    assert later[0]["version"] >= first["version"]


def test_a_finished_replay_only_reports(clone: Path) -> None:
    before = _replayed(clone)
    done = project.make(clone, *WORDS, "NIGHTS=3", timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert _replayed(clone) == before


def test_the_users_registry_and_branches_are_untouched(clone: Path) -> None:
    assert not (clone / "var").exists()
    assert project.git(clone, "branch", "--format=%(refname:short)").split() == ["main"]
    assert project.git(clone, "status", "--porcelain") == ""
    own = project.git(_folder(clone) / "clone", "branch", "--format=%(refname:short)").split()
    assert {f"nights/{FIRST}", "nights/2026-01-06", "nights/2026-01-07"} <= set(own)
