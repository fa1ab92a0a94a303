"""Paired comparisons of rankers by a bootstrap that resamples users.

For saying how much better one ranker is than another on the same rows, with an interval and the smallest difference
that so many users could show. Users are resampled, not rows: the rows of one user are not independent. Not for deciding
anything (gates.py holds the thresholds).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Array = npt.NDArray[np.float64]

# Power at which "smallest detectable" is stated: a true difference of that size is found four times in five.
_POWER = 0.8
# Resampling weights held at once, as cells of [resamples, users].
_CELLS = 1 << 22


@dataclass(frozen=True)
class Comparison:
    """Mean of a - b over rows, with its interval at level 1 - alpha; None where there is too little data to say.

    `smallest_detectable` is the true difference that this many users would show at alpha with power 0.8.
    """

    difference: float | None
    low: float | None
    high: float | None
    smallest_detectable: float | None
    users: int
    n: int
    alpha: float


@dataclass(frozen=True)
class Resampled:
    """C means [C] over n rows, and the same means over each of R resamples of the users [R, C]."""

    means: Array
    draws: Array
    users: int
    n: int


def resample_users(values: Array, users: npt.ArrayLike, resamples: int, seed: int) -> Resampled:
    """Resample users with replacement and return the row means of every column.

    A resample's mean is the sum over its users' rows divided by the number of these rows, so a user with many rows
    weighs as much as in the plain mean. All columns share the same draws: their differences stay paired.

    Args:
        values: [n, C] one value per row and column.
        users: [n] user of each row, any sortable type.
        resamples: R, how many times the users are drawn.
        seed: of the draws.
    """
    names, codes = np.unique(np.asarray(users), return_inverse=True)
    total = len(names)
    columns = values.shape[1]
    if total == 0:
        return Resampled(np.full(columns, np.nan), np.empty((0, columns)), 0, 0)
    table = np.zeros((total, columns + 1))  # [U, C + 1]: a user's sum per column, then the number of rows
    for column in range(columns):
        table[:, column] = np.bincount(codes, weights=values[:, column], minlength=total)
    table[:, columns] = np.bincount(codes, minlength=total)
    draws = np.empty((resamples, columns))
    rng = np.random.default_rng(seed)
    step = max(1, _CELLS // total)
    for start in range(0, resamples, step):
        sums = _draw_weights(rng, min(step, resamples - start), total) @ table  # [b, C + 1]
        draws[start : start + step] = sums[:, :columns] / sums[:, columns:]
    return Resampled(values.mean(axis=0), draws, total, len(values))


def _draw_weights(rng: np.random.Generator, resamples: int, users: int) -> Array:
    """Return how often each user is drawn in each resample [resamples, users]; every line sums to `users`."""
    drawn = rng.integers(0, users, size=(resamples, users), dtype=np.int64)
    drawn += np.arange(resamples)[:, None] * users
    counts = np.bincount(drawn.ravel(), minlength=resamples * users)
    return counts.reshape(resamples, users).astype(np.float64)


def compare_columns(
    differences: Array, users: npt.ArrayLike, resamples: int, alpha: float, seed: int
) -> list[Comparison]:
    """Return one Comparison per column of differences [n, C]; cheaper than C calls of paired_bootstrap."""
    sample = resample_users(differences, users, resamples, seed)
    return [interval(sample, column, alpha) for column in range(differences.shape[1])]


def paired_bootstrap(
    a: npt.ArrayLike, b: npt.ArrayLike, users: npt.ArrayLike, resamples: int, alpha: float, seed: int
) -> Comparison:
    """Compare two rankers on the same rows: mean of a[n] - b[n], interval at 1 - alpha, users [n] resampled."""
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    return compare_columns(difference[:, None], users, resamples, alpha, seed)[0]


def interval(sample: Resampled, column: int, alpha: float) -> Comparison:
    """Return the interval of one column: at each end the wider of the percentile and the t interval.

    The percentile interval is too narrow for few users and cannot reach below 1/resamples, which a shrunk alpha
    (ledger.py) asks for; the t interval ignores skew. Taking the wider at each end errs on the side of "undecided".
    """
    if sample.n == 0:
        return Comparison(None, None, None, None, 0, 0, alpha)
    mean = float(sample.means[column])
    if sample.users < 2:
        return Comparison(mean, None, None, None, sample.users, sample.n, alpha)
    error = _standard_error(sample, column)
    reach = float(special.stdtrit(sample.users - 1, 1 - alpha / 2))
    low, high = np.quantile(sample.draws[:, column], [alpha / 2, 1 - alpha / 2])
    low, high = min(float(low), mean - reach * error), max(float(high), mean + reach * error)
    detectable = (reach + float(special.ndtri(_POWER))) * error
    return Comparison(mean, low, high, detectable, sample.users, sample.n, alpha)


def p_fall(sample: Resampled, column: int, margin: float) -> float:
    """Return the one-sided p-value against "the mean is at least -margin": small when the data show a deeper fall.

    A t test with the bootstrap's standard error: counting draws could not go below 1/resamples, which Holm's correction
    of a shrunk alpha asks for. Without any spread, each user is taken as one fair coin.
    """
    if sample.users < 2:
        return 1.0
    mean, error = float(sample.means[column]), _standard_error(sample, column)
    if error == 0.0:
        return 1.0 if mean >= -margin else 0.5**sample.users
    return float(special.stdtr(sample.users - 1, (mean + margin) / error))


def holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Return which hypotheses Holm's step-down test rejects at family-wise level alpha (Holm, 1979)."""
    rejected = [False] * len(p_values)
    for rank, position in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[position] > alpha / (len(p_values) - rank):
            break
        rejected[position] = True
    return rejected


def _standard_error(sample: Resampled, column: int) -> float:
    """Return the standard error of a mean: the draws' spread, with the n/(n-1) that resampling n users loses."""
    spread = float(sample.draws[:, column].std(ddof=1))
    return spread * math.sqrt(sample.users / (sample.users - 1))
