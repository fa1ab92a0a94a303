"""Random numbers as a hash of what they are for: no generator state to save, and batching does not change them."""

import numpy as np

from rporec.splitmix import scramble


def keyed(seed: int, *keys: np.ndarray | int) -> np.ndarray:
    """Return a uint64 hash of a seed and integer keys that broadcast against each other."""
    mixed = scramble(np.full(1, seed % 2**64, dtype=np.uint64))
    for key in keys:
        mixed = scramble(mixed ^ np.asarray(key, dtype=np.int64).astype(np.uint64))
    return mixed


def uniforms(seed: int, *keys: np.ndarray | int) -> np.ndarray:
    """Return float32 numbers in [0, 1) (multiples of 2**-24), one a combination of keys; shapes as in `keyed`."""
    return (keyed(seed, *keys) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
