"""Random numbers as a hash of what they are for: no generator state to save, and batching does not change them."""

import numpy as np


def mix(words: np.ndarray) -> np.ndarray:
    """SplitMix64 step (Steele, Lea, Flood 2014) on uint64: every input bit moves about half of the output bits."""
    with np.errstate(over="ignore"):
        words = words + np.uint64(0x9E3779B97F4A7C15)
        words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(words ^ (words >> np.uint64(31)))


def keyed(seed: int, *keys: np.ndarray | int) -> np.ndarray:
    """Return a uint64 hash of a seed and integer keys that broadcast against each other."""
    mixed = mix(np.full(1, seed % 2**64, dtype=np.uint64))
    for key in keys:
        mixed = mix(mixed ^ np.asarray(key, dtype=np.int64).astype(np.uint64))
    return mixed


def uniforms(seed: int, *keys: np.ndarray | int) -> np.ndarray:
    """Return float32 numbers in [0, 1) (multiples of 2**-24), one a combination of keys; shapes as in `keyed`."""
    return (keyed(seed, *keys) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
