from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from infra import pipeline, workspace
from rporec import config
from rporec.errors import InputError
from rporec.release import records
from tests.project import ROOT, git

PIPELINE = """
stages:
  one:
    cmd: python -m steps.one
    deps: [steps/one.py]
    outs: [{outputs/one: {persist: true}}]
  two:
    cmd: python -m steps.two
    deps: [steps/two.py, outputs/one]
    outs: [{outputs/two: {persist: true}}]
"""
BODY = """
import json, pathlib
pathlib.Path("outputs/{name}").mkdir(parents=True, exist_ok=True)
pathlib.Path("outputs/{name}/text").write_text("{name}")
pathlib.Path("outputs/{name}/deep/er").mkdir(parents=True, exist_ok=True)
for path in ("deep/er/ü", "deep.txt", "empty"):
    pathlib.Path("outputs/{name}", path).write_text("" if path == "empty" else path)
pathlib.Path("records").mkdir(exist_ok=True)
pathlib.Path("records/{name}.json").write_text(json.dumps({{"seconds": {seconds}}}))
"""


def _pipeline(folder: Path, cache: Path) -> Path:
    (folder / "steps").mkdir(parents=True)
    (folder / ".dvc").mkdir()
    (folder / ".dvc" / "config").write_text(f"[core]\n    analytics = false\n[cache]\n    dir = {cache}\n")
    (folder / ".gitignore").write_text("/outputs\n/records\n/.dvc/tmp\n")
    (folder / "dvc.yaml").write_text(PIPELINE)
    for name in ("one", "two"):
        (folder / "steps" / f"{name}.py").write_text(BODY.format(name=name, seconds=1))
    git(folder, "init", "--quiet")
    return folder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = _pipeline(tmp_path / "pipeline", tmp_path / "cache")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return folder


def test_runs_what_changed_and_nothing_else(root: Path) -> None:
    pipeline.reproduce(root, {})
    first = pipeline.record_times(root)
    assert set(first) == {"one", "two"}
    # A record is told to be the lock's by the hash of its outputs: ours must be DVC's own.
    assert records.locked(root) == {name: records.folder_hash(root / "outputs" / name) for name in ("one", "two")}
    pipeline.reproduce(root, {})
    assert pipeline.record_times(root) == first
    with (root / "steps" / "two.py").open("a") as stream:
        stream.write("# other\n")
    pipeline.reproduce(root, {})
    again = pipeline.record_times(root)
    assert again["one"] == first["one"]
    assert again["two"] != first["two"]


def test_only_ingest_is_told_where_data_lies(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither from the parameter nor from what the caller's own environment holds."""
    (root / "dvc.yaml").write_text(PIPELINE.replace("one", "ingest"))
    tell = "import os; text = str([os.environ.get(name, '') for name in ('RPOREC_DATA', 'DATA')])\n"
    for name, old in (("ingest", "one"), ("two", "two")):
        body = BODY.format(name=name, seconds=1).replace(f'write_text("{name}")', "write_text(text)")
        (root / "steps" / f"{old}.py").unlink()
        (root / "steps" / f"{name}.py").write_text(tell + body)
    for name in ("RPOREC_DATA", "DATA"):
        monkeypatch.setenv(name, "from outside")
    url = "postgresql://reader:hush@db/shop"
    pipeline.reproduce(root, {"RPOREC_DATA": "", "DATA": ""}, data=url)
    told = {name: (root / "outputs" / name / "text").read_text() for name in ("ingest", "two")}
    assert told == {"ingest": f"['{url}', '']", "two": "['', '']"}
    assert "hush" not in str(dict(os.environ))
    before = pipeline.record_times(root)
    pipeline.reproduce(root, {"RPOREC_DATA": "", "DATA": ""}, data=url)
    assert pipeline.record_times(root) == before, "nothing to do"
    shutil.rmtree(root / "outputs")
    shutil.rmtree(root.parent / "cache")
    for name, want in (("ingest", f"['{url}', '']"), ("two", "['', '']")):
        pipeline.reproduce(root, {}, name, url)
        assert (root / "outputs" / name / "text").read_text() == want


def test_one_stage_alone(root: Path) -> None:
    pipeline.reproduce(root, {}, "one")
    assert set(pipeline.record_times(root)) == {"one"}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("raise SystemExit(1)", "stage two stopped, its reason stands above"),
        ("raise SystemExit(3)", "stage two crashed"),
        ("import os; os.kill(os.getpid(), 9)", "stage two was killed"),
    ],
)
def test_a_failing_stage_is_one_message_and_keeps_the_last_output(root: Path, line: str, says: str) -> None:
    pipeline.reproduce(root, {})
    (root / "steps" / "two.py").write_text(line)
    with pytest.raises(InputError, match=says):
        pipeline.reproduce(root, {})
    assert (root / "outputs" / "two" / "text").read_text() == "two"


def test_a_missing_dependency_is_one_message(root: Path) -> None:
    (root / "steps" / "two.py").unlink()
    with pytest.raises(InputError, match=r"two\.py"):
        pipeline.reproduce(root, {})


def test_parameters_that_were_tried_before_bring_their_outputs_back(root: Path) -> None:
    kept = (root / "steps" / "two.py").read_text()
    pipeline.reproduce(root, {})
    (root / "steps" / "two.py").write_text(kept.replace('write_text("two")', 'write_text("other")'))
    pipeline.reproduce(root, {})
    assert (root / "outputs" / "two" / "text").read_text() == "other"
    (root / "outputs" / "two" / "text").write_text("left by a kill")
    (root / "steps" / "two.py").write_text(kept)
    before = pipeline.record_times(root)
    pipeline.reproduce(root, {})
    assert (root / "outputs" / "two" / "text").read_text() == "two"
    assert pipeline.record_times(root) == before, "no stage ran"


def test_records_come_back_with_outputs_from_the_cache(root: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    pipeline.reproduce(root, {})
    pipeline.keep_records(root, home, {"one", "two"})
    other = _pipeline(tmp_path / "other", tmp_path / "cache")
    (other / "records").mkdir()
    (other / "records" / "one.json").write_text('{"seconds": 99}')  # of an older state
    pipeline.reproduce(other, {})
    assert (other / "outputs" / "two" / "text").read_text() == "two"
    pipeline.keep_records(other, home, set())
    assert json.loads((other / "records" / "one.json").read_text()) == {"seconds": 1}
    assert json.loads((other / "records" / "two.json").read_text()) == {"seconds": 1}


READS = """
import pathlib
seen = pathlib.Path("{model}/model.safetensors").read_text()
"""


def test_other_weights_under_the_same_name_run_their_stage_alone(root: Path, tmp_path: Path) -> None:
    """And the old ones come from DVC's run cache when they are back."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    files = [tmp_path / name / "model.safetensors" for name in ("writer", "encoder")]
    for file, stage, old in zip(files, ("backbone", "rechead"), ("one", "two"), strict=True):
        file.parent.mkdir()
        file.write_text("first")
        body = BODY.format(name=stage, seconds=1).replace(f'write_text("{stage}")', "write_text(seen)")
        (root / "steps" / f"{stage}.py").write_text(READS.format(model=file.parent) + body)
        (root / "steps" / f"{old}.py").unlink()
    deps = {stage: f"steps/{stage}.py, {stage}.lock.json" for stage in ("backbone", "rechead")}
    text = PIPELINE.replace(", outputs/one", "").replace("one", "backbone").replace("two", "rechead")
    for stage, more in deps.items():
        text = text.replace(f"[steps/{stage}.py]", f"[{more}]")
    (root / "dvc.yaml").write_text(text)
    params["backbone"].update(source="pretrained", name=str(files[0].parent))
    params["rechead"]["encoder"] = str(files[1].parent)
    planned = config.parse(params, "params.yaml")

    def ran() -> set[str]:
        before = pipeline.record_times(root)
        workspace.pin_weights(root, planned)
        pipeline.reproduce(root, {})
        return pipeline.written_since(root, before)

    def made() -> list[str]:
        return [(root / "outputs" / stage / "text").read_text() for stage in ("backbone", "rechead")]

    assert ran() == {"backbone", "rechead"}
    assert ran() == set()
    files[0].write_text("other")
    assert ran() == {"backbone"}
    assert made() == ["other", "first"]
    files[1].write_text("other")
    assert ran() == {"rechead"}
    assert made() == ["other", "other"]
    files[0].write_text("first")
    assert ran() == set(), "these weights were tried before"
    assert made() == ["first", "other"]


def _lock(root: Path, pid: int) -> Path:
    path = root / ".dvc" / "tmp" / "rwlock"
    path.parent.mkdir(parents=True, exist_ok=True)
    held = {"pid": pid, "cmd": "dvc repro"}
    path.write_text(
        json.dumps({"write": {str(root / "outputs" / "one"): held}, "read": {str(root / "dvc.yaml"): [held]}})
    )
    return path


def test_locks_of_the_dead_are_dropped(root: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    path = _lock(root, dead.pid)
    pipeline.reproduce(root, {})
    assert not json.loads(path.read_text()).get("write")


def test_a_zombie_holds_no_lock(root: Path) -> None:
    ended = subprocess.Popen(["true"])
    while psutil.Process(ended.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    path = _lock(root, ended.pid)
    pipeline.mend_locks(root)
    assert json.loads(path.read_text()) == {"read": {}, "write": {}}
    ended.wait()


def test_a_lock_whose_process_id_was_taken_again_is_dropped(root: Path) -> None:
    path = _lock(root, os.getpid())
    os.utime(path, (1, 1))  # written before this process began
    pipeline.mend_locks(root)
    assert json.loads(path.read_text()) == {"read": {}, "write": {}}


def test_locks_of_the_living_stay(root: Path) -> None:
    path = _lock(root, os.getpid())
    before = path.read_text()
    time.sleep(0.01)
    pipeline.mend_locks(root)
    assert path.read_text() == before


def test_a_half_written_lock_file_is_dropped(root: Path) -> None:
    path = _lock(root, os.getpid())
    path.write_text('{"write": {')
    pipeline.reproduce(root, {})
    assert (root / "outputs" / "two" / "text").exists()
