"""The bootstrap by simulation: it covers, it pairs, it resamples users, and it is fast."""

import numpy as np
import pytest

from rporec.evaluation.compare import compare_columns, holm, p_fall, paired_bootstrap, resample_users


def world(seed: int, users: int = 60, effect: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of one user share a taste, so that rows are far from independent."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 8, users)
    taste = rng.normal(0, 1, users)
    names = np.repeat(np.arange(users), counts)
    return effect + taste[names] + rng.normal(0, 0.3, len(names)), names


def test_intervals_cover_the_truth_as_often_as_they_claim() -> None:
    missed = 0
    for seed in range(200):
        values, users = world(seed, effect=0.2)
        found = paired_bootstrap(values, np.zeros(len(values)), users, 300, 0.10, seed)
        missed += not found.low <= 0.2 <= found.high
    assert missed / 200 <= 0.15  # 0.10 claimed; three standard errors of 200 trials are 0.06


def test_resampling_rows_would_have_been_too_sure() -> None:
    values, users = world(1)
    zeros = np.zeros(len(values))
    by_user = paired_bootstrap(values, zeros, users, 500, 0.05, 0)
    by_row = paired_bootstrap(values, zeros, np.arange(len(values)), 500, 0.05, 0)
    assert by_user.high - by_user.low > 1.4 * (by_row.high - by_row.low)


def test_pairing_cancels_what_both_share() -> None:
    rng = np.random.default_rng(0)
    shared, users = rng.normal(0, 10, 400), np.arange(400)
    found = paired_bootstrap(shared + 0.5, shared, users, 300, 0.05, 0)
    assert found.difference == pytest.approx(0.5)
    assert found.low == pytest.approx(0.5)
    assert found.high == pytest.approx(0.5)


def test_the_mean_is_over_rows_and_the_interval_at_its_sides() -> None:
    found = paired_bootstrap([1.0, 1.0, 1.0, 0.0] * 3, [0.0] * 12, [*"aaabcccdeeef"], 500, 0.05, 0)
    assert found.difference == pytest.approx(0.75)
    assert (found.users, found.n) == (6, 12)
    assert found.low < 0.75 < found.high


def test_columns_together_equal_columns_alone() -> None:
    rng = np.random.default_rng(3)
    table, users = rng.normal(size=(50, 3)), rng.integers(0, 20, 50)
    together = compare_columns(table, users, 200, 0.05, 9)
    alone = [compare_columns(table[:, [c]], users, 200, 0.05, 9)[0] for c in range(3)]
    for a, b in zip(together, alone, strict=True):
        assert (a.difference, a.low, a.high) == pytest.approx((b.difference, b.low, b.high))


def test_smaller_alpha_is_wider_even_beyond_what_the_resamples_can_show() -> None:
    values, users = world(5)
    zeros = np.zeros(len(values))
    widths = [
        found.high - found.low
        for alpha in (0.1, 0.01, 1e-4, 1e-7)
        if (found := paired_bootstrap(values, zeros, users, 200, alpha, 0)).low is not None
    ]
    assert widths == sorted(widths)
    assert len(set(widths)) == 4


def test_the_smallest_detectable_difference_is_found_four_times_in_five() -> None:
    rng = np.random.default_rng(0)
    size = paired_bootstrap(rng.normal(0, 1, 200), np.zeros(200), np.arange(200), 300, 0.05, 0).smallest_detectable
    shown = 0
    for seed in range(150):
        values = np.random.default_rng(seed + 1).normal(size, 1, 200)
        shown += paired_bootstrap(values, np.zeros(200), np.arange(200), 200, 0.05, seed).low > 0
    assert 0.68 <= shown / 150 <= 0.92


def test_too_little_data_is_unknown_not_certain() -> None:
    none = paired_bootstrap([], [], [], 100, 0.05, 0)
    assert (none.difference, none.low, none.n) == (None, None, 0)
    one = paired_bootstrap([1.0, 0.0], [0.0, 0.0], ["a", "a"], 100, 0.05, 0)
    assert one.difference == 0.5
    assert one.low is None
    assert one.high is None


@pytest.mark.parametrize(("users", "alpha", "told"), [(5, 0.05, False), (6, 0.05, True), (6, 0.02, False)])
def test_users_who_all_agree_are_certain_only_where_chance_would_not_agree_as_well(
    users: int, alpha: float, told: bool
) -> None:
    found = paired_bootstrap([1.0] * users, [0.0] * users, np.arange(users), 100, alpha, 0)
    assert (found.low is not None) == told


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005], 0.05) == [True, False, False, True]
    assert holm([], 0.05) == []
    assert holm([0.2, 0.001], 0.05) == [False, True]


def test_a_fall_is_only_shown_beyond_the_margin() -> None:
    rng = np.random.default_rng(0)
    fell = resample_users(rng.normal(-0.5, 1, (300, 1)), np.arange(300), 300, 0)
    assert p_fall(fell, 0, 0.1) < 1e-3
    assert p_fall(fell, 0, 0.5) > 0.05
    assert p_fall(resample_users(np.full((1, 1), -1.0), np.arange(1), 100, 0), 0, 0.0) == 1.0
