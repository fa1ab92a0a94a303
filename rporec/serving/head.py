"""The head of a ranking as bytes in the store: written by a fill, read with the reasoning that it hangs on.

A request for a history with stored reasoning is then answered without asking the model. The bytes begin with a mark of
all that the ranking hangs on and its key in the store does not tell; a head of another mark is none. What a head is, is
`shortlist`; packages and histories are the store's keys.
"""

from __future__ import annotations

import hashlib

import numpy as np

from rporec.reasoning.parse import Parsed
from rporec.serving.served import Served
from rporec.serving.shortlist import Shortlist
from rporec.serving.store import StoreError

FORM = 2  # to be raised with every change of scoring or of these bytes: heads of before are then made anew
_MARK = 8  # bytes
_ITEM, _SCORE = np.dtype("<i4"), np.dtype("<f4")


def packed(head: Shortlist, served: Served, reasoning: Parsed) -> bytes:
    """Return a head as bytes, 8 an item.

    Scores are kept as the logarithms in single precision that they were computed from, so nothing is lost.
    """
    with np.errstate(divide="ignore"):  # of a probability of 0
        logs = np.log(head.scores).astype(_SCORE)
    return _mark(served, reasoning) + bytes([head.whole]) + head.items.astype(_ITEM).tobytes() + logs.tobytes()


def unpacked(found: bytes | None, served: Served, reasoning: Parsed) -> Shortlist | None:
    """Return the head of the ranking that a model makes of a history with this reasoning, None where none is kept.

    Raises:
        StoreError: it is something else.
    """
    if found is None or not found.startswith(_mark(served, reasoning)):
        return None
    start, size = _MARK + 1, _ITEM.itemsize + _SCORE.itemsize
    count, rest = divmod(len(found) - start, size)
    if count < 0 or rest:
        raise StoreError("the store holds a head of a ranking that is cut off")
    items = np.frombuffer(found, _ITEM, count, start).astype(np.int64)
    logs = np.frombuffer(found, _SCORE, count, start + count * _ITEM.itemsize)
    if count and not 0 <= items.min() <= items.max() < served.recommender.catalogue.n:
        raise StoreError("the store holds a head of a ranking of other items")
    return Shortlist(items, np.exp(logs.astype(np.float64)), whole=bool(found[_MARK]))


def _mark(served: Served, reasoning: Parsed) -> bytes:
    """Return a digest of the form, of the items that were added to the catalogue, and of the reasoning."""
    told = (FORM, served.grown, reasoning.thought, reasoning.answer, reasoning.well_formed, reasoning.outside)
    return hashlib.sha256(repr(told).encode()).digest()[:_MARK]
