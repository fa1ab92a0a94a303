"""One platform with a champion and a service that is asked all the time: the fault tests share it, night by night."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rporec.release.lookup import Version
from tests.bento.serving import ROOMY, lay_out
from tests.faults.clock import HostClock, host_clock
from tests.faults.nights import PROMOTE, Nights
from tests.faults.platform import Platform, database
from tests.faults.shop import Deliveries, checkout, night
from tests.faults.told import Table
from tests.faults.watch import Watch
from tests.faults.whole import MODEL, Whole

DISK = "1g"  # of the disk that can be filled


@dataclass(frozen=True)
class Night:
    """A night that was asked for: its date, the name of its run, and the promotions that there were before."""

    date: str
    run: str
    before: list[str]


@dataclass
class World:
    """What a fault test works with.

    Args:
        platform, nights, deliveries, watch, whole, table: see their classes.
        disk: mount point of a small disk under checkout and RPOREC_HOME; None = this user may mount none.
        clock: what the database, Airflow, MLflow, the service and all that they start take the time from.
    """

    platform: Platform
    nights: Nights
    deliveries: Deliveries
    watch: Watch
    whole: Whole
    table: Table
    disk: Path | None
    clock: HostClock
    number: int = 0
    tonight: Night | None = None

    def night(self, *, before: str) -> Night:
        """Return the night under way if the stage named is still to come, else end it well and begin the next one."""
        if self.tonight is None or not self._to_come(self.tonight, before):
            self.dawn()
            self.number += 1
            date, promotions = night(self.number), self.nights.promotions()
            self.tonight = Night(date, self.nights.begin(date), promotions)
        return self.tonight

    def dawn(self) -> Version:
        """The night under way ends well: its package is the champion, all is whole, and users see the new model."""
        tonight, self.tonight = self.tonight, None
        if tonight is None:
            return self.holds()
        assert self.nights.ended(tonight.run) == "success", self.nights.logs()
        assert self.nights.promoted(tonight.before) == "success", self.nights.logs()
        champion = self.holds()
        assert champion.as_of == tonight.date
        self.nights.wait("the service follows", lambda: self.watch.get("/model")["version"] == champion.number, 120)
        return champion

    def stopped(self) -> None:
        """The night under way ends in failure."""
        assert self.tonight is not None
        assert self.nights.ended(self.tonight.run) == "failed"
        assert self.nights.promotions() == self.tonight.before
        self.tonight = None

    def holds(self) -> Version:
        """What must hold whatever happened."""
        champion = self.whole.check()
        assert self.watch.failures == []
        return champion

    def promotion(self) -> str:
        """Wait for the promotion that tonight wakes and return its run."""
        assert self.tonight is not None
        before = self.tonight.before
        return str(self.nights.wait("a promotion", lambda: [p for p in self.nights.promotions() if p not in before])[0])

    def _to_come(self, tonight: Night, stage: str) -> bool:
        if stage not in ("gate", "promote"):
            return self.nights.task(tonight.run, stage)["state"] is None
        woken = [one for one in self.nights.promotions() if one not in tonight.before]
        return not woken or self.nights.task(woken[0], stage, PROMOTE)["state"] is None

    def stage(self, name: str) -> Any:
        """Wait for the process of a stage and return it."""
        words = ("-m", f"steps.{name}")
        return self.nights.wait(f"stage {name} runs", lambda: self._deepest(self.platform.processes(*words)))

    @staticmethod
    def _deepest(found: list[Any]) -> Any:
        """Return the stage itself, not the shell that DVC starts it with."""
        return next((one for one in reversed(found) if "python" in Path(one.exe()).name), None) if found else None


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """Start everything, run the first night, serve its champion, and watch."""
    with host_clock() as clock, database(clock.settings) as address, _disk(folder / "disk") as disk:
        (folder / "airflow").mkdir()
        clone = checkout((folder / "disk" if disk else folder) / "clone")
        deliveries = Deliveries(folder / "data")
        platform = Platform(clone, folder / "airflow", deliveries.folder, address, clock.settings)
        watch = Watch(platform.url("service"), deliveries.items)
        nights, whole = Nights(platform), Whole(platform)
        found = World(platform, nights, deliveries, watch, whole, Table(), disk, clock)
        try:
            platform.start()
            nights.unpause()
            run = nights.begin(night(0))
            assert nights.ended(run) == "success", nights.logs()
            assert nights.promoted([]) == "success", nights.logs()
            platform.serve(_code(folder / "service"))
            nights.wait("the service", lambda: watch.get("/model"), 300)
            platform.tell("scheduler", RPOREC_SERVICE_URL=platform.url("service"))
            watch.start()
            found.holds()
            yield found
        finally:
            watch.stop()
            platform.stop()
            seen = {"asked": watch.asked, "failures": len(watch.failures), "slowest_seconds": round(watch.slowest, 2)}
            found.table.write({**seen, "versions": watch.versions})


def _code(folder: Path) -> Path:
    code = lay_out(folder, **{**ROOMY, "live_seconds": 1.0})
    params = yaml.safe_load((code / "params.yaml").read_text())
    params["run"]["profile"] = MODEL.removeprefix("rporec-")
    (code / "params.yaml").write_text(yaml.safe_dump(params))
    return code


@contextmanager
def _disk(folder: Path) -> Iterator[Path | None]:
    folder.mkdir()
    mounted = os.geteuid() == 0 and shutil.which("mount") is not None
    if mounted:
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=False)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Fill a disk to the last byte until the block ends."""
    ballast = disk / "ballast"
    try:
        with ballast.open("wb") as stream:
            size = 1 << 24
            while size:
                try:
                    os.write(stream.fileno(), bytes(size))
                except OSError:
                    size //= 2
        yield
    finally:
        ballast.unlink()


class Clock:
    """Seconds since a fault, or since its end."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started
