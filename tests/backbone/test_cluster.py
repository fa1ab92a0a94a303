"""Engine ray: the same rows as one process writes, whole after a loss, from a real Ray of two workers."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from rporec import config
from rporec.backbone import cluster
from rporec.backbone.cluster import RayCrew, crew_of
from rporec.backbone.source import load_writer
from rporec.backbone.write import groups_of, write_completions
from rporec.errors import InputError
from steps.backbone import backbone
from steps.cot import cot
from tests.backbone.models import qwen3
from tests.backbone.test_write import rows, writing
from tests.project import ROOT
from tests.reasoning.shop import catalogue
from tests.steps.data_flow import hashes, run
from tests.steps.writing_flow import prepared

RAY = {"cot": {"engine": "ray"}}


def test_without_ray_it_is_asked_for_by_name(monkeypatch, tmp_path):
    params = config.load(ROOT / "params.yaml").cot
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    assert crew_of(params, tmp_path, "float32", "cpu", 1) is None, "engine local needs no Ray"
    with pytest.raises(InputError, match=r"(?s)Ray is not installed.*cure: make setup-ray"):
        crew_of(params.model_copy(update={"engine": "ray"}), tmp_path, "float32", "cpu", 1)


@pytest.mark.platform
def test_a_ray_of_two_workers_writes_the_same_rows_and_only_what_is_missing(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed: make setup-ray")
    qwen3(1024).save(tmp_path / "model")
    writer, groups, kept = load_writer(tmp_path / "model"), groups_of(rows()), tmp_path / "kept"
    whole = write_completions(writer, groups, catalogue(), writing(), tmp_path / "local", {}).completions

    class Noting(RayCrew):
        def write(self, shards, *rest):
            asked.append(sorted(shards))
            return super().write(shards, *rest)

    asked: list[list[int]] = []
    crew = Noting(tmp_path / "model", "float32", "cpu", 1, 2, None)
    kept.mkdir()
    (tmp_path / "local" / "shard-00001.parquet").rename(kept / "shard-00001.parquet")
    written = write_completions(writer, groups, catalogue(), writing(), kept, {}, crew)
    assert asked == [[0, 2]]
    assert written.completions.equals(whole)
    assert sorted(path.name for path in kept.iterdir()) == [f"shard-0000{number}.parquet" for number in range(3)]
    left = [one for one in psutil.Process().children(recursive=True) if "raylet" in one.name()]
    assert all(one.status() == psutil.STATUS_ZOMBIE for one in left)  # a failed try to start leaves one to its parent


@pytest.mark.platform
def test_the_stage_has_the_same_bytes_with_either_engine(tmp_path: Path):
    pytest.importorskip("ray", reason="Ray is not installed: make setup-ray")
    made = prepared(tmp_path)
    run(made, "backbone", backbone)
    run(made, "cot", cot)
    local = hashes(made / "outputs/cot")
    again = prepared(tmp_path, RAY)
    run(again, "cot", cot)
    assert hashes(again / "outputs/cot") == local
