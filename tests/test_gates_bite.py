"""The gates bite: a planted leak stops the run; shuffled targets, and reasoning that brings nothing, are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from tests import project
from tests.worlds import PATIENT, World, events_folder

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project.clone(tmp_path_factory.mktemp("bite") / "clone")


def _failed(clone: Path) -> set[str]:
    gates = json.loads((clone / "reports" / "tiny" / "gates.json").read_text())
    return {gate["name"] for gate in gates["gates"] if gate["status"] == "fail"}


def _is_refused(clone: Path, printed: str) -> None:
    summary = json.loads((clone / "reports" / "summary.json").read_text())
    assert summary["verdict"] == "fail"
    assert summary["version"] is None
    assert "verdict: fail" in printed


def test_a_planted_leak_stops_the_run(world: World, clone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    ids = pl.read_parquet(world.root / "outputs" / "ingest" / "items.parquet")["item_id"]
    parts = {}
    for name in ("train", "valid", "test"):
        rows = pl.read_parquet(world.root / "outputs" / "sequence" / f"{name}.parquet")
        history = [[ids[item] for item in items] for items in rows["history"]]
        parts[name] = pl.DataFrame(
            {"user_id": rows["user_id"], "history": history, "target": ids.gather(rows["target"])},
            schema_overrides={"history": pl.List(pl.String)},
        )
    parts["train"] = pl.concat([parts["train"], parts["test"].head(3)])
    for name, frame in parts.items():
        frame.write_parquet(folder / f"{name}.parquet")
    shutil.copyfile(world.root / "outputs" / "ingest" / "items.parquet", folder / "items.parquet")
    done = project.make(clone, "run", "PROFILE=tiny", f"DATA={folder}")
    assert done.returncode != 0
    assert "3 rows of test stand in train too" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (clone / "runs" / "tiny" / "outputs" / "sequence").exists()


@pytest.mark.platform
def test_a_model_trained_on_shuffled_targets_is_refused(world: World, clone: Path, tmp_path: Path) -> None:
    folder, events = events_folder(world, tmp_path / "events")
    test_start = json.loads((world.root / "outputs" / "sequence" / "leakage.json").read_text())["test_start"]
    old = events.filter(pl.col("timestamp") < test_start)
    shuffled = old.with_columns(old["item_id"].shuffle(seed=1))
    pl.concat([shuffled, events.filter(pl.col("timestamp") >= test_start)]).write_parquet(
        folder / "interactions.parquet"
    )
    done = project.make(clone, "run", "PROFILE=tiny", f"DATA={folder}", f"SET={PATIENT}")
    assert done.returncode == 0, done.stderr[-3000:]
    _is_refused(clone, done.stdout)
    assert "floor" in _failed(clone)
    refused = project.make(clone, "promote", "PROFILE=tiny")
    assert refused.returncode != 0
    assert "refused by gate floor" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.platform
def test_reasoning_that_brings_nothing_fails_the_strict_gate(clone: Path) -> None:
    done = project.make(
        clone, "run", "PROFILE=tiny", f"SET=ingest.market.text_signal=0 gate.reasoning_strict=true {PATIENT}"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    _is_refused(clone, done.stdout)
    assert "reasoning" in _failed(clone)
