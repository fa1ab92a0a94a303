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
# Draws that must lie beyond a quantile for it to be believed.
_BEYOND = 10
# Where the skewness is such that BCa's formula breaks down, the end lies this many times further out at most.
_LEFT = 0.05


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
    """C means [C] over n rows, and the same means over each of R resamples of the users [R, C].

    Args:
        means, draws: as said.
        errors: [C] standard errors of the means: the draws' spread, with the n/(n-1) that resampling n users loses.
        bias: [C] how far the draws lie beside their mean, as a normal quantile (Efron, 1987).
        acceleration: [C] a sixth of the skewness of the users' influence on the mean (likewise).
        users: how many users.
        n: how many rows.
    """

    means: Array
    draws: Array
    errors: Array
    bias: Array
    acceleration: Array
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
        nothing = np.full(columns, np.nan)
        return Resampled(nothing, np.empty((0, columns)), nothing, nothing, nothing, 0, 0)
    table = np.zeros((total, columns + 1))  # [U, C + 1]: a user's sum per column, then the number of rows
    for column in range(columns):
        table[:, column] = np.bincount(codes, weights=values[:, column], minlength=total)
    table[:, columns] = np.bincount(codes, minlength=total)
    draws = np.empty((resamples, columns), order="F")  # whole columns are read afterwards
    rng = np.random.default_rng(seed)
    step = max(1, _CELLS // total)
    for start in range(0, resamples, step):
        sums = _draw_weights(rng, min(step, resamples - start), total) @ table  # [b, C + 1]
        draws[start : start + step] = sums[:, :columns] / sums[:, columns:]
    means = values.mean(axis=0)
    return Resampled(means, draws, *_shape(table, means, draws), total, len(values))


def _shape(table: Array, means: Array, draws: Array) -> tuple[Array, Array, Array]:
    """Return errors, bias and acceleration [C] of means whose users' sums and counts stand in table [U, C + 1]."""
    total, resamples = len(table), len(draws)
    errors = draws.std(axis=0, ddof=1) * math.sqrt(total / max(1, total - 1))
    share = (draws < means).mean(axis=0) + (draws == means).mean(axis=0) / 2
    bias = special.ndtri(share.clip(0.5 / resamples, 1 - 0.5 / resamples))
    influence = table[:, :-1] - table[:, -1:] * means  # [U, C]
    squares = (influence**2).sum(axis=0)
    acceleration = (influence**3).sum(axis=0) / (6 * np.where(squares > 0, squares, 1.0) ** 1.5)
    return errors, bias, acceleration


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
    """Return the interval of one column: at each end the wider of the BCa bootstrap and the t interval.

    Differences of rankers are lopsided (most users see none, a few see a large one); a t interval then claims too much
    at the end away from the long tail, which BCa (Efron, 1987) moves out. BCa alone is too narrow for few users. Fewer
    than could show anything at this level get no interval: a few that agree by chance would pass for certainty.
    """
    if sample.n == 0:
        return Comparison(None, None, None, None, 0, 0, alpha)
    mean = float(sample.means[column])
    if not enough_users(sample.users, alpha / 2):
        return Comparison(mean, None, None, None, sample.users, sample.n, alpha)
    error = float(sample.errors[column])
    reach = float(special.stdtrit(sample.users - 1, 1 - alpha / 2))
    low, high = (mean + side * _reach(sample, column, alpha / 2, side) * error for side in (-1, 1))
    detectable = (reach + float(special.ndtri(_POWER))) * error
    return Comparison(mean, low, high, detectable, sample.users, sample.n, alpha)


def enough_users(users: int, level: float) -> bool:
    """Tell whether so many users could show anything at a one-sided level: that all fall on one side by chance."""
    return 0.5**users <= level


def _reach(sample: Resampled, column: int, tail: float, side: int) -> float:
    """Return how many standard errors the interval's end lies from the mean, below (side -1) or above (side 1) it.

    A ledger's shrunk level (ledger.py) lies beyond what R draws can show: from the smallest level that they do show,
    the end moves out as far as the formulas of BCa and of t say.
    """
    error, draws = float(sample.errors[column]), sample.draws[:, column]
    wanted = float(special.stdtrit(sample.users - 1, 1 - tail))
    if error == 0.0:
        return wanted
    shown = min(max(tail, _BEYOND / len(draws)), 0.25)
    mean, bias, lopsided = (float(part[column]) for part in (sample.means, sample.bias, sample.acceleration))
    place = _bca(bias, lopsided, shown, side)
    end = side * (float(np.quantile(draws, float(special.ndtr(place)))) - mean) / error
    if shown > tail:
        t_grows = wanted / float(special.stdtrit(sample.users - 1, 1 - shown))
        normal_grows = float(special.ndtri(tail) / special.ndtri(shown))
        end *= _bca(bias, lopsided, tail, side) / place * max(1.0, t_grows / normal_grows)
    return max(wanted, end)


def _bca(bias: float, acceleration: float, tail: float, side: int) -> float:
    """Return where BCa puts the end, as a normal quantile of the draws (Efron, 1987, equation 2.3)."""
    moved = bias - side * float(special.ndtri(tail))
    return bias + moved / max(1 - acceleration * moved, _LEFT)


def p_fall(sample: Resampled, column: int, margin: float) -> float:
    """Return the one-sided p-value against "the mean is at least -margin": small when the data show a deeper fall.

    A t test with the bootstrap's standard error: counting draws could not go below 1/resamples, which Holm's correction
    of a shrunk alpha asks for. Without any spread, each user is taken as one fair coin.
    """
    if sample.users < 2:
        return 1.0
    mean, error = float(sample.means[column]), float(sample.errors[column])
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
