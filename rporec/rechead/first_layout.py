"""Reads Recheads of the first package layout, so that a champion of that time can still be served and compared.

That head was a plain weighted sum of tower and transition counts for both architectures. Written no more.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from rporec.rechead.calibration import Calibration
from rporec.rechead.head import FusedHead, HeadWeights, HistoryHead
from rporec.rechead.tower import HistoryTower, TowerShape
from rporec.transitions import Transitions


def is_first_layout(settings: dict[str, Any]) -> bool:
    """Whether rechead.json was written in the first layout: it held the sizes of the tower itself."""
    return "shape" in settings


def load_first_head(folder: Path, settings: dict[str, Any]) -> tuple[FusedHead, float, Calibration]:
    """Return the head, the strength of the reasoning, and the calibration (then one temperature).

    Args:
        folder: with tower.safetensors and transitions.safetensors.
        settings: rechead.json.

    Raises:
        KeyError, TypeError, OSError, RuntimeError: a part is missing or does not fit.
    """
    stored = load_file(folder / "tower.safetensors")
    tower = HistoryTower(TowerShape(**settings["shape"]), stored.get("texts"), seed=0)
    tower.load_state_dict(stored)
    weights = settings["weights"]
    head = HistoryHead(tower, Transitions.load(folder / "transitions.safetensors"))
    calibration = Calibration(-math.log(weights["temperature"]), 0.0, 0.0)
    return FusedHead(head, HeadWeights(**weights["with_reasoning"])), weights["strength"], calibration
