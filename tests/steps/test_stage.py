"""The frame of every stage: outputs appear whole or not at all, trouble is one message."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from rporec.errors import InputError
from rporec.files import read_json, write_json
from rporec.release import records
from steps import stage
from tests.project import git

REPO = Path(__file__).parents[2]


@pytest.fixture
def root(tmp_path, monkeypatch):
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(REPO / name, tmp_path)
    monkeypatch.setenv("RPOREC_HOME", str(tmp_path / "home"))
    return tmp_path


def writes(text):
    def body(frame):
        (frame.new / "a.txt").write_text(text)
        return stage.Outcome("1 file", {"x": 1.0}, ("a.txt",))

    return body


def test_outputs_record_and_cleaned_work(root):
    stage.execute("ingest", writes("1"), root, uses_torch=False)
    assert (root / "outputs/ingest/a.txt").read_text() == "1"
    record = read_json(root / "records/ingest.json")
    assert record["outs"] == records.folder_hash(root / "outputs/ingest")
    assert record["metrics"] == {"x": 1.0}
    assert record["files"] == ["outputs/ingest/a.txt"]
    assert record["params"]["source"] == "market"
    assert list((root / "work").iterdir()) == []


@pytest.mark.parametrize("error", [InputError("bad", cure="mend"), OSError(errno.ENOSPC, "full"), KeyError("bug")])
def test_a_failed_stage_leaves_the_last_good_outputs_and_its_work(root, error):
    stage.execute("ingest", writes("1"), root, uses_torch=False)

    def fails(frame):
        (frame.new / "a.txt").write_text("half")
        (frame.work / "shard").write_text("kept")
        raise error

    with pytest.raises(type(error)):
        stage.execute("ingest", fails, root, uses_torch=False)
    assert (root / "outputs/ingest/a.txt").read_text() == "1"
    assert len(list((root / "work/ingest").glob("*/shard"))) == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (InputError("bad thing", field="f", cure="mend it"), ["bad thing", "field: f", "cure: mend it"]),
        (OSError(errno.ENOSPC, "No space left", "out.parquet"), ["disk is full", "out.parquet", "cure"]),
        (PermissionError(errno.EACCES, "denied", "outputs"), ["no permission", "outputs", "cure"]),
    ],
)
def test_trouble_of_the_users_world_is_one_message_and_exit_1(error, words, capsys):
    def fails():
        raise error

    with pytest.raises(SystemExit) as caught:
        stage.guarded(fails)
    assert caught.value.code == 1
    shown = capsys.readouterr().err
    assert all(word in shown for word in words)
    assert "Traceback" not in shown


def test_a_bug_keeps_its_traceback():
    def fails():
        raise KeyError("bug")

    with pytest.raises(KeyError):
        stage.guarded(fails)


def test_work_folder_changes_with_the_stages_own_params_only(root):
    def where(frame):
        seen.append(frame.work.name)
        return stage.Outcome("nothing")

    seen: list[str] = []
    text = (root / "params.yaml").read_text()
    for change in (("steps: 8 ", "steps: 8 "), ("steps: 8 ", "steps: 9 "), ("max_k: 100", "max_k: 99")):
        (root / "params.yaml").write_text(text.replace(*change))
        stage.execute("align", where, root, uses_torch=False)
    assert seen[0] != seen[1]
    assert seen[0] == seen[2]


def test_work_folder_changes_with_the_weights_that_the_stage_is_planned_for(root):
    def where(frame):
        seen.append(frame.work.name)
        return stage.Outcome("nothing")

    seen: list[str] = []
    for name, commit in (("backbone", "a"), ("backbone", "b"), ("rechead", "b")):
        write_json(root / f"{name}.lock.json", {"kind": "name", "name": "owner/model", "commit": commit})
        stage.execute("backbone", where, root, uses_torch=False)
    assert seen[0] != seen[1]
    assert seen[1] == seen[2], "another stage's weights"


SECRET = "postgresql://reader:hush@db/shop"


def test_only_ingest_is_told_where_data_lies(root, monkeypatch):
    seen = {}

    def tells(frame):
        seen[frame.name] = (frame.data, os.environ.get("RPOREC_DATA"))
        return stage.Outcome("nothing")

    monkeypatch.chdir(root)
    for name in ("ingest", "sequence"):
        monkeypatch.setenv("RPOREC_DATA", SECRET)
        stage.run_stage(name, tells, uses_torch=False)
    assert seen == {"ingest": (SECRET, SECRET), "sequence": (None, None)}


def test_only_package_is_given_the_key_that_signs(root, monkeypatch):
    seen = {}

    def tells(frame):
        seen[frame.name] = os.environ.get("RPOREC_SIGNING_KEY")
        return stage.Outcome("nothing")

    monkeypatch.chdir(root)
    for name in ("ingest", "backbone", "package"):
        monkeypatch.setenv("RPOREC_SIGNING_KEY", SECRET)
        stage.run_stage(name, tells, uses_torch=False)
    assert seen == {"ingest": None, "backbone": None, "package": SECRET}


def test_without_a_home_it_is_the_main_checkouts_from_every_worktree(tmp_path, monkeypatch):
    checkout, worktree = tmp_path / "checkout", tmp_path / "checkout/runs/tiny"
    checkout.mkdir()
    git(checkout, "init", "--quiet")
    git(checkout, "commit", "--quiet", "--allow-empty", "--message", "first")
    git(checkout, "worktree", "add", "--quiet", "--detach", str(worktree))
    monkeypatch.chdir(tmp_path)
    assert stage.home_folder(checkout) == stage.home_folder(worktree) == checkout / "var"
    assert stage.home_folder(tmp_path) == tmp_path / "var", "no repository"
    monkeypatch.setenv("RPOREC_HOME", "~/home")
    assert stage.home_folder(worktree) == Path("~/home").expanduser()
