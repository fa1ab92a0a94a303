"""SplitMix64's mixing step: the hash behind every random number that is drawn by key instead of by sequence.

Not for cryptography. Who draws with it: `rporec.data.draws` (the market), `rporec.backbone.randomness` (completions).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def scramble(word: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return a well-mixed 64-bit word for each word (splitmix64, Steele et al. 2014); equal on every machine."""
    with np.errstate(over="ignore"):
        mixed = np.asarray(word + np.uint64(0x9E3779B97F4A7C15))
        # In place: a large market mixes hundreds of millions of words, and fresh arrays cost as much as the sums.
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed ^= mixed >> np.uint64(shift)
            mixed *= np.uint64(factor)
        mixed ^= mixed >> np.uint64(31)
    return mixed
