"""Where the Recheads lie that belong to the writer that ships: the one place in which later stages look it up.

The stage rechead's own read the backbone, and the policy of a single round. Where a later round's rule applies
(`rporec.align.rounds`) the stage align leaves those that were fitted to what the shipped policy writes.
"""

from __future__ import annotations

from pathlib import Path


def recheads_of(outputs: Path) -> Path:
    """Return the folder with the Recheads `reward`, `chosen` and `final` for what the shipped writer writes.

    Args:
        outputs: the stages' outputs, those of `align` among them, which appear as a whole.
    """
    own = outputs / "align" / "rechead"
    return own if own.is_dir() else recheads_of_backbone(outputs)


def recheads_of_backbone(outputs: Path) -> Path:
    """Return the folder with the Recheads that were fitted to what the backbone writes (stage 1).

    Args:
        outputs: the stages' outputs.
    """
    return outputs / "rechead"
