"""Going on with the towers of an earlier night: the encoder stays, ids move to tonight's catalogue, new items are text.

All else of a Rechead (counts, mixer, reasoning module, calibrations) is fitted anew. Each of the three towers goes on
from its own namesake: `chosen`, which chooses epochs and weights on valid, never from `final`, which has learned valid.
Whether the parent may be used at all is `rporec.parent`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor

from rporec import tables
from rporec.encode.source import load_encoder
from rporec.encode.vectors import Encoder
from rporec.rechead.tower import HistoryTower, TowerShape

TOWERS = ("reward", "chosen", "final")  # folders of a stage's output
ITEMS = "known.parquet"  # beside them: the catalogue in the order of the towers' ids
_TOWER = "tower.safetensors"


@dataclass(frozen=True)
class Warm:
    """What is gone on with.

    Args:
        encoder: of texts.
        towers: by the names of `TOWERS`, as the parent left them.
        places: [N] place of each of tonight's items among the parent's, -1 for a new one.
        epochs: passes, at most.
    """

    encoder: Encoder
    towers: Mapping[str, HistoryTower]
    places: np.ndarray
    epochs: int

    def tower(self, name: str, shape: TowerShape, texts: Tensor | None, seed: int) -> HistoryTower:
        """Return a tower to go on from: the parent's weights in tonight's shape.

        Args:
            name: one of `TOWERS`.
            shape: tonight's; of another catalogue or history length than the parent's, otherwise the same.
            texts: [N, text_dim] tonight's item texts by the same encoder.
            seed: of what the parent does not have.
        """
        return grown(self.towers[name], HistoryTower(shape, texts, seed), self.places)


def load(folder: Path, item_ids: Sequence[str], epochs: int, vectors: Path) -> Warm:
    """Read what the stage rechead of the parent left.

    Args:
        folder: its output.
        item_ids: tonight's catalogue.
        epochs: passes, at most.
        vectors: where a pretrained encoder's vectors are kept.
    """
    known = tables.read(folder / ITEMS, tables.KNOWN)["item_id"].to_list()
    place = {item: at for at, item in enumerate(known)}
    return Warm(
        encoder=load_encoder(folder / TOWERS[0] / "text", vectors),
        towers={name: HistoryTower.load(folder / name / _TOWER) for name in TOWERS},
        places=np.array([place.get(item, -1) for item in item_ids], dtype=np.int64),
        epochs=epochs,
    )


def misfit(warm: Warm, shape: TowerShape) -> str | None:
    """Return why towers of the parent cannot become ones of this shape, None where they can."""
    for name, tower in warm.towers.items():
        own = replace(tower.shape, n_items=shape.n_items, history_length=shape.history_length, dropout=shape.dropout)
        if own != shape:
            return f"the parent's tower {name} has another shape"
    return None


def known(item_ids: Sequence[str]) -> pl.DataFrame:
    """Return the table KNOWN of a catalogue."""
    return pl.DataFrame({"item_id": list(item_ids)}, schema=tables.KNOWN.columns)


def grown(parent: HistoryTower, fresh: HistoryTower, places: np.ndarray) -> HistoryTower:
    """Put a tower's weights into one of another catalogue; returns `fresh`.

    An item that is new is its text at first: its id vector is 0. Without texts it keeps its first random one.

    Args:
        parent: fitted.
        fresh: with tonight's texts and catalogue.
        places: [N] place of each item of `fresh` in `parent`, -1 = new.
    """
    learned = dict(parent.state_dict())
    with torch.no_grad():
        for name, value in fresh.state_dict().items():
            if name == "texts":
                continue
            if name == "ids":
                at = torch.from_numpy(places)
                old = learned[name][at.clamp(min=0)]
                new = value if fresh.project is None else torch.zeros_like(value)
                value.copy_(torch.where((at >= 0)[:, None], old, new))
            elif name == "distance":
                shared = min(value.shape[1], learned[name].shape[1])
                value[:, :shared] = learned[name][:, :shared]
                value[:, shared:] = learned[name][:, -1:]  # farther than the parent ever saw: as its farthest
            else:
                value.copy_(learned[name])
    return fresh
