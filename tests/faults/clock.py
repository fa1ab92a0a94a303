"""A clock that can be set back while programs run: a few lines of C before the C library, where there is a compiler.

Wall time alone is stepped, in every process that was started with the clock's settings; timers run on, as under a real
step. libfaketime 0.9.10 cannot: with timers left alone `time.sleep` fails, with them stepped everything waits an hour.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

COMPILER = shutil.which("cc")
_FAST = 3600  # seconds
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


@dataclass(frozen=True)
class HostClock:
    """The clock of all that was started with `settings`: an hour fast, until `back` sets it right.

    Fast first: set back from the true time, a platform that is younger than an hour would wake up before it was made.

    Args:
        settings: environment of programs that go by it; empty = there is no compiler, they go by the true time.
        file: seconds that are added to the time, which they share.
    """

    settings: dict[str, str]
    file: Path

    def back(self) -> None:
        """Set it back by an hour, in everything that runs."""
        self._add(0)

    def caught_up(self) -> None:
        """Let the hour be over by which it was set back."""
        self._add(_FAST)

    def _add(self, seconds: int) -> None:
        file = os.open(self.file, os.O_WRONLY | os.O_CREAT)
        os.pwrite(file, struct.pack("l", seconds), 0)  # in place: running programs have it mapped
        os.close(file)


@contextmanager
def host_clock() -> Iterator[HostClock]:
    """Compile what steps the clock, in a folder that every user may read, and set it an hour fast."""
    with tempfile.TemporaryDirectory(prefix="rporec-clock-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        source, library, file = folder / "clock.c", folder / "clock.so", folder / "offset"
        if COMPILER is None:
            yield HostClock({}, file)
            return
        source.write_text(_SOURCE)
        subprocess.run([COMPILER, "-O1", "-shared", "-fPIC", "-o", library, source], check=True, capture_output=True)
        found = HostClock({"LD_PRELOAD": str(library), "STEPPED_CLOCK": str(file)}, file)
        found.caught_up()
        for path in (library, file):
            path.chmod(0o755)
        yield found
