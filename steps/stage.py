"""The frame of every stage: params, seed, threads, atomic outputs, record, closing line.

A stage's own file holds only what is particular to it. Nothing here knows what a stage does.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import random
import resource
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml
from threadpoolctl import threadpool_limits

from rporec import config, home
from rporec.errors import InputError
from rporec.files import recover_folder, replace_folder, sha256_path, write_json
from rporec.release import records

log = logging.getLogger("rporec")
# What CUDA's matrix products want where every run must give the same bits; read when the first one is computed.
CUBLAS = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
# The one stage that may see a secret: RPOREC_DATA may be a database's URL with its password.
_SECRETS = {"RPOREC_DATA": "ingest", "RPOREC_SIGNING_KEY": "package"}
_READS_DATA = _SECRETS["RPOREC_DATA"]
_DISK_CURES = {
    errno.ENOSPC: (
        "the disk is full",
        "free some space (old runs: runs/, var/dvc/cache) and run the same command again",
    ),
    errno.EDQUOT: ("the disk quota is used up", "free some space and run the same command again"),
    errno.EACCES: ("no permission to write", "give this user write permission on the folder named above"),
    errno.EPERM: ("no permission to write", "give this user write permission on the folder named above"),
    errno.EROFS: ("the file system is read-only", "choose a writable place (RPOREC_HOME, another checkout)"),
}


@dataclass(frozen=True)
class Stage:
    """What a stage's body may touch.

    Args:
        name: the stage's one word.
        params: all parameters.
        root: workspace root; outputs/ of earlier stages lie below it.
        new: fresh folder that becomes outputs/<name> when the body returns.
        work: folder for shards and checkpoints, named by deps and params, kept over a kill, removed on success.
        home: RPOREC_HOME, where all that outlives a run lies.
        data: the place given by DATA= (absolute path or URL, which may hold a password); None in all stages but ingest.
    """

    name: str
    params: config.Params
    root: Path
    new: Path
    work: Path
    home: Path
    data: str | None = field(repr=False)

    def inputs(self, path: str) -> Path:
        """Return the path of an earlier stage's output, for instance `sequence/train.parquet`."""
        return self.root / "outputs" / path

    @property
    def vectors(self) -> Path:
        """Where a pretrained text encoder's vectors are kept."""
        return self.home / "vectors"


@dataclass(frozen=True)
class Outcome:
    """What a stage says when it is done.

    Args:
        closing: what was made and how many, one line.
        metrics: numbers for the record.
        files: small files below outputs/<name>, relative to it, that the recorder keeps as artefacts.
    """

    closing: str
    metrics: dict[str, float] = field(default_factory=dict)
    files: tuple[str, ...] = ()


Body = Callable[[Stage], Outcome]


def run_stage(name: str, body: Body, *, uses_torch: bool = True) -> None:
    """Run one stage in the current folder; exit 1 with one readable message on bad input or a full disk."""
    for secret, reader in _SECRETS.items():
        if name != reader:
            os.environ.pop(secret, None)  # neither a library nor a child of this process needs it
    guarded(lambda: execute(name, body, Path.cwd(), uses_torch=uses_torch))


def guarded(action: Callable[[], object]) -> None:
    """Run an action; turn bad input and disk trouble into one message and exit code 1."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    for chatty in ("httpx", "httpx2", "alembic", "great_expectations", "matplotlib", "mlflow.store.db.utils"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        action()
    except InputError as error:
        sys.stderr.write(f"{error.message()}\n")
        raise SystemExit(1) from None
    except OSError as error:
        if error.errno not in _DISK_CURES:
            raise
        problem, cure = _DISK_CURES[error.errno]
        sys.stderr.write(InputError(problem, file=error.filename, rule=error.strerror, cure=cure).message() + "\n")
        raise SystemExit(1) from None


def execute(name: str, body: Body, root: Path, *, uses_torch: bool = True) -> Outcome:
    """Run one stage below `root`: outputs appear as a whole or not at all, and a record is left in records/."""
    started = time.monotonic()
    params = config.load(root / "params.yaml")
    target, new, done = root / "outputs" / name, root / "work" / f"{name}.new", root / "work" / f"{name}.done"
    recover_folder(target)
    for leftover in (new, done):
        shutil.rmtree(leftover, ignore_errors=True)
    new.mkdir(parents=True)
    stage = _open(name, params, root)
    stage.work.mkdir(parents=True, exist_ok=True)
    _seed(params.run, uses_torch=uses_torch)
    with threadpool_limits(limits=params.run.threads):
        outcome = body(stage)
    replace_folder(new, target)
    (root / "work" / name).rename(done)  # a kill while it is removed must not leave half a checkpoint to go on from
    shutil.rmtree(done)
    seconds = time.monotonic() - started
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    _record(stage, outcome, seconds, peak_mb)
    log.info("%s: %s (%.1f s, %.0f MB)", name, outcome.closing, seconds, peak_mb)
    return outcome


def assist(name: str, body: Callable[[Stage], object], root: Path) -> None:
    """Run a body in a process that helps a stage that runs elsewhere: same work folder and seeds, no outputs."""
    stage = _open(name, config.load(root / "params.yaml"), root)
    _seed(stage.params.run, uses_torch=True)
    with threadpool_limits(limits=stage.params.run.threads):
        body(stage)


def _open(name: str, params: config.Params, root: Path) -> Stage:
    work = root / "work" / name / _state_hash(name, params, root)
    data = os.environ.get("RPOREC_DATA") or None if name == _READS_DATA else None
    return Stage(name, params, root, root / "work" / f"{name}.new", work, home_folder(root), data)


def home_folder(root: Path) -> Path:
    """Return RPOREC_HOME of this process's environment, see `rporec.home`."""
    return home.home_folder(root, os.environ)


def _seed(run: config.RunParams, *, uses_torch: bool) -> None:
    random.seed(run.seed)
    np.random.seed(run.seed)  # for libraries that draw from the global state
    if uses_torch:
        import torch

        torch.manual_seed(run.seed)
        torch.set_num_threads(run.threads)
        torch.use_deterministic_algorithms(mode=True)
        os.environ.setdefault(*CUBLAS)


def _state_hash(name: str, params: config.Params, root: Path) -> str:
    """Hash what DVC hashes for this stage (deps and params), so that a checkpoint is only used for the same work."""
    stage = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"][name]
    digest = hashlib.sha256()
    for dep in stage.get("deps", []):
        path = root / dep
        digest.update(f"{dep} {sha256_path(path) if path.exists() else 'absent'}\n".encode())
    for key in stage.get("params", []):
        section, _, leaf = key.partition(".")
        value = params.section(section).model_dump_json()
        digest.update(f"{key} {value if not leaf else yaml.safe_load(value)[leaf]}\n".encode())
    return digest.hexdigest()[:16]


def _record(stage: Stage, outcome: Outcome, seconds: float, peak_mb: float) -> None:
    write_json(
        stage.root / "records" / f"{stage.name}.json",
        {
            "stage": stage.name,
            "params": stage.params.section(stage.name).model_dump(mode="json"),
            "metrics": outcome.metrics,
            "files": [f"outputs/{stage.name}/{file}" for file in outcome.files],
            "closing": outcome.closing,
            "seconds": round(seconds, 2),
            "peak_mb": round(peak_mb, 1),
            records.OUTS: records.folder_hash(stage.root / "outputs" / stage.name),
        },
    )
