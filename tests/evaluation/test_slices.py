"""Slices by what the texts say, on a catalogue of five items worked by hand."""

import numpy as np

from rporec.catalogue import Catalogue
from rporec.evaluation.slices import text_masks

TITLES = ["Tape 2-Inch", "Tape 3-Inch", "Rope", "2", "3"]
KNOWN = Catalogue(
    [f"i{i}" for i in range(5)], TITLES, ["sticks", "", "", "", ""], ["3M", "3M", "Acme", "", ""], [""] * 5,
    np.full(5, np.nan), (),
)  # fmt: skip


def test_each_slice_holds_its_rows():
    histories, targets = [[2, 0], [0, 2], [0], [0], [3], []], [1, 0, 2, 0, 4, 1]
    masks = {name: mask.tolist() for name, mask in text_masks(histories, targets, KNOWN).items()}
    yes, no = True, False
    assert masks == {
        "brand_kept": [yes, no, no, yes, no, no],  # the newest item counts, and both brands must be known
        "brand_switch": [no, yes, yes, no, no, no],
        "variant": [yes, no, no, no, no, no],  # titles of numbers alone are not alike
        "repeat": [no, yes, no, yes, no, no],
        "described": [yes, no, yes, yes, no, no],
    }


def test_a_slice_without_rows_is_left_out():
    assert set(text_masks([[2]], [2], KNOWN)) == {"brand_kept", "repeat"}
