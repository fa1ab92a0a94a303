"""`dvc repro` of one workspace, with its failures turned into one clear message.

Uses DVC's Python interface in this process: a call of the command line would start a second interpreter. DVC keeps the
stages' state; nothing here decides what is up to date.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml

from rporec.errors import InputError
from rporec.files import write_text

log = logging.getLogger("rporec")
_LEAST_FREE = 1 << 20  # bytes: with less, what fails on disk fails for want of space
_SHARED = "shared"
_READS_DATA = "ingest"  # the one stage that is told where data lies


def reproduce(
    root: Path, env: Mapping[str, str], stage: str | None = None, data: str | None = None, *, force: bool = False
) -> None:
    """Bring the workspace's outputs up to date; the stages' own lines go to this process's stderr.

    Args:
        root: the workspace.
        env: what the stages get on top of the caller's environment.
        stage: this stage alone, or None for all of them.
        data: where data lies, a URL perhaps with a password; of the stages' processes only those of ingest see it.
        force: run the stages although they are up to date, and ask no cache for their outputs.

    Raises:
        InputError: a stage failed, a dependency is missing, or DVC's state is held by another process.
        OSError: the disk is full or not writable.
    """
    mend_locks(root)
    os.environ.update(env)
    os.chdir(root)
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    from infra.runcache import WholeOutputs

    logging.getLogger("dvc").setLevel(logging.ERROR)
    try:
        with Repo(str(root)) as repo:
            repo.stage_cache = WholeOutputs(repo)
            for target, place in _passes(stage, data):
                with _told(place):
                    repo.reproduce(targets=[target] if target else None, single_item=target is not None, force=force)
    except (DvcException, OSError, sqlite3.Error) as error:
        raise _translated(error, root) from error


def _passes(stage: str | None, data: str | None) -> list[tuple[str | None, str]]:
    """Return what DVC is asked for and what is told of the data meanwhile: its one process has one environment."""
    if data is None or stage not in (None, _READS_DATA):
        return [(stage, "")]
    return [(_READS_DATA, data)] if stage else [(_READS_DATA, data), (None, "")]


@contextmanager
def _told(place: str) -> Iterator[None]:
    os.environ["RPOREC_DATA"] = place
    try:
        yield
    finally:
        os.environ["RPOREC_DATA"] = ""


def own_cache(root: Path, shared: Path) -> None:
    """Give a worktree a DVC cache of its own, empty, and name the shared one as a place to fetch from."""
    from configobj import ConfigObj

    path = root / ".dvc" / "config.local"
    settings = ConfigObj(path.read_text(encoding="utf-8").splitlines(), list_values=False)
    settings["cache"]["dir"] = str(root / ".dvc" / "cache")
    settings[f'remote "{_SHARED}"'] = {"url": str(shared)}
    write_text(path, "\n".join(settings.write()) + "\n")


def fetch(root: Path, stages: Sequence[str]) -> None:
    """Put the outputs of stages in place, by the hashes in dvc.lock: from the default remote, else the shared cache.

    Raises:
        InputError: neither has all of them.
    """
    from dvc.repo import Repo

    os.chdir(root)  # DVC looks for a stage's name in the current folder
    with Repo(str(root)) as repo:
        for stage in stages:
            if not any(_fetched(repo, stage, remote) for remote in (None, _SHARED)):
                raise InputError(
                    f"the outputs of {stage} cannot be had by hash",
                    file=root / "dvc.lock", rule="run.dvc_remote or the DVC cache in RPOREC_HOME holds them",
                    cure="dvc push where it was made; or, with the raw source at hand, FROM=ingest (and DATA=)",
                )  # fmt: skip


def _fetched(repo: Any, stage: str, remote: str | None) -> bool:  # noqa: ANN401 - DVC ships no types
    from dvc.exceptions import DvcException

    logging.disable(logging.WARNING)  # what the first of two places lacks is no warning yet
    try:
        repo.fetch(targets=[stage], remote=remote)
        repo.checkout(targets=[stage], force=True)
    except (DvcException, OSError) as error:
        logging.disable(logging.NOTSET)
        place = "cache" if remote else "DVC remote"
        log.info("reproduce: the %s does not have %s (%s)", place, stage, _first_line(error))
        return False
    finally:
        logging.disable(logging.NOTSET)
    return True


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _translated(error: BaseException, root: Path) -> Exception:
    from dvc.stage.exceptions import StageCmdFailedError

    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    for link in chain:
        if isinstance(link, StageCmdFailedError):
            return _stage_failed(str(link))
        if isinstance(link, OSError) and link.errno != errno.ENOENT:
            return link  # a full or read-only disk has words of its own
        if isinstance(link, sqlite3.Error) and shutil.disk_usage(root).free < _LEAST_FREE:  # also "disk I/O error"
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(root))
    words = "; ".join(dict.fromkeys(str(link) for link in chain))
    return InputError(
        f"DVC stopped: {words}", file=root, cure="mend what is named above and run the same command again"
    )


def _stage_failed(words: str) -> InputError:
    """Tell how a stage ended, from DVC's `failed to run: python -m steps.<stage>, exited with <code>`."""
    found = re.search(r"steps\.(\w+), exited with (-?\d+)$", words)
    if found is None:
        return InputError(f"DVC stopped: {words}", cure="read the lines above, mend, and run the same command again")
    name, code = found[1], int(found[2])
    if code in (-9, 137):
        cure = "if nobody did it, memory ran out: close other programs and run the same command again"
        return InputError(f"stage {name} was killed", rule="signal 9", cure=cure)
    if code != 1:
        return InputError(f"stage {name} crashed", value=code, cure="read its last lines above and report them")
    return InputError(
        f"stage {name} stopped, its reason stands above; the last good outputs are untouched",
        cure="mend what is named above and run the same command again",
    )


def mend_locks(root: Path) -> None:
    """Drop what dead processes left in DVC's lock file (call it only with the workspace lock held).

    DVC does so by process id alone, which fails when the id is taken again, and stops at a half-written file.
    """
    path = root / ".dvc" / "tmp" / "rwlock"
    if not path.exists():
        return
    written = path.stat().st_mtime
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        readers = {
            name: kept for name, held in state["read"].items() if (kept := [h for h in held if _holds(h, written)])
        }
        writers = {name: held for name, held in state["write"].items() if _holds(held, written)}
    except (ValueError, KeyError, TypeError, AttributeError):
        path.unlink()
        return
    if (readers, writers) != (state["read"], state["write"]):
        write_text(path, json.dumps({"read": readers, "write": writers}))


def _holds(holder: Mapping[str, object], written: float) -> bool:
    try:
        process = psutil.Process(int(str(holder["pid"])))
        return process.create_time() <= written and bool(process.cmdline())  # one that is ending has none any more
    except psutil.Error:
        return False


def stage_names(root: Path) -> list[str]:
    """Return the stages in their order."""
    return list(yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"])


def lock_entries(root: Path) -> dict[str, object]:
    """Return what dvc.lock says of each stage, {} before the first run."""
    path = root / "dvc.lock"
    if not path.exists():
        return {}
    entries: dict[str, object] = yaml.safe_load(path.read_text(encoding="utf-8"))["stages"]
    return entries


def record_times(root: Path) -> dict[str, int]:
    """Return when each stage's record was written [ns]: a stage ran exactly when this changes."""
    return {path.stem: path.stat().st_mtime_ns for path in (root / "records").glob("*.json")}


def written_since(root: Path, before: Mapping[str, int]) -> set[str]:
    """Return the stages that left a record since `before` (of record_times) was taken."""
    return {name for name, when in record_times(root).items() if before.get(name) != when}


def keep_records(root: Path, home: Path, ran: Collection[str]) -> None:
    """Keep the records of stages that ran beside DVC's cache, and bring back those of stages that came from it.

    DVC's run cache restores the outputs of an equal run in another workspace; that run's record tells their times.
    """
    for name, entry in lock_entries(root).items():
        record = root / "records" / f"{name}.json"
        digest = hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()
        kept = home / "dvc" / "records" / name / f"{digest}.json"
        source, target = (record, kept) if name in ran else (kept, record)
        if source.exists() and not (target.exists() and target.read_bytes() == source.read_bytes()):
            write_text(target, source.read_text(encoding="utf-8"))
