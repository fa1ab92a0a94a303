"""A kill in the middle of work, for the tests that work goes on after one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def killed(module: Any, name: str, after: int = 0) -> Iterator[list[tuple[Any, ...]]]:
    """Run a block that must end in a kill: a call of `module.name` dies in the place of doing its work.

    Args:
        module: module or object that holds the function.
        name: of the function.
        after: calls that still do their work.

    Yields:
        The arguments of those calls.
    """
    real, done = getattr(module, name), []

    def dying(*args: Any, **kwargs: Any) -> Any:
        if len(done) == after:
            raise KeyboardInterrupt
        done.append(args)
        return real(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, dying)
        with pytest.raises(KeyboardInterrupt):
            yield done
