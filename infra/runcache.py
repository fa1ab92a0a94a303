"""DVC's run cache for outs that persist: a run with parameters that were tried before brings the outputs back.

DVC leaves such outs out, since a command may append to them. Ours persist for another reason (a stage that fails keeps
its last good output) and are always replaced as a whole, so their content hangs on deps and parameters alone.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dvc.stage import Stage
from dvc.stage.cache import StageCache


class WholeOutputs(StageCache):
    """The run cache of a repository whose stages replace their outs as a whole."""

    def save(self, stage: Stage) -> None:
        """Keep what a stage made, by its command, deps and parameters."""
        with _not_persistent(stage):
            super().save(stage)

    def restore(self, stage: Stage, *, run_cache: bool = True, pull: bool = False, dry: bool = False) -> None:
        """Bring back what the stage made of these deps and parameters before.

        Raises:
            RunCacheNotFoundError: it never did.
        """
        with _not_persistent(stage):
            super().restore(stage, run_cache=run_cache, pull=pull, dry=dry)

    def _create_stage(self, cache: Mapping[str, Any], wdir: str | None = None) -> Stage:
        stage = super()._create_stage(cache, wdir)
        # An output that a kill left unrecorded is replaced without asking, as a run of the stage would do.
        stage.checkout = functools.partial(stage.checkout, force=True)
        return stage


@contextmanager
def _not_persistent(stage: Stage) -> Iterator[None]:
    outs = [out for out in stage.outs if out.persist]
    for out in outs:
        out.persist = False
    try:
        yield
    finally:
        for out in outs:
            out.persist = True
