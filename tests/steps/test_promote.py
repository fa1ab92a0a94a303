from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rporec.errors import InputError
from rporec.files import read_json
from rporec.release import audit, lookup, manifest, recall, registry, rollback, summary
from rporec.release.registry import Place
from steps import promote as step
from tests.release import world
from tests.release.fixtures import place, shared, template, workspace  # noqa: F401 - fixtures

MODEL = "rporec-demo"


@pytest.fixture
def root(workspace: Path, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    """A workspace with a package, records of two stages, and an empty registry."""
    root = tmp_path / "root"
    shutil.copytree(workspace, root)
    shutil.copytree(workspace / "scratch/package", root / "outputs/package")
    params = json.loads(json.dumps({"steps": 0}))
    for stage in ("align", "cot"):
        record = {"params": params, "metrics": {}, "files": [], "seconds": 1.0, "peak_mb": 1.0, "stage": stage}
        world.write(root / f"records/{stage}.json", record)
    (root / "dvc.lock").write_text("schema: '2.0'\n")
    monkeypatch.setenv("RPOREC_HOME", str(place.home))
    return root


def _hash(root: Path) -> str:
    return manifest.read(root / summary.PACKAGE).package_hash


def _experiment(place: Place) -> str:  # noqa: F811
    return str(registry.client(place).get_experiment_by_name(MODEL).experiment_id)


def _runs(place: Place) -> list[str]:  # noqa: F811
    client = registry.client(place)
    experiment = client.get_experiment_by_name(MODEL)
    return [] if experiment is None else [run.info.run_id for run in client.search_runs([experiment.experiment_id])]


def test_a_pass_is_recorded_promoted_and_asked(root: Path, place: Place) -> None:  # noqa: F811
    world.write_verdict(root / summary.GATES, _hash(root))
    done = step.promote(root, must=True)
    assert (done.verdict, done.version) == ("pass", 1)
    note = read_json(root / summary.PROMOTION)
    assert note["run_id"] == _runs(place)[0]
    assert (note["package_hash"], note["verdict"], note["version"]) == (_hash(root), "pass", 1)
    champion = registry.champion(place, MODEL)
    assert champion is not None
    assert champion.run_id == note["run_id"]
    assert champion.tags["dvc_lock_hash"]
    assert champion.tags["data_hash"] == world.data_hash(root / "outputs")
    told = (root / "reports/recommendation.txt").read_text()
    for part in ("Champion: version 1 of rporec-demo", "thought:", "Ranking", "What the user really took next"):
        assert part in told
    standing = summary.standing(root, place.uri, MODEL)
    assert (standing.verdict, standing.version, standing.settled) == ("pass", 1, True)
    assert read_json(root / "records/promote.json")["stage"] == "promote"
    watched = {
        name: [(point.step, point.value) for point in registry.client(place).get_metric_history(note["run_id"], name)]
        for name in ("align/reward", "align/kl", "align/heldout_ndcg_at_10", "rechead/valid_ndcg_at_10")
    }
    assert watched == {
        "align/reward": [(1, 0.5)], "align/kl": [(1, 0.0)], "align/heldout_ndcg_at_10": [(0, 0.25)],
        "rechead/valid_ndcg_at_10": [(1, 0.125), (2, 0.25)],
    }  # fmt: skip
    traces = registry.client(place).search_traces(locations=[_experiment(place)], run_id=note["run_id"])
    assert [trace.info.tags["rporec.group"] for trace in traces] == ["5"]


def test_code_that_is_not_committed_is_told_by_the_version_and_the_run(root: Path, place: Place) -> None:  # noqa: F811
    names = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for act in (["init", "-q"], ["add", "params.yaml"], ["commit", "-qm", "first"]):
        subprocess.run(["git", *names, *act], cwd=root, check=True)
    world.write_verdict(root / summary.GATES, _hash(root))
    step.promote(root, must=True)
    version = registry.champion(place, MODEL)
    assert version is not None
    assert version.tags["git_commit"].endswith("-dirty")
    assert registry.client(place).get_run(version.run_id).data.tags["git_commit"] == version.tags["git_commit"]


def test_once_promoted_there_is_nothing_left_to_do(root: Path, place: Place) -> None:  # noqa: F811
    world.write_verdict(root / summary.GATES, _hash(root))
    first = step.promote(root, must=True)
    (root / summary.GATES).unlink()
    again = step.promote(root, must=True)
    assert (again.version, again.run_id) == (first.version, first.run_id)
    assert len(_runs(place)) == 1
    assert len(audit.rows(place.audit, MODEL)) == 1


def test_a_registered_package_has_its_verdict_in_its_run(root: Path, place: Place) -> None:  # noqa: F811
    """A workspace that lacks it gets it back; it is not judged again."""
    world.write_verdict(root / summary.GATES, _hash(root))
    stated = read_json(root / summary.GATES)
    step.promote(root, must=True)
    version = registry.champion(place, MODEL)
    assert version is not None
    (root / summary.GATES).unlink()
    assert recall.verdict_of(place, version, root) == stated
    assert read_json(root / summary.GATES) == stated
    (root / summary.GATES).unlink()
    shutil.rmtree(place.home / "mlartifacts")
    with pytest.raises(InputError, match="is not in its MLflow run"):
        recall.verdict_of(place, version, root)


def test_a_fail_is_a_result_and_stays_a_run(
    root: Path,
    place: Place,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    world.write_verdict(root / summary.GATES, _hash(root), failed="floor")
    with caplog.at_level("INFO", logger="rporec"):
        done = step.promote(root, must=False)
    assert (done.verdict, done.version) == ("fail", None)
    assert "refused by gate floor; there is no champion yet" in caplog.text
    assert len(_runs(place)) == 1
    assert registry.champion(place, MODEL) is None
    assert lookup.by_number(place.uri, MODEL, 1) is None
    assert summary.standing(root, place.uri, MODEL).settled
    assert not (root / "reports/recommendation.txt").exists()
    with pytest.raises(InputError, match="refused by gate floor"):
        step.promote(root, must=True)
    assert len(_runs(place)) == 1


def test_after_a_fail_users_keep_the_champion(root: Path, place: Place, workspace: Path) -> None:  # noqa: F811
    world.write_verdict(root / summary.GATES, _hash(root))
    step.promote(root, must=True)
    shutil.rmtree(root / "outputs/package")
    world.write_package(root / "outputs/package", workspace, mark="worse")
    world.write_verdict(root / summary.GATES, _hash(root), champion=1, failed="champion")
    done = step.promote(root, must=False)
    assert "users keep version 1" in done.told
    champion = registry.champion(place, MODEL)
    assert champion is not None
    assert champion.number == 1


@pytest.mark.parametrize(
    ("case", "problem"),
    [
        ("no verdict", "there is no verdict on this package"),
        ("failing", "refused by gate floor"),
        ("other bytes", "the verdict is for another package"),
        ("changed file", "a file of the package was changed"),
        ("champion changed", "the champion changed since the gate"),
    ],
)
def test_a_refusal_says_why_and_promotes_nothing(root: Path, place: Place, case: str, problem: str) -> None:  # noqa: F811
    against = {"champion": 7, "champion_hash": "1" * 64} if case == "champion changed" else {}
    if case != "no verdict":
        judged, failed = "0" * 64 if case == "other bytes" else _hash(root), "floor" if case == "failing" else ""
        world.write_verdict(root / summary.GATES, judged, failed=failed, **against)
    if case == "changed file":
        (root / "outputs/package/card.md").write_text("better than it is")
    with pytest.raises(InputError, match=problem):
        step.promote(root, must=True)
    assert registry.champion(place, MODEL) is None
    if case == "failing":
        return  # it stays as a run, in test_a_fail_is_a_result_and_stays_a_run
    assert _runs(place) == []
    assert registry.champion(place, MODEL) is None
    assert not (root / summary.PROMOTION).exists()


def test_a_second_promotion_at_the_same_time_is_refused(root: Path, place: Place) -> None:  # noqa: F811
    world.write_verdict(root / summary.GATES, _hash(root))
    text = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(text.replace("outage_seconds: 120.0", "outage_seconds: 0.0"))
    with place.audit.lock.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another promotion or rollback is running"):
            step.promote(root, must=True)
        assert registry.champion(place, MODEL) is None
    assert step.promote(root, must=True).version == 1


def test_data_older_than_the_champions_are_not_promoted_in_one_line(
    root: Path,
    place: Place,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The gate has said so (gate data): a result, not an error."""
    world.write_verdict(root / summary.GATES, _hash(root), failed="data")
    with caplog.at_level("INFO", logger="rporec"):
        assert step.promote(root, must=False).version is None
    assert "refused by gate data" in caplog.messages[-1]
    assert "\n" not in caplog.messages[-1]


def test_the_command_ends_with_one_message_and_no_traceback(root: Path, place: Place) -> None:  # noqa: F811
    """In a process of its own, as the driver and the DAG call it."""
    command = [sys.executable, "-m", "steps.promote", "--must"]
    for name in ("steps", "rporec"):
        (root / name).symlink_to(world.ROOT / name)
    found = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert found.stderr.startswith("error: there is no verdict on this package")
    assert "Traceback" not in found.stderr


def test_a_person_is_refused_what_was_rolled_back_unless_again_is_said(root: Path, place: Place) -> None:  # noqa: F811
    for mark in ("first", "second"):
        shutil.rmtree(root / summary.PACKAGE)
        world.write_package(root / summary.PACKAGE, root, mark=mark)
        now = registry.champion(place, MODEL)
        against = {"champion": now.number, "champion_hash": now.package_hash} if now else {}
        world.write_verdict(root / summary.GATES, _hash(root), **against)
        step.promote(root, must=True)
    rollback.rollback(place, MODEL, rollback.Wish(None, "ada", "complaints"), wait_seconds=0.0)
    assert step.promote(root, must=False).taken_back, "a schedule goes on"
    with pytest.raises(InputError, match=r"ada rolled it back on .* \(complaints\)") as refused:
        step.promote(root, must=True)
    assert "make promote AGAIN=1" in str(refused.value)
    assert step.promote(root, must=True, again=True).version == 2
    champion = registry.champion(place, MODEL)
    assert champion is not None
    assert champion.number == 2
