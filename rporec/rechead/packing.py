"""Many training rows in one pass: a history that begins another one is read inside it.

A causal tower gives a prefix the same vector alone and inside a longer history (tested), so only the longest ones are
computed ("carriers"). On Industrial this cuts the items read by 2.6 and the time of an epoch by more than half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rporec.rechead.examples import Examples

_SPREAD = 1.5  # items by which lengths are jittered before batches are cut, so that batches differ between epochs


@dataclass(frozen=True)
class Packed:
    """Carriers and the groups read inside them.

    Args:
        carriers: C histories, none the beginning of another.
        groups: for each carrier the places of its groups.
    """

    carriers: list[np.ndarray]
    groups: list[np.ndarray]


def pack(examples: Examples) -> Packed:
    """Assign every group to a carrier; no history may be empty."""
    keys = [tuple(history.tolist()) for history in examples.histories]
    order = sorted(range(len(keys)), key=lambda place: (keys[place], place), reverse=True)
    carriers: list[np.ndarray] = []
    members: list[list[int]] = []
    current: tuple[int, ...] = ()
    for place in order:  # descending: whatever begins with a history stands just before it
        key = keys[place]
        if not carriers or current[: len(key)] != key:
            current = key
            carriers.append(examples.histories[place])
            members.append([])
        members[-1].append(place)
    return Packed(carriers, [np.array(places, dtype=np.int64) for places in members])


def batches(packed: Packed, size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Cut the carriers into batches of like length, in random order.

    Args:
        packed: the carriers.
        size: groups a batch, about (a carrier is never cut).
        seed: of the order.
        epoch: another order each epoch.

    Returns:
        Places of carriers, one array a batch.
    """
    rng = np.random.default_rng([seed, epoch])
    lengths = np.array([len(carrier) for carrier in packed.carriers])
    held = np.array([len(places) for places in packed.groups])
    order = np.argsort(lengths + _SPREAD * rng.random(len(lengths)), kind="stable")
    before = np.cumsum(held[order]) - held[order]
    parts = np.split(order, np.flatnonzero(np.diff(before // size)) + 1)
    return [parts[place] for place in rng.permutation(len(parts))]
