"""The one mixing step behind all random numbers by key."""

import numpy as np

from rporec.backbone.randomness import keyed
from rporec.splitmix import scramble
from tests.project import ROOT

KEYED = [5398316625919644772, 1650069959653123811, 10303578307251109634]


def test_scramble_is_splitmix64():
    # First outputs of the reference implementation for seed 0 are scramble of 0 and of its first increment.
    assert int(scramble(np.array([0], dtype=np.uint64))[0]) == 0xE220A8397B1DCDAF
    assert int(scramble(np.array([0x9E3779B97F4A7C15], dtype=np.uint64))[0]) == 0x6E789E6AA1B965F4


def test_what_is_mixed_is_left_as_it_was():
    words = np.arange(5, dtype=np.uint64)
    scramble(words)
    assert words.tolist() == [0, 1, 2, 3, 4]


def test_numbers_by_key_are_those_of_every_run_so_far():
    assert keyed(7, np.arange(3), 2).tolist() == KEYED


def test_no_module_mixes_by_itself():
    files = [path for top in ("rporec", "steps", "bento", "infra") for path in (ROOT / top).rglob("*.py")]
    mixing = [path for path in files if "9e3779b97f4a7c15" in path.read_text(encoding="utf-8").lower()]
    assert mixing == [ROOT / "rporec/splitmix.py"]
