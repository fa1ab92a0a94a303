"""Git worktrees that hold the checkout's files as they stand, and their repair after a kill.

Nothing here knows of runs or parameters; see infra/workspace.py.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from rporec.errors import InputError
from rporec.files import atomic_file
from rporec.release.commit import OWN


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder and return what it printed.

    Raises:
        InputError: git refused; its own words are in the message.
    """
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(
            f"git {arguments[0]} failed: {done.stderr.strip() or done.returncode}",
            file=folder,
            cure="run from a git clone of the project with at least one commit, and mend what git says",
        )
    return done.stdout


def find_checkout(folder: Path) -> Path:
    """Return the top of the checkout that holds `folder`."""
    return Path(git(folder, "rev-parse", "--show-toplevel").strip()).resolve()


def ensure_worktree(checkout: Path, root: Path, commit: str, branch: str = "") -> None:
    """Make or mend a git worktree at `root` on `commit`, detached or on `branch`; files in it are left alone."""
    if not _is_worktree(root):
        fresh = root.with_name(f".new-{root.name}")
        _forget(checkout, fresh)
        root.mkdir(parents=True, exist_ok=True)
        git(checkout, "worktree", "add", "--detach", "--no-checkout", str(fresh), commit)
        (fresh / ".git").replace(root / ".git")
        shutil.rmtree(fresh)
        git(checkout, "worktree", "repair", str(root))
    drop_locks(root, branch)
    if branch:
        git(root, "update-ref", f"refs/heads/{branch}", commit)
        git(root, "symbolic-ref", "HEAD", f"refs/heads/{branch}")
    else:
        git(root, "update-ref", "--no-deref", "HEAD", commit)
    git(root, "read-tree", commit)


def drop_locks(root: Path, branch: str = "") -> None:
    """Remove what a killed git left locked in a worktree and its branch (call it with the workspace lock held)."""
    admin = Path(git(root, "rev-parse", "--absolute-git-dir").strip())
    shared = Path(git(root, "rev-parse", "--path-format=absolute", "--git-common-dir").strip())
    own = [admin / "index.lock", admin / "HEAD.lock"]
    for lock in [*own, shared / "refs" / "heads" / f"{branch}.lock"] if branch else own:
        lock.unlink(missing_ok=True)


def fresh_worktree(checkout: Path, root: Path, commit: str) -> None:
    """Make a git worktree at `root` on `commit` with nothing but its files; what was there before is removed."""
    _forget(checkout, root)
    root.parent.mkdir(parents=True, exist_ok=True)
    git(checkout, "worktree", "add", "--force", "--detach", str(root), commit)


def remove_worktree(checkout: Path, root: Path) -> None:
    """Remove a git worktree with all its files; its branch stays."""
    _forget(checkout, root)


def _is_worktree(root: Path) -> bool:
    if not (root / ".git").is_file():
        return False
    done = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "--show-toplevel"], capture_output=True, text=True, check=False
    )
    return done.returncode == 0 and Path(done.stdout.strip()).resolve() == root.resolve()


def _forget(checkout: Path, folder: Path) -> None:
    """Remove a half-made worktree, whatever state a kill left it in."""
    shutil.rmtree(folder, ignore_errors=True)
    listed = git(checkout, "worktree", "list", "--porcelain").splitlines()
    if f"worktree {folder}" in listed:
        git(checkout, "worktree", "remove", "--force", "--force", str(folder))
    git(checkout, "worktree", "prune")


def copy_sources(checkout: Path, root: Path, skip: Path | None) -> None:
    """Make the workspace's files those of the checkout as they stand: edits, new files and deletions included.

    Args:
        checkout: where the files are taken from.
        root: where they go.
        skip: a file or folder that is left where it is: data of this machine.
    """
    wanted = _files(checkout, skip)
    for name in sorted(wanted):
        source, target = checkout / name, root / name
        if _same(source, target):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(target) as temporary:
            shutil.copy2(source, temporary)
    # Only now: without .gitignore in place the outputs would count as files that the checkout no longer has.
    for name in sorted(_files(root, None) - wanted):
        (root / name).unlink(missing_ok=True)


def _files(folder: Path, skip: Path | None) -> set[str]:
    """Names of tracked and of new, not ignored files that exist, without what a workspace has of its own."""
    listed = git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    names = {name for name in listed if name and name not in OWN and (folder / name).is_file()}
    if skip is not None:
        names = {name for name in names if not (folder / name).is_relative_to(skip)}
    return names


def _same(source: Path, target: Path) -> bool:
    if not target.is_file() or source.stat().st_mode != target.stat().st_mode:
        return False
    return source.stat().st_size == target.stat().st_size and source.read_bytes() == target.read_bytes()
