"""A disk that fills while a policy is trained: the error names the place, and the last good checkpoint survives."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rporec.align.run import Trained
from rporec.files import sha256_path
from tests.align import runs
from tests.align.apart import in_a_process

_PAGE = 4096
_NAMED = 101


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a mounted file system of 16 MB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    tried = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", place], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        pytest.skip(f"a file system cannot be mounted here: {tried.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)  # weights that were read are mapped still


def goes_on(backbone: Path, work: Path, most: int | None) -> None:
    """Go on, where no file may have more than `most` bytes; exit with _NAMED at an OSError that names its file."""
    if most is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        runs.run(backbone, work, runs.small(**runs.CHECKPOINTED))
    except OSError as error:
        os._exit(_NAMED if error.filename is not None else 1)
    os._exit(0)


def exit_code(backbone: Path, work: Path, most: int | None = None) -> int | None:
    """Return how a process ended that went on with the run."""
    process = in_a_process(goes_on, backbone, work, most)
    process.join(300)
    return process.exitcode


def stopped(backbone: Path, work: Path) -> None:
    """Stop a run behind its first checkpoint."""
    runs.run_until(3, backbone, work, runs.small(**runs.CHECKPOINTED))


def kept(work: Path) -> dict[str, str]:
    """Return the hash of each checkpoint, and of a best policy that was begun."""
    return {path.name: sha256_path(path) for path in [*(work / "checkpoints").iterdir(), *work.glob("best.new")]}


def sizes_of(work: Path) -> tuple[int, int]:
    """Return the bytes of a checkpoint's weights and of its optimizer."""
    weights, optimizer = (
        (work / "checkpoints/checkpoint-2" / name).stat().st_size
        for name in ("model.safetensors", "optimizer.safetensors")
    )
    return weights, optimizer


def same(backbone: Path, work: Path, wanted: Trained) -> bool:
    """Whether the run, when it goes on, ends as the one that met no full disk."""
    resumed = runs.run(backbone, work, runs.small(**runs.CHECKPOINTED))
    return resumed.rows == wanted.rows and sha256_path(resumed.folder) == sha256_path(wanted.folder)


def test_a_file_that_may_not_grow(backbone, checkpointed, tmp_path):
    work = tmp_path / "work"
    stopped(backbone, work)
    before, (weights, optimizer) = kept(work), sizes_of(work)
    assert list(before) == ["checkpoint-2"]
    for most in (weights // 2, (weights + optimizer) // 2):  # the best cannot be written, then the optimizer cannot
        assert exit_code(backbone, work, most) == _NAMED
        assert kept(work) == before
    assert same(backbone, work, checkpointed)


def test_a_disk_that_fills(backbone, checkpointed, small_disk):
    work, filler = small_disk / "work", small_disk / "filler"
    stopped(backbone, work)
    before, (weights, optimizer) = kept(work), sizes_of(work)
    assert list(before) == ["checkpoint-2"]
    # Room for the journal alone; for the best policy and no checkpoint; for the weights of a checkpoint, not for all.
    for room in (8 * _PAGE, weights + weights // 2, 2 * weights + optimizer // 2):
        filler.write_bytes(bytes(max(shutil.disk_usage(small_disk).free - room, 0)))
        assert exit_code(backbone, work) == _NAMED
        assert kept(work) == before
        filler.unlink()
    assert same(backbone, work, checkpointed)
