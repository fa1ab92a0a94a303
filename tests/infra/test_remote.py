"""What the DVC remote lacks is owed and paid, by real pushes of a real cache."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from infra import pipeline, remote, workspace
from infra.workspace import Workspace
from rporec import config
from tests.project import ROOT, git

PIPELINE = """
stages:
  ingest:
    cmd: mkdir -p outputs/ingest && echo a > outputs/ingest/a && echo b > outputs/ingest/b
    outs: [{outputs/ingest: {persist: true}}]
  package:
    cmd: mkdir -p outputs/package && echo c > outputs/package/c
    outs: [{outputs/package: {persist: true}}]
"""


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace after its stages ran."""
    root = tmp_path / "root"
    (root / ".dvc").mkdir(parents=True)
    (root / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    (root / ".gitignore").write_text("/outputs\n/.dvc/tmp\n/.dvc/config.local\n")
    (root / "dvc.yaml").write_text(PIPELINE)
    git(root, "init", "--quiet")
    monkeypatch.chdir(root)
    params = config.load(ROOT / "params.yaml")
    found = Workspace(root, root, tmp_path / "home", None, params, {}, {})
    workspace.write_dvc_config(found)
    pipeline.reproduce(root, {})
    return found


def _there(space: Workspace) -> set[str]:
    folder = space.home / space.params.run.dvc_remote
    return {path.read_text() for path in folder.rglob("*") if path.is_file() and path.suffix != ".dir"}


def _hashes(space: Workspace, *stages: str) -> tuple[str, ...]:
    return remote.hashes_of(pipeline.lock_entries(space.root), stages)


def test_a_push_copies_what_the_lock_names_and_leaves_nothing_owed(space: Workspace) -> None:
    folder = Path.cwd()
    assert remote.push(space, "ingest")
    assert _there(space) == {"a\n", "b\n"}
    assert remote.owed_since(space.home, _hashes(space)) is None
    assert remote.push(space)
    assert _there(space) == {"a\n", "b\n", "c\n"}
    assert Path.cwd() == folder


def test_what_a_remote_could_not_take_is_owed_and_paid_by_any_later_run(
    space: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    place = space.home / space.params.run.dvc_remote
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("no folder")
    folder = Path.cwd()
    assert not remote.push(space)
    assert Path.cwd() == folder, "who pushes finds the checkout by where it stands"
    assert "owed to it since" in caplog.text
    assert remote.owed_since(space.home, _hashes(space, "package")) is not None
    other = dataclasses.replace(space, params=_with_remote(space.params, "dvc/another"))
    assert remote.pay(other), "another remote has nothing to do with it"
    place.unlink()
    shutil.rmtree(space.root / "outputs")  # the cache has it all
    assert remote.pay(space)
    assert _there(space) == {"a\n", "b\n", "c\n"}
    assert remote.owed_since(space.home, _hashes(space)) is None


def test_what_no_cache_holds_any_more_is_told_once(space: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    place = space.home / space.params.run.dvc_remote
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("no folder")
    remote.push(space)
    place.unlink()
    lost = next(one for one in _hashes(space, "package"))
    (space.home / "dvc" / "cache" / "files" / "md5" / lost[:2] / lost[2:]).unlink()
    assert remote.pay(space)
    assert "1 objects were owed to the DVC remote and are in no cache any more" in caplog.text
    assert _there(space) == {"a\n", "b\n"}


def test_a_debt_is_written_before_it_is_paid(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(remote, "_copy", killed)
    with pytest.raises(KeyboardInterrupt):
        remote.push(space)
    (debt,) = (space.home / "dvc" / "owed").glob("*.json")
    assert json.loads(debt.read_text())["hashes"] == list(_hashes(space))


def _with_remote(params: config.Params, where: str) -> config.Params:
    return params.model_copy(update={"run": params.run.model_copy(update={"dvc_remote": where})})
