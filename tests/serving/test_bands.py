"""Bands of popularity and length, on numbers worked by hand."""

from __future__ import annotations

import numpy as np

from rporec.serving import bands


def test_items_are_ranked_by_purchases() -> None:
    popularity = np.zeros(100)
    popularity[[7, 3, 50]] = (90.0, 5.0, 5.0)
    found = bands.bands(popularity)
    assert (found[7], found[3], found[50]) == (0, 1, 1), "1 % of 100 items is the first; of equals the earlier"
    assert np.bincount(found).tolist() == [1, 4, 5, 10, 30, 50]
    assert bands.shares(popularity) == [0.9, 0.1, 0.0, 0.0, 0.0, 0.0]


def test_a_small_catalogue_and_no_purchases_have_bands_too() -> None:
    assert bands.bands(np.array([3.0])).tolist() == [0]
    assert bands.shares(np.zeros(3)) == [0.0] * len(bands.NAMES)


def test_lengths_fall_into_the_band_below_their_step() -> None:
    lengths = np.array([0, 1, 1, 4, 5, 21, 51, 900])
    assert bands.length_shares(lengths) == [0.125, 0.25, 0.0, 0.0, 0.25, 0.0, 0.0, 0.125, 0.25]
    assert len(bands.length_shares(lengths)) == len(bands.LENGTHS) + 1
