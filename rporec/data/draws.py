"""Random numbers by key instead of by sequence: the draw for (seed, stream, keys) never depends on what else is drawn.

That is what lets two nights of the simulated market agree on every day that they share. Not for cryptography.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_Words = NDArray[np.uint64]


def uniforms(seed: int, stream: str, *keys: Ints) -> Floats:
    """Return one number in (0, 1) for each broadcast combination of integer keys.

    Args:
        seed: root of all randomness.
        stream: what the number is for; different streams are independent.
        keys: integer arrays of one broadcast shape.
    """
    word = scramble(np.asarray([seed], dtype=np.uint64) ^ np.uint64(zlib.crc32(stream.encode())))
    for key in keys:
        word = scramble(word ^ scramble(np.asarray(key, dtype=np.int64).view(np.uint64)))
    top = (word >> np.uint64(11)).astype(np.float64)
    return np.asarray((top + 0.5) * 2.0**-53)


def normals(seed: int, stream: str, *keys: Ints) -> Floats:
    """Return standard normal numbers by key (Box and Muller 1958)."""
    radius = np.sqrt(-2.0 * np.log(uniforms(seed, f"{stream}/radius", *keys)))
    return np.asarray(radius * np.cos(2.0 * np.pi * uniforms(seed, f"{stream}/angle", *keys)))


def choices(seed: int, stream: str, n: int, *keys: Ints) -> Ints:
    """Return whole numbers in [0, n) by key, all equally likely."""
    return np.asarray(uniforms(seed, stream, *keys) * n, dtype=np.int64)


def scramble(words: _Words) -> _Words:
    """Return a well-mixed 64-bit word for each word (splitmix64, Steele et al. 2014); equal on every machine."""
    with np.errstate(over="ignore"):
        mixed = words + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))
