"""Which work of a killed run can be gone on with: this very run's, from a checkpoint that is whole.

A checkpoint counts when its marker lists every file with its size; what was made with other parameters, another
backbone or Rechead is refused. Checkpoints go when the run ends. What is kept (`save_policy`) is safetensors, and
appears as a whole or not at all. Not here: what a checkpoint holds (`rporec.align.plain`).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rporec.errors import InputError
from rporec.files import read_json, replace_folder, sync, write_json

_MARKER, _RUN, _DONE = "whole.json", "run.json", "done.json"
_OS_ERROR = re.compile(r"os error (\d+)")


def claim(work: Path, run: Mapping[str, Any]) -> None:
    """Write down whose work this folder holds, or check it.

    Args:
        work: of one run.
        run: what the run is made of, JSON values by name: parameters, hashes.

    Raises:
        InputError: the folder holds another run's work.
    """
    path, told = work / _RUN, _flatten(run)
    if not path.is_file() and not (work / "journal").exists():
        write_json(path, told)
        return
    before: dict[str, Any] = read_json(path) if path.is_file() else {}
    other = [name for name in sorted(before.keys() | told.keys()) if before.get(name) != told.get(name)]
    if other:
        raise InputError(
            "the checkpoints are of a run with other parameters or inputs", file=work, field=", ".join(other[:5]),
            value=", ".join(str(before.get(name)) for name in other[:5]),
            rule=", ".join(str(told.get(name)) for name in other[:5]),
            cure="restore what is named above, or remove the folder to begin anew",
        )  # fmt: skip


def finish(work: Path) -> None:
    """Mark a run as ended and remove its checkpoints, which nothing needs any more."""
    write_json(work / _DONE, {})
    drop(work / "checkpoints")


def is_finished(work: Path) -> bool:
    """Return whether `finish` was called; what a kill left of the checkpoints goes."""
    if not (work / _DONE).is_file():
        return False
    drop(work / "checkpoints")
    return True


def drop(folder: Path) -> None:
    """Remove a folder, if there is one."""
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn what safetensors says of a full disk into the OSError that it was."""
    try:
        yield
    except SafetensorError as error:
        code = _OS_ERROR.search(str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(folder)) from error


def mark_whole(folder: Path) -> None:
    """Flush a checkpoint to disk and write its marker, last of all."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    for file in files:
        sync(file)
    write_json(folder / _MARKER, {p.relative_to(folder).as_posix(): p.stat().st_size for p in files})


def newest_whole(folder: Path) -> tuple[int, Path] | None:
    """Return step and folder of the newest whole checkpoint; half-written ones are removed.

    Args:
        folder: holds `checkpoint-<step>` folders, or is absent.
    """
    found: list[tuple[int, Path]] = []
    for one in sorted(folder.glob("checkpoint-*")):
        if _is_whole(one):
            found.append((int(one.name.removeprefix("checkpoint-")), one))
        else:
            shutil.rmtree(one)
    return max(found, default=None)


def save_policy(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, weights: dict[str, Any] | None
) -> None:
    """Write a policy as `save_pretrained` does (safetensors and tokenizer), in the place of what was there.

    Args:
        model: a plain model.
        tokenizer: its own.
        folder: the policy's.
        weights: gathered from all processes, None where the model holds them.
    """
    new = folder.with_name(f"{folder.name}.new")
    drop(new)
    trained, model.config.use_cache = model.config.use_cache, True  # a trainer turns it off; what is kept serves
    try:
        with disk_errors(folder):
            model.save_pretrained(new, state_dict=weights)
            tokenizer.save_pretrained(new)
    except OSError:
        drop(new)
        raise
    finally:
        model.config.use_cache = trained
    replace_folder(new, folder)


def _is_whole(folder: Path) -> bool:
    marker = folder / _MARKER
    if not marker.is_file():
        return False
    sizes: dict[str, int] = read_json(marker)
    return all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in sizes.items())


def _flatten(run: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return nested values under dotted names."""
    found: dict[str, Any] = {}
    for name, value in run.items():
        found |= _flatten(value, f"{above}{name}.") if isinstance(value, Mapping) else {f"{above}{name}": value}
    return found
