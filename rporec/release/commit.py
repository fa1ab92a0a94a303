"""Which code runs: the commit of a workspace, for the registry's tags, the run's key and the summary alike."""

from __future__ import annotations

import subprocess
from pathlib import Path

# What a run writes among the tracked files; in a worktree of its own the merged params.yaml too.
OWN = frozenset(
    {
        "dvc.lock",
        "source.lock.json",
        "backbone.lock.json",
        "rechead.lock.json",
        "last_night.json",
        "parent.json",
        "params.yaml",
    }
)


def git_commit(root: Path) -> str:
    """Return the commit of the code in `root`, with `-dirty` when its files differ from it; "" outside a repository.

    In a checkout params.yaml counts as code; in a worktree of a run it is the run's own file.
    """
    head = _git(root, "rev-parse", "HEAD")
    if head is None:
        return ""
    own = OWN if (root / ".git").is_file() else OWN - {"params.yaml"}
    # -z: names as they are, one an entry; without renames an entry is one name.
    changed = _git(root, "status", "--porcelain", "--no-renames", "-z")
    clean = changed is not None and {entry[3:] for entry in changed.split("\0") if entry} <= own
    return head.strip() + ("" if clean else "-dirty")


def _git(root: Path, *arguments: str) -> str | None:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None
