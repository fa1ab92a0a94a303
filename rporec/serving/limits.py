"""How much one client, and all together, may ask of a worker: a token bucket a client, a bound on requests at once.

Counted in this process alone: with W workers a client may get W times its rate. The caller says who a client is.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

_CLIENTS = 10_000  # remembered; the one that asked longest ago is forgotten first, with a full bucket by then


class Rate:
    """Requests a second of each client.

    Args:
        rate: requests a second over time.
        burst: requests at once before the rate counts.
        clock: seconds, never falling.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, float(burst), clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens left, as of when
        self._lock = threading.Lock()

    def wait_seconds(self, client: str) -> int:
        """Take one request of a client; return 0 when it may pass, else the whole seconds after which it may."""
        now = self._clock()
        with self._lock:
            left, then = self._buckets.pop(client, (self._burst, now))
            left = min(self._burst, left + (now - then) * self._rate)
            passes = left >= 1.0
            self._buckets[client] = (left - 1.0 if passes else left, now)
            if len(self._buckets) > _CLIENTS:
                self._buckets.popitem(last=False)
        return 0 if passes else max(1, math.ceil((1.0 - left) / self._rate))


class Room:
    """Requests at once.

    Args:
        most: that are let in.
    """

    def __init__(self, most: int) -> None:
        self._most, self._inside = most, 0
        self._lock = threading.Lock()

    def enter(self) -> bool:
        """Let one in, unless the room is full."""
        with self._lock:
            if self._inside >= self._most:
                return False
            self._inside += 1
            return True

    def leave(self) -> None:
        """Let one out."""
        with self._lock:
            self._inside -= 1
