from __future__ import annotations

import dataclasses
import os
import secrets
import sqlite3
import subprocess
import sys
import time
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import psutil
import pytest

from infra import workspace
from rporec import config
from rporec.errors import InputError
from rporec.files import read_json
from tests.project import ROOT, git


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small repository with what a workspace needs."""
    folder = tmp_path / "checkout"
    for name in (
        "params.yaml",
        "profiles/tiny.yaml",
        "source.lock.json",
        *workspace.WEIGHTS,
        "last_night.json",
        "parent.json",
        ".gitignore",
        ".dvc/config",
        ".dvc/.gitignore",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    (folder / "code.py").write_text("one = 1\n")
    (folder / "gone.py").write_text("")
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "first")
    return folder


def _prepared(checkout: Path, settings: str = "") -> workspace.Workspace:
    space = workspace.plan("tiny", "", settings, checkout)
    with _locked(space):
        workspace.prepare(space)
    return space


def _locked(space: workspace.Workspace) -> AbstractContextManager[None]:
    return workspace.locked(space.checkout, space.root)


def test_profile_runs_beside_the_checkout_which_stays_clean(checkout: Path) -> None:
    space = _prepared(checkout, "align.steps=3")
    assert space.root == checkout / "runs" / "tiny"
    assert config.load(space.root / "params.yaml").align.steps == 3
    assert (space.root / "code.py").read_text() == "one = 1\n"
    assert git(checkout, "status", "--porcelain") == ""
    assert space.home == checkout / "var"
    assert workspace.home_folder(space.root) == checkout / "var", "worktrees share the main checkout's home"


def test_files_are_taken_as_they_stand(checkout: Path) -> None:
    _prepared(checkout)
    (checkout / "code.py").write_text("one = 2\n")
    (checkout / "gone.py").unlink()
    (checkout / "new.py").write_text("new\n")
    (checkout / "outputs").mkdir()
    (checkout / "outputs" / "big").write_text("ignored, not copied")
    root = _prepared(checkout).root
    assert (root / "code.py").read_text() == "one = 2\n"
    assert (root / "new.py").exists()
    assert not (root / "gone.py").exists()
    assert not (root / "outputs").exists()
    (checkout / "new.py").unlink()
    _prepared(checkout)
    assert not (root / "new.py").exists()


def test_second_preparation_keeps_outputs_and_touches_nothing(checkout: Path) -> None:
    root = _prepared(checkout).root
    (root / "outputs").mkdir()
    (root / "dvc.lock").write_text("kept")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file() and ".git" not in path.name}
    _prepared(checkout)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (root / "outputs").is_dir()


@pytest.mark.parametrize("damage", ["no .git", "dangling .git", "empty folder", "half-made twin", "index.lock"])
def test_half_made_worktree_is_mended(checkout: Path, damage: str) -> None:
    root = checkout / "runs" / "tiny"
    if damage == "empty folder":
        root.mkdir(parents=True)
    elif damage == "half-made twin":
        git(checkout, "worktree", "add", "--lock", "--detach", "--no-checkout", str(root.with_name(".new-tiny")))
    else:
        _prepared(checkout)
        (root / "outputs").mkdir()
        (root / "outputs" / "kept").write_text("kept")
        if damage == "no .git":
            (root / ".git").unlink()
        elif damage == "dangling .git":
            (root / ".git").write_text("gitdir: /nowhere/at/all\n")
        else:
            admin = Path(git(root, "rev-parse", "--absolute-git-dir").strip())
            (admin / "index.lock").write_text("")
    _prepared(checkout)
    assert git(root, "rev-parse", "HEAD") == git(checkout, "rev-parse", "HEAD")
    assert (root / "code.py").exists()
    if damage in {"no .git", "dangling .git", "index.lock"}:
        assert (root / "outputs" / "kept").read_text() == "kept"


def test_outputs_outlive_the_loss_of_everything_else(checkout: Path) -> None:
    """Without .gitignore they look like files that the checkout no longer has."""
    output = checkout / "runs" / "tiny" / "outputs" / "ingest" / "items.parquet"
    output.parent.mkdir(parents=True)
    output.write_text("precious")
    _prepared(checkout)
    assert output.read_text() == "precious"


def test_bad_input_touches_nothing(checkout: Path) -> None:
    before = git(checkout, "status", "--porcelain", "--ignored")
    for profile, data, settings in (
        ("none", "", ""), ("tiny", "", "align.steps=x"), ("tiny", "nowhere", ""), ("tiny", "", "ingest.source=folder"),
    ):  # fmt: skip
        with pytest.raises(InputError):
            workspace.plan(profile, data, settings, checkout)
    assert git(checkout, "status", "--porcelain", "--ignored") == before


def test_two_runs_in_one_workspace_exclude_each_other(checkout: Path) -> None:
    space = workspace.plan("tiny", "", "", checkout)
    with _locked(space):
        code = (
            "import sys; from pathlib import Path; from infra import workspace\n"
            f"with workspace.locked(Path({str(checkout)!r}), Path({str(space.root)!r})): pass\n"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"another run (process {os.getpid()}) works in this folder" in done.stderr
    with _locked(space):
        pass


SLEEP = "import time; time.sleep(60)"


def _sleeper(stack: ExitStack, token: str, root: Path, code: str = SLEEP) -> subprocess.Popen[bytes]:
    """A process that is known to have its environment by now."""
    env = {**os.environ, workspace.RUN: token, workspace.MARK: str(root)}
    process = stack.enter_context(subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=env))
    stack.callback(process.kill)
    while "python" not in psutil.Process(process.pid).name():
        time.sleep(0.01)
    return process


def _lock_of(checkout: Path, *words: str) -> Path:
    lock = checkout / "runs" / ".tiny.lock"
    lock.parent.mkdir(exist_ok=True)
    lock.write_text(" ".join(words))
    return lock


def test_orphans_of_the_dead_run_that_the_lock_names_are_ended_and_no_others(checkout: Path) -> None:
    root = checkout / "runs" / "tiny"
    dead, older = secrets.token_hex(8), secrets.token_hex(8)
    lock = _lock_of(checkout, "1", dead, older)
    with ExitStack() as stack:
        orphans = [_sleeper(stack, token, root) for token in (dead, older)]
        others = [_sleeper(stack, token, root) for token in ("other", "", workspace.TOKEN)]
        with workspace.locked(checkout, root):
            assert not [process for process in orphans if psutil.pid_exists(process.pid)]
            assert [process.poll() for process in others] == [None, None, None]
            assert lock.read_text() == f"{os.getpid()} {workspace.TOKEN}"
        for process in others:
            process.kill()


@pytest.mark.parametrize(("task", "ends"), [("cot", True), ("align", False)])
def test_an_earlier_try_of_the_same_airflow_task_is_ended_and_nothing_else(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, task: str, ends: bool
) -> None:
    """A worker that was killed leaves its task running with the workspace held."""
    root = checkout / "runs" / "tiny"
    for name, value in zip(workspace._TASK, ("nightly_retrain", "2026-01-05", "cot"), strict=True):
        monkeypatch.setenv(name, value)
    holds = (
        "import os, time; from pathlib import Path; from infra import workspace\n"
        f"os.environ[workspace._TASK[2]] = {task!r}\n"
        f"with workspace.locked(Path({str(checkout)!r}), Path({str(root)!r})): print(flush=True), time.sleep(60)"
    )
    env = {**os.environ, workspace._TASK[2]: task}
    with subprocess.Popen([sys.executable, "-c", holds], cwd=ROOT, env=env, stdout=subprocess.PIPE) as earlier:
        assert earlier.stdout is not None
        earlier.stdout.readline()
        try:
            if ends:
                with workspace.locked(checkout, root):
                    assert not psutil.pid_exists(earlier.pid)
            else:
                with pytest.raises(InputError, match=f"process {earlier.pid}"), workspace.locked(checkout, root):
                    pass
                assert earlier.poll() is None
        finally:
            earlier.kill()


def test_who_waits_for_this_process_is_spared(checkout: Path) -> None:
    """A shell may have the variables of a dead run set."""
    root = checkout / "runs" / "tiny"
    dead = secrets.token_hex(8)
    _lock_of(checkout, "1", dead)
    place = f"Path({str(checkout)!r}), Path({str(root)!r})"
    inner = f"from pathlib import Path; from infra import workspace\nwith workspace.locked({place}): pass"
    shell = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {inner!r}]).returncode)"
    with ExitStack() as stack:
        assert _sleeper(stack, dead, root, shell).wait(60) == 0


def test_a_run_marks_its_processes_and_keeps_the_place_of_data_to_itself(checkout: Path) -> None:
    space = workspace.plan("tiny", "", "", checkout)
    found = workspace.environment(dataclasses.replace(space, data="postgresql://reader:hush@db/shop"))
    assert found[workspace.RUN] == workspace.TOKEN
    assert (found["RPOREC_DATA"], found["DATA"]) == ("", "")


def test_an_empty_home_is_refused_and_another_one_taken(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPOREC_HOME", "")
    with pytest.raises(InputError, match="RPOREC_HOME is set but empty"):
        workspace.plan("tiny", "", "", checkout)
    monkeypatch.setenv("RPOREC_HOME", str(checkout / "elsewhere"))
    assert workspace.plan("tiny", "", "", checkout).home == checkout / "elsewhere"


def test_dvc_reads_the_shared_cache_and_a_users_own_settings_stay(checkout: Path) -> None:
    local = checkout / ".dvc" / "config.local"
    local.write_text("['remote \"mine\"']\n    url = s3://bucket\n    secret_access_key = hidden\n")
    space = _prepared(checkout, "run.dvc_remote=s3://nights/dvc")
    text = (space.root / ".dvc" / "config.local").read_text()
    assert "secret_access_key = hidden" in text
    assert "url = s3://nights/dvc" in text
    assert f"dir = {space.home / 'dvc' / 'cache'}" in text
    assert "nights" not in local.read_text()


def test_other_weights_in_the_same_folder_are_written_down_before_the_stages_run(checkout: Path) -> None:
    """A relative folder counts from the workspace, where the stages look; its files are the checkout's."""
    model = checkout / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"first")

    def locks(settings: str) -> dict[str, dict[str, object]]:
        root = _prepared(checkout, settings).root
        return {name: read_json(root / name) for name in workspace.WEIGHTS}

    embedded = {"kind": "embedded"}
    assert set(workspace.WEIGHTS) == {"backbone.lock.json", "rechead.lock.json"}
    assert list(locks("").values()) == [embedded, embedded]
    backbone = "backbone.source=pretrained backbone.name=model"
    first = locks(backbone)
    assert first["rechead.lock.json"] == embedded
    assert locks(backbone) == first
    (model / "model.safetensors").write_bytes(b"other")
    second = locks(backbone)
    assert second["backbone.lock.json"] != first["backbone.lock.json"]
    assert second["rechead.lock.json"] == embedded
    assert str(checkout) not in str(second)
    encoder = locks("rechead.encoder=model")
    assert encoder == {"backbone.lock.json": embedded, "rechead.lock.json": second["backbone.lock.json"]}


def test_relative_data_counts_from_the_callers_folder(checkout: Path) -> None:
    (checkout / "sub").mkdir()
    with pytest.raises(InputError) as caught:
        workspace.plan("tiny", "here", "", checkout / "sub")
    assert str(checkout / "sub" / "here") in caught.value.message()


def test_a_database_is_handed_on_and_reaches_no_file(checkout: Path) -> None:
    """A relative SQLite file counts from the caller's folder too, and is not copied into the workspace."""
    with sqlite3.connect(checkout / "shop.db") as shop:
        shop.execute("create table seen (user_id text, item_id text, timestamp integer)")
        shop.execute("insert into seen values ('u', 'i', 1700000000)")
        shop.execute("create table items (item_id text, title text)")
    settings = 'ingest.sql.interactions="select * from seen" ingest.sql.items="select * from items"'
    space = workspace.plan("tiny", "sqlite:///shop.db?timeout=77", settings, checkout)
    with _locked(space):
        workspace.prepare(space)
    assert space.data == f"sqlite:///{checkout / 'shop.db'}?timeout=77"
    assert space.params.ingest.source == "sql"
    assert space.source["tables"]["interactions"]["rows"] == 1
    assert not (space.root / "shop.db").exists()
    for path in space.root.rglob("*"):
        assert not path.is_file() or "timeout=77" not in path.read_text(errors="ignore"), path
    assert "timeout=77" not in repr(space)
