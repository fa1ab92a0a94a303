"""`python -m infra.housekeeping [--dry-run]`: removes files of nights that ended more than `nights.keep_days` days ago.

A night's age counts from when it was made, not from its logical date: a backfilled night of long ago is young. Removed
are its worktree, the objects that its dvc.lock names in DVC's cache and in a DVC remote that is a folder, and the
artefacts of its MLflow run. Kept is whatever a registered version, a younger night, another workspace or any other ref
of git names as well; and branches, figures, audit and ledger always. What is where: infra/leftovers.py.
"""

from __future__ import annotations

import argparse
import fcntl
import logging
import os
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from infra import leftovers, overlay, workspace, worktree
from infra.leftovers import Night
from rporec.errors import InputError
from rporec.files import write_json
from rporec.release.place import Place, locate
from steps.stage import guarded

log = logging.getLogger("rporec")
REPORT = Path("reports") / "housekeeping.json"
_DAY = 86_400.0  # seconds
_MB = 1_000_000


@dataclass(frozen=True)
class Tidied:
    """What was removed, or would be.

    Args:
        dry_run: nothing was removed.
        worktrees: dates of nights whose folder went.
        busy: dates of nights that were at work, and "cache" where one was, so that objects stayed.
        objects: files in DVC's cache and remote.
        megabytes: of these.
        runs: MLflow runs whose artefacts went.
    """

    dry_run: bool
    worktrees: list[str]
    busy: list[str]
    objects: int
    megabytes: float
    runs: list[str]


def drive(folder: Path, now: float, *, dry_run: bool) -> Tidied:
    """Tidy the checkout that holds `folder`; write reports/housekeeping.json and tell one line.

    Args:
        folder: in the checkout.
        now: Unix time from which ages count.
        dry_run: tell, remove nothing.

    Raises:
        InputError: what a registered version needs cannot be read; nothing was removed then.
    """
    checkout = worktree.find_checkout(folder)
    params = overlay.merge(checkout, os.environ.get("RPOREC_PROFILE", "") or "nightly", "", None)[1]
    place = locate(checkout, os.environ)
    versions = leftovers.versions(place)
    old = leftovers.old_nights(checkout, now - params.nights.keep_days * _DAY)
    locks = leftovers.needed(checkout, place, versions, old)
    remote = None if "://" in params.run.dvc_remote else place.home / params.run.dvc_remote
    stores = [place.home / "dvc" / "cache", *([remote] if remote is not None else [])]
    spare = leftovers.hashes(stores, leftovers.locks_of(checkout, old)) - leftovers.hashes(stores, locks)
    commits = {night.commit for night in old if night.commit}
    gone, busy = remove_folders(checkout, old, dry_run=dry_run)
    count, size = 0, 0
    with idle(checkout) as free:
        if free or dry_run:
            count, size = remove_objects(stores, spare, dry_run=dry_run)
        else:
            busy.append("cache")
    runs = remove_artefacts(place, commits, {version.run_id for version in versions}, dry_run=dry_run)
    done = Tidied(dry_run, gone, busy, count, round(size / _MB, 1), runs)
    write_json(checkout / REPORT, asdict(done))
    log.info(
        "housekeeping: %s%d night folders, %d objects (%.1f MB), artefacts of %d runs%s",
        "would remove " if dry_run else "removed ", len(gone), count, done.megabytes, len(runs),
        f"; at work and left alone: {', '.join(busy)}" if busy else "",
    )  # fmt: skip
    return done


def remove_folders(checkout: Path, old: Collection[Night], *, dry_run: bool) -> tuple[list[str], list[str]]:
    """Remove the worktrees of old nights; return the dates that went and those at work."""
    gone: list[str] = []
    busy: list[str] = []
    for night in old:
        if not night.root.is_dir():
            continue
        try:
            with workspace.locked(checkout, night.root):
                if not dry_run:
                    worktree.remove_worktree(checkout, night.root)
            gone.append(night.date)
        except InputError:
            busy.append(night.date)
    return gone, busy


@contextmanager
def idle(checkout: Path) -> Iterator[bool]:
    """Hold all workspaces that there are, so that no run puts an object to use while it is removed.

    Yields:
        False where a run is at work in one.
    """
    with ExitStack() as stack:
        free = True
        for path in sorted((checkout / "runs").rglob(".*.lock")):
            stream = stack.enter_context(path.open("a", encoding="utf-8"))
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                free = False
        yield free


def remove_objects(stores: Collection[Path], spare: Collection[str], *, dry_run: bool) -> tuple[int, int]:
    """Remove objects from folders laid out as DVC's cache; return how many, and their bytes."""
    count, size = 0, 0
    for store in stores:
        for digest in sorted(spare):
            path = leftovers.place_of(store, digest)
            if path.is_file():
                count, size = count + 1, size + path.stat().st_size
                if not dry_run:
                    path.unlink()
    return count, size


def remove_artefacts(place: Place, commits: Collection[str], kept: Collection[str], *, dry_run: bool) -> list[str]:
    """Remove the artefacts of MLflow runs of these commits, but for those behind a version; return their ids."""
    found = [run for run in leftovers.runs(place, commits) if run.run_id not in kept]
    if not dry_run:
        for run in found:
            leftovers.forget_artefacts(place, run)
    return [run.run_id for run in found]


def main() -> None:
    """Tidy from the current folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="tell, remove nothing")
    given = parser.parse_args()
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    guarded(lambda: drive(Path.cwd(), time.time(), dry_run=given.dry_run))


if __name__ == "__main__":
    main()
