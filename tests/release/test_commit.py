"""The commit that tags carry: `-dirty` exactly when other code runs than the commit holds."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from infra import last_night, workspace, worktree
from rporec import parent
from rporec.release import commit


def _git(folder: Path, *arguments: str) -> str:
    names = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    done = subprocess.run(["git", "-C", str(folder), *names, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("code.py", "params.yaml", "dvc.lock"):
        (folder / name).write_text("1\n")
    (folder / ".gitignore").write_text("/outputs\n")
    _git(folder, "init", "-q")
    _git(folder, "add", "-A")
    _git(folder, "commit", "-qm", "first")
    return folder


def test_a_clean_checkout_is_its_commit(checkout: Path) -> None:
    (checkout / "outputs").mkdir()
    (checkout / "outputs/x").touch()
    (checkout / "dvc.lock").write_text("2\n")
    (checkout / "source.lock.json").write_text("{}")
    assert commit.git_commit(checkout) == _git(checkout, "rev-parse", "HEAD")


@pytest.mark.parametrize("name", ["code.py", "params.yaml", "new file é.py"])
def test_other_files_than_the_commits_are_told(checkout: Path, name: str) -> None:
    (checkout / name).write_text("2\n")
    assert commit.git_commit(checkout) == f"{_git(checkout, 'rev-parse', 'HEAD')}-dirty"


def test_a_removed_or_renamed_file_is_told(checkout: Path) -> None:
    _git(checkout, "mv", "code.py", "other.py")
    assert commit.git_commit(checkout).endswith("-dirty")


def test_in_a_worktree_of_a_run_the_merged_params_are_its_own(checkout: Path) -> None:
    root = checkout / "outputs/runs/tiny"
    _git(checkout, "worktree", "add", "-q", "--detach", str(root))
    (root / "params.yaml").write_text("merged\n")
    assert commit.git_commit(root) == _git(checkout, "rev-parse", "HEAD")
    (root / "code.py").write_text("2\n")
    assert commit.git_commit(root).endswith("-dirty")


def test_outside_a_repository_there_is_none(tmp_path: Path) -> None:
    assert commit.git_commit(tmp_path) == ""


def test_a_workspace_has_the_same_files_of_its_own_everywhere() -> None:
    assert commit.OWN == worktree.OWN
    named = {*workspace.WEIGHTS, last_night.NAME, parent.NAME}
    assert named | {"dvc.lock", "source.lock.json", "params.yaml"} == commit.OWN
