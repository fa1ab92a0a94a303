"""Clones of the working tree for tests that run real commands: never the checkout itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
IDENTITY = {
    "GIT_AUTHOR_NAME": "tests", "GIT_AUTHOR_EMAIL": "tests@localhost",
    "GIT_COMMITTER_NAME": "tests", "GIT_COMMITTER_EMAIL": "tests@localhost",
    "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull,
}  # fmt: skip
_SETTINGS = (
    "RPOREC_",
    "MLFLOW_TRACKING_URI",
    "AIRFLOW",
    "DATABASE_URL",
    "REDIS_URL",
    "PROFILE",
    "DATA",
    "SET",
    "ARMS",
    "SEEDS",
    "REASON",
    "AGAIN",
    "VERSION",
    "FROM",
    "MAKE",
    "PYTEST",
    "COV_",
    "PYTHONPATH",
)


def git(folder: Path, *arguments: str) -> str:
    """Run git with an identity of its own."""
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **IDENTITY}).stdout


def clone(target: Path) -> Path:
    """Copy the working tree as it stands into a new repository with one commit."""
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in listed:
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    git(target, "init", "--quiet", "--initial-branch=main")
    git(target, "add", "--all")
    git(target, "commit", "--quiet", "--message", "as it stands")
    return target


def commit_settings(folder: Path, settings: Mapping[str, str]) -> Path:
    """Commit other values of some keys of params.yaml in a clone and return it: a night runs what is committed.

    Args:
        folder: the clone; what else differs there is committed too.
        settings: the values as params.yaml shows them, by a key that stands once below the sections' names.
    """
    params = folder / "params.yaml"
    text = params.read_text()
    for key, value in settings.items():
        text, found = re.subn(rf"^  {key}: [^#\n]+", f"  {key}: {value} ", text, flags=re.MULTILINE)
        assert found == 1, key
    params.write_text(text)
    git(folder, "commit", "--quiet", "--all", "--message", "settings of the test")
    return folder


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a clean environment for a command in a clone; it shares this virtual environment."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_SETTINGS) and key != "TO"}
    threads = {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    return {**kept, **IDENTITY, **threads, "VENV": sys.prefix, "NO_COLOR": "1", **(extra or {})}


def bench(name: str, *words: str, settings: str) -> list[dict[str, Any]]:
    """Run `python -m infra.bench.<name>` on one thread and return the lines that it printed.

    Args:
        name: of the module.
        words: its own arguments.
        settings: values of a toy, as SET of make run.
    """
    done = subprocess.run(
        [sys.executable, "-m", f"infra.bench.{name}", *words, "--threads", "1", "--set", settings],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=600, check=True,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


def make(folder: Path, *words: str, timeout: float = 600, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run `make` in a clone and return what it did; `extra` are environment variables."""
    return subprocess.run(
        ["make", *words],
        cwd=folder, env=environment(extra), capture_output=True, text=True, timeout=timeout, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def start(folder: Path, *words: str, **extra: str) -> subprocess.Popen[str]:
    """Start `make` in a clone in its own process group, output to make.log."""
    with (folder / ".git" / "make.log").open("a") as stream:
        return subprocess.Popen(
            ["make", *words],
            cwd=folder, env=environment(extra), stdout=stream, stderr=stream, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
