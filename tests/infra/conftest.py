"""The shared world, held by one module of tests at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.worlds import World, only_me


@pytest.fixture(scope="module")
def alone(world: World, base: Path) -> Iterator[World]:
    """Yield the world while no other process works in it."""
    with only_me(base):
        yield world
