"""A client that costs little: keep-alive connections of plain asyncio, so that a server on the other core is the limit.

httpx takes a millisecond of processor time a request, about as much as the do-nothing endpoint that is measured. What
it says of answers is their status and, where asked for, their body; it follows nothing and retries nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np


@dataclass
class Load:
    """What came of a load.

    Args:
        latencies: seconds of each request, from its sending to the answer's last byte.
        failures: what went wrong, one line a request that was not answered by 200.
        bodies: of the answers, where they were kept.
        seconds: of the whole load.
        client_share: of the time in which this process computed, 0-1; near 1 the client was the limit.
        computed: processor time of the server [s], where somebody measured it.
    """

    latencies: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    seconds: float = 0.0
    client_share: float = 0.0
    computed: float = 0.0

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds

    def quantile_ms(self, share: float) -> float:
        """Return a quantile of the latencies [ms]."""
        return float(np.quantile(self.latencies, share)) * 1000


def ask(address: str, path: str, bodies: Sequence[bytes], concurrency: int, *, keep: bool = False) -> Load:
    """POST each body once over so many connections, each of which sends its next request when it has its answer."""
    waiting = iter(bodies)
    return _timed(lambda load: _together(address, path, waiting, (concurrency, keep), load))


def ask_at_rate(address: str, path: str, bodies: Iterator[bytes], rate: float, seconds: float) -> Load:
    """POST `rate` bodies a second for so long, over as many connections as that takes, whatever the answers do."""
    connections = max(1, round(rate / 10))  # an answer that takes 100 ms holds up nobody

    async def paced(load: Load) -> None:
        end = time.perf_counter() + seconds
        ticks = _Ticks(rate, end)
        await asyncio.gather(*(_connection(address, path, bodies, load, ticks=ticks) for _ in range(connections)))

    return _timed(paced)


class _Ticks:
    """When requests are due: at even distances, drawn by all connections in turn."""

    def __init__(self, rate: float, end: float) -> None:
        self._step, self._end, self._next = 1 / rate, end, time.perf_counter()

    async def wait(self) -> bool:
        """Wait for the next turn; False when there is none."""
        due, self._next = self._next, self._next + self._step
        if due >= self._end:
            return False
        await asyncio.sleep(due - time.perf_counter())
        return True


def _timed(work: Callable[[Load], Awaitable[None]]) -> Load:
    async def run() -> None:
        await work(load)

    load, started, computed = Load(), time.perf_counter(), time.process_time()
    asyncio.run(run())
    load.seconds = time.perf_counter() - started
    load.client_share = (time.process_time() - computed) / load.seconds
    return load


async def _together(address: str, path: str, bodies: Iterator[bytes], how: tuple[int, bool], load: Load) -> None:
    await asyncio.gather(*(_connection(address, path, bodies, load, keep=how[1]) for _ in range(how[0])))


async def _connection(
    address: str, path: str, bodies: Iterator[bytes], load: Load, *, keep: bool = False, ticks: _Ticks | None = None
) -> None:
    where = urlsplit(address)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Type: application/json\r\nContent-Length: ".encode()
    )
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    while ticks is None or await ticks.wait():
        body = next(bodies, None)
        if body is None:
            break
        begun = time.perf_counter()
        try:
            writer.write(b"%b%d\r\n\r\n%b" % (head, len(body), body))
            status, told = await _answer(reader)
        except (OSError, EOFError, ValueError) as error:
            load.failures.append(f"{type(error).__name__}: {error}")
            reader, writer = await asyncio.open_connection(where.hostname, where.port)
            continue
        load.latencies.append(time.perf_counter() - begun)
        if status != 200:
            load.failures.append(f"{status}: {told[:200]!r}")
        elif keep:
            load.bodies.append(told)
    writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return status and body of an answer that tells its length.

    Raises:
        ValueError: it is no such answer.
        EOFError, OSError: the connection ended.
    """
    head = await reader.readuntil(b"\r\n\r\n")
    lower = head.lower()
    at = lower.find(b"\r\ncontent-length:")
    if at < 0:
        raise ValueError("an answer without Content-Length")
    length = int(lower[at + 17 : lower.index(b"\r\n", at + 2)])
    return int(head[9:12]), await reader.readexactly(length)
