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

from rporec.files import sha256_path
from tests.align import runs
from tests.align.apart import in_a_process

STEPS = {"steps": 4, "eval_every": 2, "checkpoint_every": 2}
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


def run_to_an_error(backbone: Path, work: Path, most: int | None) -> None:
    """Go on, where no file may have more than `most` bytes; exit with _NAMED at an OSError that names its file."""
    if most is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        runs.run(backbone, work, runs.small(**STEPS))
    except OSError as error:
        os._exit(_NAMED if error.filename is not None else 1)
    os._exit(0)


def fails_and_keeps(backbone: Path, work: Path, most: int | None = None) -> None:
    """See a run fail by the disk, and lose nothing of what it had."""
    good = work / "checkpoints" / "checkpoint-2"
    before = sha256_path(good)
    process = in_a_process(run_to_an_error, backbone, work, most)
    process.join(300)
    assert process.exitcode == _NAMED
    assert [path.name for path in good.parent.iterdir()] == [good.name]
    assert sha256_path(good) == before
    assert not (work / "best.new").exists()


def sizes_of(work: Path) -> tuple[int, int]:
    """Return the bytes of a checkpoint's weights and of its optimizer."""
    weights, optimizer = (
        (work / "checkpoints/checkpoint-2" / name).stat().st_size
        for name in ("model.safetensors", "optimizer.safetensors")
    )
    return weights, optimizer


def goes_on(backbone: Path, work: Path, tmp_path: Path) -> None:
    """See that the run ends as one that met no full disk."""
    wanted = runs.run(backbone, tmp_path / "undisturbed", runs.small(**STEPS))
    resumed = runs.run(backbone, work, runs.small(**STEPS))
    assert resumed.rows == wanted.rows
    assert sha256_path(resumed.folder) == sha256_path(wanted.folder)


def test_a_file_that_may_not_grow(backbone, tmp_path):
    work = tmp_path / "work"
    runs.run_until(3, backbone, work, runs.small(**STEPS))
    weights, optimizer = sizes_of(work)
    for most in (weights // 2, (weights + optimizer) // 2):  # the best cannot be written, then the optimizer cannot
        fails_and_keeps(backbone, work, most)
    goes_on(backbone, work, tmp_path)


def test_a_disk_that_fills(backbone, tmp_path, small_disk):
    work, filler = small_disk / "work", small_disk / "filler"
    runs.run_until(3, backbone, work, runs.small(**STEPS))
    weights, optimizer = sizes_of(work)
    # Room for the journal alone; for the best policy and no checkpoint; for the weights of a checkpoint, not for all.
    for room in (8 * _PAGE, weights + weights // 2, 2 * weights + optimizer // 2):
        filler.write_bytes(bytes(max(shutil.disk_usage(small_disk).free - room, 0)))
        fails_and_keeps(backbone, work)
        filler.unlink()
    goes_on(backbone, work, tmp_path)
