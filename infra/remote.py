"""What the DVC remote has still to get: a push is owed before it is tried, and caught up when the remote is back.

A remote that is away for a night must not keep a gated model from users, nor may its copy be forgotten. What is owed
lies in RPOREC_HOME as hashes, so it is paid from the shared cache by any later run, whatever became of the workspace
that made it. Not the fetching: see infra/pipeline.py.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra import pipeline
from infra.workspace import Workspace
from rporec.files import read_json, write_json

log = logging.getLogger("rporec")


@dataclass(frozen=True)
class Debt:
    """Objects that one remote has to get.

    Args:
        remote: run.dvc_remote of the run that made them.
        since: UTC date.
        hashes: as dvc.lock names files and folders.
    """

    remote: str
    since: str
    hashes: tuple[str, ...]


def push(space: Workspace, *stages: str) -> bool:
    """Copy what dvc.lock names, of these stages or of all, to the DVC remote, and all that was owed to it before.

    Returns:
        False where the remote could not be reached: it stays owed, and a warning says so.
    """
    hashes = hashes_of(pipeline.lock_entries(space.root), stages)
    debt = Debt(space.params.run.dvc_remote, dt.datetime.now(dt.UTC).date().isoformat(), hashes)
    name = hashlib.sha256(json.dumps([debt.remote, *hashes]).encode()).hexdigest()[:16]
    path = _folder(space.home) / f"{name}.json"
    if not path.exists():
        write_json(path, asdict(debt))  # before it is tried: a kill in between leaves it owed
    return pay(space)


def pay(space: Workspace) -> bool:
    """Copy all that is owed to this workspace's DVC remote; nothing is imported where nothing is owed.

    Returns:
        Whether nothing is owed to it any more.
    """
    owed = [(path, debt) for path, debt in _debts(space.home) if debt.remote == space.params.run.dvc_remote]
    if not owed:
        return True
    wanted = {value for _, debt in owed for value in debt.hashes}
    trouble = _copy(space.root, wanted)
    if trouble is not None:
        since = min(debt.since for _, debt in owed)
        log.warning(
            "the DVC remote %s does not take what is owed to it since %s (%s); the model goes on without, and the next "
            "run tries again", space.params.run.dvc_remote, since, trouble,
        )  # fmt: skip
        return False
    for path, _ in owed:
        path.unlink(missing_ok=True)
    return True


def owed_since(home: Path, hashes: Collection[str]) -> str | None:
    """Return the date since which a remote lacks any of the hashes, None where nothing of them is owed."""
    found = [debt.since for _, debt in _debts(home) if not set(hashes).isdisjoint(debt.hashes)]
    return min(found, default=None)


def hashes_of(entries: Mapping[str, Any], stages: Collection[str] = ()) -> tuple[str, ...]:
    """Return the hashes of the outputs that a dvc.lock names, of these stages or of all, sorted."""
    chosen = [entry for name, entry in entries.items() if not stages or name in stages]
    return tuple(sorted({out["md5"] for entry in chosen for out in entry.get("outs", [])}))


def _copy(root: Path, wanted: Collection[str]) -> str | None:
    """Copy objects from the cache to the default remote; return what went wrong, in words."""
    from dvc.repo import Repo
    from dvc_data.hashfile.hash_info import HashInfo

    logging.getLogger("dvc").setLevel(logging.CRITICAL)  # it would tell each file's failure with a traceback
    logging.getLogger("dvc_data").setLevel(logging.CRITICAL)
    try:
        with contextlib.chdir(root), Repo(str(root)) as repo:
            there, gone = _split(repo, [HashInfo("md5", value) for value in sorted(wanted)])
            if gone:
                log.warning("%d objects were owed to the DVC remote and are in no cache any more: left out", len(gone))
            failed = repo.cloud.push(there).failed
    except Exception as error:  # noqa: BLE001 - every kind of remote fails in its own way
        return f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return f"{len(failed)} objects could not be copied" if failed else None


def _split(repo: Any, objects: Collection[Any]) -> tuple[set[Any], set[Any]]:  # noqa: ANN401 - DVC ships no types
    """Return which objects, files of folders included, the cache holds, and which it does not."""
    from dvc_data.hashfile.tree import Tree

    cache = repo.cache.local
    there: set[Any] = set()
    gone: set[Any] = set()
    for one in objects:
        (there if cache.exists(one.value) else gone).add(one)
    for one in [one for one in there if one.isdir]:
        for _, _, member in Tree.load(cache, one):
            (there if cache.exists(member.value) else gone).add(member)
    return there, gone


def _debts(home: Path) -> Iterator[tuple[Path, Debt]]:
    for path in sorted(_folder(home).glob("*.json")):
        try:
            held = read_json(path)
        except FileNotFoundError:  # paid by another run meanwhile
            continue
        yield path, Debt(held["remote"], held["since"], tuple(held["hashes"]))


def _folder(home: Path) -> Path:
    return home / "dvc" / "owed"
