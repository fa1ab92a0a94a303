"""Random numbers by key instead of by sequence: the draw for (seed, stream, keys) never depends on what else is drawn.

That is what lets two nights of the simulated market agree on every day that they share. Not for cryptography.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from rporec.splitmix import scramble

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Words = NDArray[np.uint64]


def uniforms(seed: int, stream: str, *keys: Ints) -> Floats:
    """Return one number in (0, 1) for each broadcast combination of integer keys.

    Args:
        seed: root of all randomness.
        stream: what the number is for; different streams are independent.
        keys: integer arrays of one broadcast shape.
    """
    return _unit(words(seed, stream, *keys))


def words(seed: int, stream: str, *keys: Ints) -> Words:
    """Return one well-mixed 64-bit word for each broadcast combination of keys; the arguments are those of `uniforms`.

    For many draws of one key: mix the key once, then `uniforms_of` the words.
    """
    word = scramble(np.asarray([seed], dtype=np.uint64) ^ np.uint64(zlib.crc32(stream.encode())))
    for key in keys:
        word = scramble(word ^ scramble(np.asarray(key, dtype=np.int64).view(np.uint64)))
    return word


def uniforms_of(word: Words, number: int | Ints) -> Floats:
    """Return a number in (0, 1) for each broadcast pair of a well-mixed word and the draw's number, at least 0.

    Cheaper than `uniforms` by one mixing a key. Different numbers give independent draws of the same word.
    """
    return _unit(scramble(word ^ np.asarray(number, dtype=np.uint64)))


def normals(seed: int, stream: str, *keys: Ints) -> Floats:
    """Return standard normal numbers by key (Box and Muller 1958)."""
    radius = np.sqrt(-2.0 * np.log(uniforms(seed, f"{stream}/radius", *keys)))
    return np.asarray(radius * np.cos(2.0 * np.pi * uniforms(seed, f"{stream}/angle", *keys)))


def choices(seed: int, stream: str, n: int, *keys: Ints) -> Ints:
    """Return whole numbers in [0, n) by key, all equally likely."""
    return np.asarray(uniforms(seed, stream, *keys) * n, dtype=np.int64)


def _unit(word: Words) -> Floats:
    top = (word >> np.uint64(11)).astype(np.float64)
    top += 0.5
    top *= 2.0**-53
    return np.asarray(top)
