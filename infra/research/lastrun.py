"""What commands share that look closer at the last run of a profile (`ablate`, `study`): find it, hold it, keep theirs.

What they make lies below work/<command>/<hash of what it hangs on> and outlives a kill.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from infra import workspace
from infra.research.material import Material
from infra.workspace import Workspace
from rporec import weights
from rporec.backbone.device import require_device
from rporec.errors import InputError
from rporec.files import sha256_path
from steps.stage import CUBLAS, guarded

log = logging.getLogger("rporec")
SEEDS = 3
NEEDED = (
    "ingest/items.parquet", "sequence/train.parquet", "sequence/valid.parquet", "sequence/test.parquet",
    "backbone/model", "backbone/neighbours.safetensors", "cot/completions.parquet",
)  # fmt: skip


def command(name: str, action: Callable[[Workspace], None]) -> None:
    """Run an action on the last run of PROFILE; bad input is one message and exit code 1.

    Args:
        name: of the command, for people.
        action: what to do.
    """
    try:
        guarded(lambda: action(_last(Path.cwd())))
    except KeyboardInterrupt:
        sys.stderr.write(f"{name}: stopped; the same command goes on from here\n")
        sys.exit(130)


def _last(folder: Path) -> Workspace:
    profile, data, settings = (os.environ.get(name, "").strip() for name in ("PROFILE", "DATA", "SET"))
    space = workspace.existing(profile, folder)
    if data or settings:
        raise InputError("this takes the last run as it is", field="DATA, SET", cure="leave them to make run")
    return space


@contextmanager
def opened(
    space: Workspace, name: str, hashed: Callable[[Workspace], str], more: tuple[str, ...] = ()
) -> Iterator[Material]:
    """Hold the workspace, check what its run left, and set torch up as a stage does.

    Args:
        space: of the run.
        name: of the command, and of its folder below work/.
        hashed: returns what names the folder: a hash of all that the results hang on.
        more: outputs that are needed beside NEEDED.

    Raises:
        InputError: an output is missing, or the completions are of other rows or another backbone.
    """
    with workspace.locked(space.checkout, space.root):
        require_device(space.params.run.device)
        _has_outputs(space, more)
        work = space.root / "work" / name / hashed(space)
        material = Material.load(space, work)
        material.check(_again(space))
        work.mkdir(parents=True, exist_ok=True)
        _tell_of_others(work)
        torch.set_num_threads(space.params.run.threads)
        torch.use_deterministic_algorithms(mode=True)
        os.environ.setdefault(*CUBLAS)
        with threadpool_limits(limits=space.params.run.threads):
            yield material


def digest_of(
    space: Workspace, more: tuple[str, ...], sections: tuple[str, ...], modules: Iterable[str]
) -> hashlib._Hash:
    """Return a hash of what results hang on, to which more may be added.

    Args:
        space: of the run.
        more: outputs beside NEEDED.
        sections: of the parameters.
        modules: code, relative to the checkout.
    """
    digest = hashlib.sha256()
    for name in (*NEEDED, *more):
        digest.update(f"{name} {sha256_path(space.root / 'outputs' / name)}\n".encode())
    for section in sections:
        digest.update(space.params.section(section).model_dump_json().encode())
    digest.update(json.dumps(weights.of_backbone(space.params.backbone, Path.cwd())).encode())
    for name in sorted(modules):
        digest.update((space.checkout / name).read_bytes())
    return digest


def asked_seeds(text: str, space: Workspace) -> list[int]:
    """Return the seeds of SEEDS, or three from run.seed on.

    Raises:
        InputError: one is no whole number of at least 0, or none is left.
    """
    words = text.replace(",", " ").split()
    if not all(word.isdecimal() for word in words):
        raise InputError(
            "a seed is not a number", field="SEEDS", value=text, rule="whole numbers, at least 0", cure='SEEDS="7 8 9"'
        )
    first = space.params.run.seed
    return list(dict.fromkeys(map(int, words))) or list(range(first, first + SEEDS))


def reports_of(space: Workspace) -> Path:
    """Return the folder of the profile's reports."""
    return space.checkout / "reports" / ("" if space.in_place else space.params.run.profile)


def _tell_of_others(work: Path) -> None:
    """Say how folders of other inputs are removed; nothing removes them, since hours of work may come of use again."""
    others = sorted(path for path in work.parent.iterdir() if path.is_dir() and path != work)
    if others:
        size = sum(file.stat().st_size for path in others for file in path.rglob("*") if file.is_file())
        log.info("%s: %d folders of other inputs or code hold %.0f MB; to remove them: rm -r %s", work.parent.name,
                 len(others), size / 1e6, " ".join(shlex.quote(str(path)) for path in others))  # fmt: skip


def _again(space: Workspace) -> str:
    profile = "" if space.in_place else f" PROFILE={space.params.run.profile}"
    return f"make run{profile} again, with the same DATA"


def _has_outputs(space: Workspace, more: tuple[str, ...]) -> None:
    for name in (*NEEDED, *more):
        if not (space.root / "outputs" / name).exists():
            raise InputError(
                "there is no finished run to look at", file=space.root / "outputs" / name, field="PROFILE",
                value=space.params.run.profile, rule="the outputs of its stages", cure=_again(space),
            )  # fmt: skip
