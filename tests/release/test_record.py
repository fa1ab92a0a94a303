from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from rporec import config
from rporec.errors import InputError
from rporec.files import sha256_file, write_json
from rporec.release import lineage, manifest, record, records, registry, summary, verdict
from rporec.release.record import RunRecord
from rporec.release.registry import Place
from tests.release import world


def _run(tmp_path: Path, **changes: Any) -> RunRecord:
    (tmp_path / "curve.csv").write_text("step,loss\n1,2\n")
    many = {f"s{i}": {"a": i} for i in range(150)}
    settings = {
        "experiment": "rporec-demo", "key": "k1", "tags": {"verdict": "pass"},
        "params": {"align": {"steps": 3, "weights": {"rank": 0.5}}, "run": {"seed": 7}, **many},
        "metrics": {"rporec.ndcg@10": 0.125, **{f"m.{i}": float(i) for i in range(1200)}},
        "curves": {"align/reward": [(float(i), i / 8) for i in range(1, 1201)], "align/heldout_ndcg@10": [(0.0, 0.5)]},
        "files": {"backbone": [tmp_path / "curve.csv"]}, "package": None, "rollouts": None,
    }  # fmt: skip
    return RunRecord(**{**settings, **changes})


def test_one_run_holds_everything_and_sending_again_adds_no_run(place: Place, package: Path, tmp_path: Path) -> None:
    whole = _run(tmp_path, package=package)
    sent = record.send(place, whole)
    assert record.send(place, whole) == sent
    client = registry.client(place)
    experiment = client.get_experiment_by_name("rporec-demo")
    runs = client.search_runs([experiment.experiment_id])
    assert [run.info.run_id for run in runs] == [sent.run_id]
    data = runs[0].data
    assert (data.params["align.steps"], data.params["align.weights.rank"], data.params["run.seed"]) == ("3", "0.5", "7")
    assert (data.metrics["rporec.ndcg_at_10"], data.metrics["m.1199"], data.tags["verdict"]) == (0.125, 1199.0, "pass")
    assert runs[0].info.status == "FINISHED"
    kept = {artifact.path for artifact in client.list_artifacts(sent.run_id)}
    assert kept == {"backbone", "package"}
    assert (place.home / "mlartifacts").as_uri() in sent.package_source


def test_a_run_without_a_pass_holds_no_package(place: Place, tmp_path: Path) -> None:
    sent = record.send(place, _run(tmp_path))
    assert sent.package_source == ""
    assert {artifact.path for artifact in registry.client(place).list_artifacts(sent.run_id)} == {"backbone"}


def test_a_curve_keeps_its_steps_and_sending_again_doubles_no_point(place: Place, tmp_path: Path) -> None:
    run = _run(tmp_path)
    sent = record.send(place, run)
    again = record.send(place, _run(tmp_path, metrics={**run.metrics, "m.7": 0.25}))
    assert again == sent
    client = registry.client(place)
    history = client.get_metric_history(sent.run_id, "align/reward")
    assert sorted((point.step, point.value) for point in history) == [(i, i / 8) for i in range(1, 1201)]
    (held,) = client.get_metric_history(sent.run_id, "align/heldout_ndcg_at_10")
    assert (held.step, held.value) == (0, 0.5)
    assert len(client.get_metric_history(sent.run_id, "m.8")) == 1
    assert client.get_run(sent.run_id).data.metrics["m.7"] == 0.25, "what changed is sent"


class _Answers:
    """Fails as told, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    def __call__(self) -> str:
        if self.errors:
            raise self.errors.pop(0)
        return "done"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr(record.time, "sleep", found.append)
    return found


def test_an_outage_is_waited_out(waits: list[float]) -> None:
    from mlflow.exceptions import MlflowException

    outage = MlflowException("API request to http://x failed with exception HTTPConnectionPool: Max retries exceeded")
    assert record.patiently(_Answers(ConnectionError("refused"), outage, outage), 60, "http://x") == "done"
    assert waits == [1.0, 2.0, 4.0]


def test_an_outage_that_lasts_is_told_with_the_cure(waits: list[float]) -> None:
    always = _Answers(*[ConnectionError("refused")] * 9)
    with pytest.raises(InputError, match="did not answer for 0 s: refused") as told:
        record.patiently(always, 0, "http://x")
    assert "run the same command again" in told.value.message()
    assert waits == []


@pytest.mark.parametrize("uri", ["http://bob:hush@mlflow:5000", "postgresql://bob:hush@db/mlflow?password=hush"])
@pytest.mark.parametrize("seconds", [0, 1])
def test_no_password_is_told(uri: str, seconds: int, waits: list[float], caplog: pytest.LogCaptureFixture) -> None:
    quoted = f"API request to {uri}/api/2.0 failed"
    refused = _Answers(ConnectionError(quoted), ConnectionError(f"{'x' * 140} {quoted}"))
    if seconds:
        assert record.patiently(refused, 60, uri) == "done"
        told = caplog.text
        assert "does not answer" in told
    else:
        with pytest.raises(InputError) as found:
            record.patiently(refused, 0, uri)
        told = found.value.message()
    assert "hush" not in told
    assert "bob" not in told
    assert len(waits) == 2 * seconds


def test_a_refusal_is_no_outage(waits: list[float]) -> None:
    from mlflow.exceptions import MlflowException

    for error in (MlflowException("no such model"), InputError("bad", cure="mend"), ValueError("x")):
        with pytest.raises(type(error)):
            record.patiently(_Answers(error), 60, "http://x")
    assert waits == []


def test_records_of_other_params_bring_no_metrics(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    (tmp_path / "out.csv").write_text("x")
    for stage, steps in (("align", 3), ("cot", 9)):
        told = {
            "params": {"steps": steps}, "metrics": {"reward": 0.5, "none": None}, "files": ["out.csv", "gone.csv"],
            "seconds": 2.0, "peak_mb": 10.0,
        }  # fmt: skip
        (tmp_path / "records" / f"{stage}.json").write_text(json.dumps(told))
    metrics, files = lineage.collect(tmp_path, ["align", "cot", "absent"], {"align": {"steps": 3}, "cot": {"steps": 3}})
    assert metrics == {"align.reward": 0.5, "align.seconds": 2.0, "align.peak_mb": 10.0}
    assert files == {"align": [tmp_path / "out.csv"], "cot": [tmp_path / "out.csv"]}


def test_records_of_other_outputs_than_the_locks_are_of_another_run(tmp_path: Path) -> None:
    """DVC brought outputs of an earlier run back; the record beside them stayed."""
    told = {"params": {}, "metrics": {"reward": 0.5}, "files": [], "seconds": 2.0, "peak_mb": 10.0}
    (tmp_path / "outputs/align/sub").mkdir(parents=True)
    (tmp_path / "outputs/align/sub/a.txt").write_text("a")
    outs = records.folder_hash(tmp_path / "outputs/align")
    write_json(tmp_path / "records/align.json", {**told, "outs": outs})
    for named, expected in ((outs, 0.5), ("0" * 32 + ".dir", None)):
        lock = {"stages": {"align": {"outs": [{"path": "outputs/align", "md5": named}]}}}
        (tmp_path / "dvc.lock").write_text(yaml.safe_dump(lock))
        metrics, files = lineage.collect(tmp_path, ["align"], {"align": {}})
        assert metrics.get("align.reward") == expected
        assert list(files) == (["align"] if expected else [])
        [row] = summary.stage_table(tmp_path, ["align"], ["align"])
        assert row["seconds"] == (2.0 if expected else None)


def test_other_packages_make_another_run(workspace: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(workspace, tmp_path / "root"))
    shutil.copytree(workspace / "scratch/package", root / summary.PACKAGE)
    judged = verdict.read(world.write_verdict(root / summary.GATES, manifest.read(root / summary.PACKAGE).package_hash))
    params = config.load(root / "params.yaml")
    keys = []
    for pinned in ("torch==2.13.0\n", "torch==2.14.0\n"):
        (root / "requirements.txt").write_text(pinned)
        made = lineage.run_record(root, params, judged, "commit")
        assert made.tags["requirements_hash"] == sha256_file(root / "requirements.txt")
        keys.append(made.key)
    assert len(set(keys)) == 2
