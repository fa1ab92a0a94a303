"""A clock that can be set back while programs run: a few lines of C before the C library, where there is a compiler.

Wall time alone is stepped, in every process that was started with `settings`; timers run on, as under a real step.
libfaketime 0.9.10 cannot: with timers left alone `time.sleep` fails, and with timers stepped everything waits an hour.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path
from types import TracebackType

from tests.faults.platform import Platform

COMPILER = shutil.which("cc")
_AIRFLOW = ("scheduler", "dag-processor", "api-server")
_SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile long *offset; /* seconds, shared with the test */

__attribute__((constructor)) static void find(void) {
    const char *path = getenv("STEPPED_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED) offset = mapped;
    close(file);
}

int clock_gettime(clockid_t id, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, id, now);
    if (!failed && offset && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += *offset;
    return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
    (void)zone;
    struct timespec found;
    int failed = clock_gettime(CLOCK_REALTIME, &found);
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *now) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (now) *now = found.tv_sec;
    return found.tv_sec;
}
"""


class Stepped:
    """Airflow and all that its tasks start, two hours ahead, until `back` sets their clock back by one.

    Ahead first: a platform that is younger than an hour would wake up before it was made.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._offset = platform.folder / "clock"

    def __enter__(self) -> Stepped:
        self._set(2)
        for name in _AIRFLOW:
            self._platform.tell(name, **settings(self._platform.folder, self._offset))
        return self

    def back(self) -> None:
        """Set it back by an hour, in everything that runs."""
        self._set(1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in _AIRFLOW:
            self._platform.tell(name, **dict.fromkeys(_OURS, ""))

    def _set(self, hours: int) -> None:
        file = os.open(self._offset, os.O_WRONLY | os.O_CREAT, 0o600)
        os.pwrite(file, struct.pack("l", hours * 3600), 0)  # in place: running programs have it mapped
        os.close(file)


_OURS = ("LD_PRELOAD", "STEPPED_CLOCK")


def settings(folder: Path, offset: Path) -> dict[str, str]:
    """Compile what steps the clock and return the environment of programs that shall have it."""
    assert COMPILER is not None
    source, library = folder / "clock.c", folder / "clock.so"
    source.write_text(_SOURCE)
    subprocess.run([COMPILER, "-O1", "-shared", "-fPIC", "-o", library, source], check=True, capture_output=True)
    return dict(zip(_OURS, (str(library), str(offset)), strict=True))
