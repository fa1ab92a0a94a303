"""Whole runs of profile tiny, made once and shared by the test processes; and data folders to run on."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from filelock import FileLock

from tests import project

# The machine that tests is busy: the service gate may not fail by its clock. And 567 users cannot tell .005 from 0:
# what a market so small says of reasoning is chance, and differs between machines.
PATIENT = "gate.max_p95_ms=60000 gate.reasoning_margin=0.05 gate.alignment_margin=0.05"
MARKUP = (".html", ".css", ".js", ".png", ".svg", ".ico")  # outside the promise of equal bytes, as are timings


@dataclass(frozen=True)
class World:
    """A clone after one undisturbed `make run PROFILE=tiny`, what that printed, and the hashes of its outputs."""

    clone: Path
    printed: str
    prints: dict[str, str]

    @property
    def root(self) -> Path:
        """The profile's workspace."""
        return self.clone / "runs" / "tiny"

    def summary(self) -> dict[str, Any]:
        """The last summary."""
        return json.loads((self.clone / "reports" / "summary.json").read_text())


def shared_world(base: Path) -> World:
    """Return the world of this test session; the first process that asks makes it, others wait."""
    clone, printed, prints = base / "world", base / "world.txt", base / "world.json"
    with FileLock(base / "world.lock"):
        if not printed.exists():
            shutil.rmtree(clone, ignore_errors=True)
            done = project.make(project.clone(clone), "run", "PROFILE=tiny", f"SET={PATIENT}", timeout=1800)
            assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
            prints.write_text(json.dumps(fingerprint(clone / "runs" / "tiny" / "outputs")))
            printed.write_text(done.stdout + done.stderr)
    return World(clone, printed.read_text(), json.loads(prints.read_text()))


@contextmanager
def only_me(base: Path) -> Iterator[None]:
    """Hold the world alone: for tests that run something in it."""
    with FileLock(base / "world.use"):
        yield


def fingerprint(outputs: Path) -> dict[str, str]:
    """Return the hash of every file that is promised to repeat byte for byte."""
    return {
        path.relative_to(outputs).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(outputs.rglob("*"))
        if path.is_file() and path.suffix not in MARKUP and "/docs/" not in path.as_posix()
    }


def events_folder(world: World, target: Path) -> tuple[Path, pl.DataFrame]:
    """Write the world's tables as a data folder of time-stamped events; return it and the interactions."""
    target.mkdir(parents=True)
    source = world.root / "outputs" / "ingest"
    events = pl.read_parquet(source / "interactions.parquet").select("user_id", "item_id", "timestamp")
    events.write_parquet(target / "interactions.parquet")
    shutil.copyfile(source / "items.parquet", target / "items.parquet")
    return target, events


def midnight(date: str) -> int:
    """Return the second, UTC, at which a date begins."""
    return int(dt.datetime.combine(dt.date.fromisoformat(date), dt.time(tzinfo=dt.UTC)).timestamp())


def is_root() -> bool:
    """Whether file permissions do not bind this process."""
    return os.geteuid() == 0
