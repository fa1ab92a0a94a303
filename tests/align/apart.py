"""Work in a process of its own, which a test may kill or put under limits."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess


def in_a_process(body: Callable[..., object], *given: object) -> ForkServerProcess:
    """Start a process that does this; it shares nothing with this one but files."""
    # Copies of a server that has imported everything and done nothing: this process has threads, no copy of it runs.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([body.__module__])
    process = context.Process(target=body, args=given)
    process.start()
    return process
