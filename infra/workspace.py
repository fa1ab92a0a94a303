"""Where a run works: in place, or in a git worktree `runs/<profile>` with the merged parameters.

Plans first and touches nothing until every input is known to be good; repairs what a killed run left half made.
Not the run itself: see infra/run.py.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import psutil

from infra import last_night, overlay
from infra.worktree import copy_sources, ensure_worktree, find_checkout, git
from rporec import config, parent, weights
from rporec.data.sources import identity, place
from rporec.errors import InputError
from rporec.files import read_json, write_json, write_text
from steps.stage import home_folder

log = logging.getLogger("rporec")

# In the environment of every process of a run. The folder is for people and tests who look at processes; orphans are
# told by the token alone, since a user's own shell may have the folder set.
MARK, RUN = "RPOREC_WORKSPACE", "RPOREC_RUN"
TOKEN = secrets.token_hex(8)  # of the run that this process drives
_TASK = ("AIRFLOW_CTX_DAG_ID", "AIRFLOW_CTX_DAG_RUN_ID", "AIRFLOW_CTX_TASK_ID")  # Airflow sets them for its tasks

WEIGHTS = ("backbone.lock.json", "rechead.lock.json")  # deps of these stages in dvc.yaml


@dataclass(frozen=True)
class Workspace:
    """A planned run; nothing on disk is changed by making one.

    Args:
        checkout: the checkout that the command was given in.
        root: where the stages run; equals `checkout` for a run in place.
        home: RPOREC_HOME, where all that outlives a run lies.
        data: the place given by DATA= (absolute path or URL, which may hold a password), or None.
        params: the merged, checked parameters.
        overlay: what the profile, DATA and SET change in params.yaml; empty for a run in place.
        source: content of source.lock.json.
    """

    checkout: Path
    root: Path
    home: Path
    data: str | None = field(repr=False)
    params: config.Params
    overlay: dict[str, Any]
    source: dict[str, Any]

    @property
    def in_place(self) -> bool:
        """Whether the stages run in the checkout itself."""
        return self.root == self.checkout


def plan(profile: str, data: str, settings: str, folder: Path) -> Workspace:
    """Check all that the caller gave and return where the run would work.

    Args:
        profile: name in profiles/, or empty.
        data: place of a real data set: a path, absolute or relative to `folder`, a URL, or empty.
        settings: `a.b=c d.e=f`, or empty.
        folder: the caller's current folder.

    Raises:
        InputError: an unknown profile, key or folder, a value that breaks its rule, unreadable data.
    """
    checkout = find_checkout(folder)
    merged: dict[str, Any] = {}
    where = place.resolve(data, folder)
    if profile or data or settings:
        name = profile or "demo"
        merged, params = overlay.merge(checkout, name, settings, where)
        root = checkout / "runs" / name
    else:
        params, root = config.load(checkout / "params.yaml"), checkout
    source = identity.describe(params.ingest, where)
    return Workspace(checkout, root, home_folder(checkout), where, params, merged, source)


def existing(profile: str, folder: Path) -> Workspace:
    """Return the workspace of an earlier run of a profile as it stands.

    Raises:
        InputError: there was no such run.
    """
    checkout = find_checkout(folder)
    root = checkout / "runs" / profile if profile else checkout
    if not (root / "params.yaml").is_file():
        raise InputError("this profile has not run", file=root, field="PROFILE", value=profile, cure="make run first")
    return Workspace(checkout, root, home_folder(checkout), None, config.load(root / "params.yaml"), {}, {})


@contextmanager
def locked(checkout: Path, root: Path) -> Iterator[None]:
    """Hold the workspace `root` for this process; end what a dead run left running there.

    A worker that was killed leaves its task running, and Airflow tries that task again: the earlier try is ended.

    Raises:
        InputError: another living run holds it.
    """
    path = checkout / "runs" / ".checkout.lock" if root == checkout else root.with_name(f".{root.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as stream:
        stream.seek(0)
        if not _taken(stream):
            process = stream.read().partition(" ")[0] or "unknown"
            if not (_end_earlier_try(process) and _taken(stream)):
                raise InputError(
                    f"another run (process {process}) works in this folder",
                    file=root,
                    cure="wait until it is done, or choose another PROFILE",
                )
            stream.seek(0)
        dead = set(stream.read().split()[1:]) - {TOKEN}
        _sign(stream, TOKEN, *dead)  # the dead stay named until their processes are ended: this one may be killed too
        end_orphans(dead)
        _sign(stream, TOKEN)
        yield


def _taken(stream: TextIO) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _end_earlier_try(process: str) -> bool:
    """Kill a process when it runs the very Airflow task that this one runs; return whether it did."""
    own = tuple(os.environ.get(name, "") for name in _TASK)
    try:
        holder = psutil.Process(int(process))
        known = holder.environ()
        if not all(own) or tuple(known.get(name, "") for name in _TASK) != own:
            return False
        holder.kill()
        holder.wait(timeout=10)
    except (psutil.Error, OSError, ValueError):
        return False
    log.warning("process %s, an earlier try of this task that outlived its worker, was ended", process)
    return True


def _sign(stream: TextIO, *tokens: str) -> None:
    stream.truncate(0)
    stream.write(" ".join((str(os.getpid()), *tokens)))
    stream.flush()


def end_orphans(tokens: Collection[str]) -> list[int]:
    """Kill the processes of the dead runs named (call it only with their lock held); return their ids.

    This process and those that wait for it are spared, whatever stands in their environment.
    """
    if not tokens:
        return []
    own = psutil.Process()
    spared = {own.pid, *(above.pid for above in own.parents())}
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid not in spared and process.environ().get(RUN) in tokens:
                process.kill()
                found.append(process)
        except (psutil.Error, OSError):
            continue  # ended meanwhile, or another user's
    psutil.wait_procs(found, timeout=10)
    return [process.pid for process in found]


def prepare(space: Workspace) -> None:
    """Bring the workspace to the planned state; files that are right already are not touched."""
    if not space.in_place:
        ensure_worktree(space.checkout, space.root, git(space.checkout, "rev-parse", "HEAD").strip())
        copy_sources(space.checkout, space.root, skip=place.local(space.data))
        write_changed(space.root / "params.yaml", overlay.apply(space.checkout / "params.yaml", space.overlay))
    last_night.pin(space.root, space.home, space.params)
    write_changed(space.root / parent.NAME, "{}\n")  # nights alone go on from a champion: infra/parent.py
    settle(space)


def settle(space: Workspace) -> None:
    """Write what a workspace has of its own beside its parameters: DVC's settings and the lock files."""
    write_dvc_config(space)
    lock = space.root / "source.lock.json"
    if not lock.exists() or read_json(lock) != space.source:
        write_json(lock, space.source)
    pin_weights(space.root, space.params)


def pin_weights(root: Path, params: config.Params) -> None:
    """Write which pretrained weights the stages are to find; a lock file that fits them stays as it is.

    Args:
        root: the workspace with its files in place, since a model's folder may be one of them.
        params: its parameters.

    Raises:
        InputError: a file of the weights cannot be read.
    """
    found = (weights.of_backbone(params.backbone, root), weights.of_encoder(params.rechead, root))
    for name, one in zip(WEIGHTS, found, strict=True):
        if not (root / name).exists() or not weights.same(one, read_json(root / name)):
            write_json(root / name, one)


def write_changed(path: Path, text: str) -> None:
    """Write a text file only when its content differs, so that nothing that hangs on it is hashed again."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def write_dvc_config(space: Workspace) -> None:
    """Point DVC at the shared cache and the default remote; a user's own local settings are kept."""
    from configobj import ConfigObj

    local = space.root / ".dvc" / "config.local"
    own = local if local.exists() or space.in_place else space.checkout / ".dvc" / "config.local"
    lines = own.read_text(encoding="utf-8").splitlines() if own.exists() else []
    settings = ConfigObj(lines, list_values=False)
    remote = space.params.run.dvc_remote
    wanted = {
        "core": {"remote": "store", "site_cache_dir": str(space.home / "dvc" / "site")},
        "cache": {"dir": str(space.home / "dvc" / "cache")},
        'remote "store"': {"url": remote if "://" in remote else str(space.home / remote)},
    }
    for section, values in wanted.items():
        settings.setdefault(section, {}).update(values)
    (space.home / "dvc").mkdir(parents=True, exist_ok=True)
    write_changed(local, "\n".join(settings.write()) + "\n")


def environment(space: Workspace) -> dict[str, str]:
    """Return what the processes of a run get on top of the caller's environment.

    Where data lies is blanked, as a URL may hold a password: infra/pipeline.py hands it to the one stage that reads it.
    """
    threads = str(space.params.run.threads)
    return {
        MARK: str(space.root),
        RUN: TOKEN,
        "RPOREC_HOME": str(space.home),
        "RPOREC_DATA": "",
        "DATA": "",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": "",
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "POLARS_MAX_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
        "GX_ANALYTICS_ENABLED": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DISABLE_MLFLOW_INTEGRATION": "TRUE",  # stages leave records; TRL would import MLflow
        "BENTOML_DO_NOT_TRACK": "True",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
    }
