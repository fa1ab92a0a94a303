"""Real servers for benches: `bentoml serve` on free loopback ports, each a process group of its own that ends whole."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra import children, overlay
from rporec.errors import InputError
from rporec.files import write_text

NOTHING = """
import bentoml


@bentoml.service(name="nothing", traffic={"timeout": 60}, metrics={"enabled": False})
class Nothing:
    @bentoml.api(route="/nothing")
    async def nothing(self) -> dict[str, str]:
        return {}
"""
_START_SECONDS = 600.0  # a catalogue of 100,000 items, on a busy machine


@dataclass(frozen=True)
class Running:
    """A server: where it answers, and its first process."""

    address: str
    process: psutil.Process

    def memory_mb(self) -> float:
        """Return what all its processes hold that no other does [MB]."""
        held = 0
        for one in (self.process, *self.process.children(recursive=True)):
            with suppress(psutil.Error):
                held += one.memory_full_info().uss
        return held / 1e6

    def computed(self) -> float:
        """Return the processor time that all its processes took so far [s]: what others do hardly changes it."""
        taken = 0.0
        for one in (self.process, *self.process.children(recursive=True)):
            with suppress(psutil.Error):
                times = one.cpu_times()
                taken += times.user + times.system
        return taken


def lay_out(checkout: Path, folder: Path, serve: Mapping[str, object]) -> Path:
    """Copy the code that serves into a folder, with a params.yaml whose section `serve` differs so."""
    for name in ("bento", "rporec"):
        shutil.copytree(checkout / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    write_text(folder / "params.yaml", overlay.apply(checkout / "params.yaml", {"serve": dict(serve)}))
    return folder


@contextmanager
def nothing(folder: Path) -> Iterator[Running]:
    """Run a BentoML service whose one endpoint does nothing, until the block ends.

    It is asynchronous, takes no input and keeps no metrics, which is the fastest that BentoML's own routes can be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "nothing.py", NOTHING)
    with serving(folder, "nothing:Nothing", {}) as found:
        yield found


@contextmanager
def serving(folder: Path, service: str, environment: Mapping[str, str]) -> Iterator[Running]:
    """Serve a service of the code in `folder` with one worker until the block ends.

    Raises:
        InputError: it does not start.
    """
    port, log = children.free_port(), folder / "server.log"
    command = ["bentoml", "serve", service, "--host", "127.0.0.1", "--port", str(port)]
    own = {"BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True", "OMP_NUM_THREADS": "1"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RPOREC_")}
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=folder, stdout=stream, stderr=stream, start_new_session=True,
            env={**kept, **own, **environment},
        )  # fmt: skip
    found = Running(f"http://127.0.0.1:{port}", psutil.Process(process.pid))
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _ready(found.address):
            if time.monotonic() > deadline or process.poll() is not None:
                told = log.read_text(encoding="utf-8")[-2000:]
                raise InputError(f"the server did not start:\n{told}", cure="mend what it names")
            time.sleep(0.2)
        yield found
    finally:
        children.end(process)


def _ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
