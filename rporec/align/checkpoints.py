"""Which trainer checkpoints can be trusted after a kill: only those whose marker lists every file with its size.

The trainer's checkpoints hold its own optimizer files; they live in the work folder and go when the stage is done. What
is kept (`save_policy`) is safetensors, and appears as a whole or not at all.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rporec.files import read_json, replace_folder, sync, write_json

_MARKER = "whole.json"


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


def save_policy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a policy as `save_pretrained` does (safetensors and tokenizer), in the place of what was there."""
    new = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    trained, model.config.use_cache = model.config.use_cache, True  # a trainer turns it off; what is kept serves
    model.save_pretrained(new)
    model.config.use_cache = trained
    tokenizer.save_pretrained(new)
    replace_folder(new, folder)


def _is_whole(folder: Path) -> bool:
    marker = folder / _MARKER
    if not marker.is_file():
        return False
    sizes: dict[str, int] = read_json(marker)
    return all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in sizes.items())
