"""The error rates that the gates promise, by simulation: 300 users, 999 resamples, many nights, fixed seeds.

A rate of at most 5 % is tested on n nights by asking for at most the count that a true 5 % would stay below in 99.9 %
of such tests; where more is known, by the rate itself. A night's rows are new; a further look's rows are the same.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from rporec.evaluation import gates
from rporec.evaluation.anchor import Judgement, anchor_of
from rporec.evaluation.compare import compare_columns
from rporec.evaluation.gates import Evidence
from rporec.evaluation.ledger import look_alpha

USERS, RESAMPLES, NIGHTS, MARGIN, ALPHA = 300, 999, 1000, 0.04, 0.05
NAMES = np.arange(USERS)
LOST = float((1 / np.log2(np.arange(2, 12))).mean())  # NDCG@10 of a target somewhere among the first ten


def most(n: int) -> int:
    """How many of n may go wrong at a rate of 5 %, but for one test in a thousand."""
    return int(stats.binom.isf(0.001, n, 0.05))


def differences(shape: str, lead: float, nights: int, seed: int) -> np.ndarray:
    """Challenger minus champion [users, nights], with a true mean of `lead` (0 or below).

    `noise`: every user differs a little. `flips`: one in five gains or loses a place among the first ten, the harm is
    more who lose one. `rare`: hardly anybody differs, the harm is few who lose all.
    """
    rng = np.random.default_rng(seed)
    size = (USERS, nights)
    if shape == "noise":
        return rng.normal(lead, 0.2, size)
    if shape == "flips":
        gain = 1 / np.log2(rng.integers(2, 12, size))
        drawn = rng.random(size)
        return gain * ((drawn < 0.1) - 1.0 * (drawn > 0.9 + lead / LOST))
    return -1.0 * (rng.random(size) < -lead) if lead else np.where(rng.random(size) < 0.02, -0.98, 0.02)


def lows(values: np.ndarray, look: int, seed: int = 0) -> np.ndarray:
    """Return the lower ends [nights] as the gates take them at a look."""
    return np.array([one.low for one in compare_columns(values, NAMES, RESAMPLES, 2 * look_alpha(ALPHA, look), seed)])


@pytest.mark.parametrize("shape", ["noise", "flips", "rare"])
def test_worse_by_the_margin_passes_in_5_percent_of_nights_equal_in_80_better_is_claimed_in_5(shape: str) -> None:
    worse = lows(differences(shape, -MARGIN, NIGHTS, 1), 1) >= -MARGIN
    equal = lows(differences(shape, 0.0, NIGHTS, 2), 1)
    assert worse.mean() <= 0.05  # .02, .02, .04 of 1,000
    assert (equal >= -MARGIN).mean() >= 0.8
    assert (equal > 0).mean() <= 0.05


@pytest.mark.parametrize("shape", ["noise", "flips", "rare"])
def test_better_is_claimed_for_5_percent_of_equal_pairs_in_20_looks_at_the_same_rows(shape: str) -> None:
    """Twenty packages, none better, looked at one after the other."""
    pairs = 200
    claimed = np.zeros(pairs, bool)
    for look in range(1, 21):
        claimed |= lows(differences(shape, 0.0, pairs, look), look, look) > 0
    assert claimed.sum() <= most(pairs)


def test_unpaid_looks_would_claim_better_of_every_fourth_equal_pair() -> None:
    claimed = np.zeros(100, bool)
    for look in range(1, 21):
        claimed |= lows(differences("noise", 0.0, 100, look), 1, look) > 0
    assert claimed.sum() > 25


def test_the_gates_decide_as_the_simulation_does() -> None:
    values = differences("flips", -MARGIN / 2, 12, 3)
    wanted = lows(values, 1)
    for night in range(12):
        seen = Evidence(
            {"rporec": values[:, night], "champion": np.zeros(USERS)}, NAMES, look_alpha(ALPHA, 1), ALPHA, RESAMPLES, 0
        )
        assert (gates.champion_gate(seen, MARGIN).status == "pass") == (wanted[night] >= -MARGIN)
        assert (gates.better(seen, "champion").status == "pass") == (wanted[night] > 0)


def year(step: float, anchored: bool, seed: int) -> float:
    """Return how far the champion's true quality has moved after 365 nights of challengers `step` better than it."""
    rng = np.random.default_rng(seed)
    quality, rows, champion = {"0": 0.0}, [Judgement("m", "0", "", "", better=False)], "0"
    for night in range(1, 366):
        anchor = anchor_of(rows, champion, "", 365) if anchored else champion
        own = quality[champion] + step
        # New rows every night: what all models share cancels, what is left of each is noise of its own.
        values = {
            name: quality[package] + rng.normal(0, 0.2, 150)
            for name, package in (("champion", champion), ("anchor", anchor))
        }
        values["rporec"] = own + rng.normal(0, 0.2, 150)
        if anchor == champion:
            values["anchor"] = values["champion"]
        seen = Evidence(values, np.arange(150), look_alpha(ALPHA, 1), ALPHA, 199, night)
        if gates.champion_gate(seen, 0.08).status == "pass":
            better = gates.better(seen, "anchor").status == "pass"
            rows.append(Judgement("m", f"{night}", champion, "", better=better))
            champion = f"{night}"
            quality[champion] = own
    return quality[champion]


def test_a_year_of_small_losses_is_stopped_by_the_anchor() -> None:
    """Each night's model is a tenth of the margin worse; 365 such steps would be 36 margins."""
    margin = 0.08
    assert year(-margin / 10, anchored=False, seed=0) < -20 * margin
    assert year(-margin / 10, anchored=True, seed=0) > -2 * margin


def test_a_year_of_small_gains_is_not_stopped() -> None:
    assert year(0.008, anchored=True, seed=0) > 1.0
