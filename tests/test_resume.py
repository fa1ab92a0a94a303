"""Kill -9 in every heavy stage, then the same command: it finishes with the bytes of an undisturbed run."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from infra import workspace
from tests import project
from tests.waiting import until
from tests.worlds import PATIENT, World, fingerprint

# Seven runs of a pipeline and the first of the world: a busy machine takes its time, and speed is not what is tested.
pytestmark = [pytest.mark.platform, pytest.mark.pipeline, pytest.mark.timeout(1800)]
HEAVY = ("backbone", "cot", "rechead", "align", "evaluate")


def _stage_process(root: Path, stage: str, make: subprocess.Popen[str], seconds: float = 300) -> psutil.Process:
    """Wait until a stage runs in `root` and return its process."""

    def running() -> psutil.Process | None:
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                words = process.cmdline()
                if f"steps.{stage}" in words and process.environ().get(workspace.MARK) == str(root):
                    return process
        return None

    return until(f"stage {stage} runs", running, seconds, processes=[make], pause=0.05)


def _into_its_work(root: Path, stage: str, process: psutil.Process, seconds: float = 120) -> None:
    """Wait until a stage has kept something for a resume (or is gone)."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.is_running():
        if any(path.is_file() for path in (root / "work" / stage).rglob("*")):
            return
        time.sleep(0.02)


def test_a_run_that_was_killed_in_each_heavy_stage_ends_with_the_same_bytes(world: World, tmp_path: Path) -> None:
    clone = project.clone(tmp_path / "clone")
    root = clone / "runs" / "tiny"
    for number, stage in enumerate(HEAVY):
        make = project.start(clone, "run", "PROFILE=tiny", f"SET={PATIENT}")
        process = _stage_process(root, stage, make)
        _into_its_work(root, stage, process)
        if number % 2:
            process.kill()  # the stage alone: the driver says so and stops
            assert make.wait(60) != 0
        else:
            os.killpg(make.pid, signal.SIGKILL)  # driver and stage
            make.wait(60)
        assert not (root / "outputs" / stage).exists(), "a killed stage leaves no half-written output"
    # The last: the driver alone, which leaves the stage as an orphan.
    driver_only = project.start(clone, "run", "PROFILE=tiny", f"SET={PATIENT}")
    process = _stage_process(root, "evaluate", driver_only)
    for child in psutil.Process(driver_only.pid).children(recursive=True):
        if "infra.run" in child.cmdline():
            child.kill()
    driver_only.wait(60)
    done = project.make(clone, "run", "PROFILE=tiny", f"SET={PATIENT}")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, "the orphan was ended"
    assert fingerprint(root / "outputs") == world.prints
