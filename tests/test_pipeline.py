"""The loop end to end as a user runs it: `make run PROFILE=tiny` in a clone of the working tree."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests import project
from tests.project import environment, git
from tests.worlds import PATIENT, World, only_me

pytestmark = pytest.mark.pipeline
STAGES = ["ingest", "validate", "sequence", "backbone", "cot", "rechead", "align", "evaluate", "package"]
RANKERS = {
    "rporec", "stage1", "no_reasoning", "reasoning_removed", "shuffled_reasoning", "popularity", "markov", "ease",
    "sasrec", "gsasrec", "fusion",
}  # fmt: skip
FIGURES = {"hr@5", "hr@10", "hr@20", "ndcg@5", "ndcg@10", "ndcg@20", "mrr", "n"}


def test_a_fresh_clone_ends_with_a_champion(world: World) -> None:
    summary = world.summary()
    assert summary["verdict"] == "pass", world.printed
    assert summary["version"] == 1
    gates = json.loads((world.clone / "reports" / "tiny" / "gates.json").read_text())
    assert gates["package_hash"] == summary["package_hash"]
    for page in ("report.html", "reasoning.html"):
        assert (world.clone / "reports" / "tiny" / page).stat().st_size > 10_000


def test_the_run_tells_stages_recommendation_verdict_and_paths(world: World) -> None:
    for stage in STAGES:
        assert re.search(rf"^\d\d:\d\d:\d\d {stage}: .*\(\d+\.\d s, \d+ MB\)$", world.printed, re.MULTILINE), stage
        assert re.search(rf"^{stage} +\d+\.\d +\d+\.\d$", world.printed, re.MULTILINE), f"{stage} in the table"
    assert "verdict: pass" in world.printed
    assert str(world.clone / "reports" / "tiny" / "report.html") in world.printed
    asked = (world.clone / "reports" / "tiny" / "recommendation.txt").read_text().strip()
    assert asked.splitlines()[0] in world.printed


def test_summary_has_its_schema(world: World) -> None:
    summary = world.summary()
    assert set(summary) == {
        "profile", "verdict", "version", "git_commit", "data_hash", "package_hash", "metrics", "stages",
    }  # fmt: skip
    assert summary["profile"] == "tiny"
    assert summary["git_commit"] == git(world.clone, "rev-parse", "HEAD").strip()
    assert set(summary["metrics"]) == RANKERS
    for figures in summary["metrics"].values():
        assert set(figures) == FIGURES
        assert all(0 <= value <= 1 for name, value in figures.items() if name != "n")
    assert [row["name"] for row in summary["stages"]] == [*STAGES, "gate", "promote"]
    for row in summary["stages"]:
        assert set(row) == {"name", "seconds", "peak_mb", "cached"}
        assert row["seconds"] > 0
        assert row["peak_mb"] > 10


def test_the_checkout_stays_clean(world: World) -> None:
    assert git(world.clone, "status", "--porcelain") == ""


def test_memory_stays_below_4_gib(world: World) -> None:
    assert max(row["peak_mb"] for row in world.summary()["stages"]) < 4096


def test_nothing_promoted_is_a_pickle(world: World) -> None:
    package = world.root / "outputs" / "package"
    stored = [path for path in (world.clone / "var" / "mlartifacts").rglob("*") if path.is_file()]
    assert stored
    for path in [*(p for p in package.rglob("*") if p.is_file()), *stored]:
        assert path.suffix not in {".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib"}, path


def test_a_second_run_does_nothing_and_is_soon_done(world: World, base: Path) -> None:
    with only_me(base):
        before = json.loads((world.clone / "reports" / "summary.json").read_text())
        done = project.make(world.clone, "run", "PROFILE=tiny", f"SET={PATIENT}")
        assert done.returncode == 0, done.stderr
        after = world.summary()
        assert all(row["cached"] for row in after["stages"])
        assert {**after, "stages": 0} == {**before, "stages": 0}
        # Of the DVC stages: another test of this world may have judged the same package again meanwhile.
        took = [
            {row["name"]: row["seconds"] for row in one["stages"] if row["name"] in STAGES} for one in (after, before)
        ]
        assert took[0] == took[1]
        assert float(re.findall(r"Done in ([\d.]+) s", done.stdout)[0]) < sum(took[1].values()) / 2


def test_a_change_of_align_reruns_align_evaluate_and_package_only(world: World, base: Path) -> None:
    with only_me(base):
        done = project.make(
            world.clone, "run", "PROFILE=tiny", f"SET=align.learning_rate=0.0002 align.steps=2 {PATIENT}"
        )
        assert done.returncode == 0, done.stderr
        stages = world.summary()["stages"]
        ran = [row["name"] for row in stages if not row["cached"] and row["name"] in STAGES]
        assert ran == ["align", "evaluate", "package"]
        back = project.make(world.clone, "run", "PROFILE=tiny", f"SET={PATIENT}")
        assert back.returncode == 0, back.stderr
        assert all(row["cached"] for row in world.summary()["stages"] if row["name"] in STAGES), "from DVC's cache"


def test_researchers_commands_work(world: World, base: Path, tmp_path: Path) -> None:
    """`dvc exp run -S`, `dvc exp show`, `dvc metrics diff`, `dvc plots diff` in place, with params of profile tiny."""
    with only_me(base):
        clone = project.clone(tmp_path / "clone")
        for name in ("params.yaml", "dvc.lock", "source.lock.json"):
            shutil.copyfile(world.root / name, clone / name)
        git(clone, "add", "--all")
        git(clone, "commit", "--quiet", "--message", "tiny in place")
        env = environment({"RPOREC_HOME": str(world.clone / "var")})
        done = project.make(clone, "run", RPOREC_HOME=str(world.clone / "var"))
        assert done.returncode == 0, done.stderr
        ran = [
            row["name"]
            for row in json.loads((clone / "reports" / "summary.json").read_text())["stages"]
            if not row["cached"]
        ]
        assert not set(ran) & set(STAGES), "the shared cache holds all"
        path = f"{project.Path(env['VENV'])}/bin:{env['PATH']}"

        def dvc(*words: str) -> str:
            got = subprocess.run(
                ["dvc", *words], cwd=clone, env={**env, "PATH": path}, capture_output=True, text=True, check=False
            )
            assert got.returncode == 0, got.stdout + got.stderr
            return got.stdout

        dvc("exp", "run", "--name", "tried", "-S", "align.steps=3")
        shown = json.loads(dvc("exp", "show", "--json"))
        assert "tried" in json.dumps(shown)
        changed = json.loads(dvc("metrics", "diff", "--all", "--json", "HEAD"))
        assert "outputs/evaluate/metrics.json" in json.dumps(changed)
        assert "rewards.csv" in dvc("plots", "diff", "HEAD", "--json")
        assert yaml.safe_load((clone / "params.yaml").read_text())["align"]["steps"] == 3
