"""Drift: the newest days of tonight's rows beside those of the last night. Drift warns, it never stops a run.

Whole tables of two nights overlap by nearly all their rows and would never move, so a profile is of a window of
`validate.drift_days` days; rows without times have the newest quarter of their order instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rporec.data.profiles import Feature, Profile
from rporec.days import DAY

_LEAST_SHARE = 1e-4  # an empty bin would make the index infinite
_LEAST_ROWS = 0.5  # a window without rows would make the logarithm infinite
_TAIL_RANKS = [0.01, 0.05, 0.1, 0.2, 0.5]  # share of items, most popular first
_BINS = 10
_UNTIMED_SHARE = 0.25  # of rows without times: the newest
_SHOWN_DAYS = 7  # in one message
_NORMAL_99 = 2.326  # 99 % of a normal distribution lie below
_Floats = NDArray[np.float64]
_NEW = ("new_users", "new_items")


@dataclass(frozen=True)
class Window:
    """Some rows and those before them.

    Args:
        rows: interactions in the window.
        older: all interactions before it.
        end: end of the window, s UTC, exclusive; None = rows without times.
        days: its days; None = rows without times.
    """

    rows: pl.DataFrame
    older: pl.DataFrame
    end: int | None
    days: int | None


@dataclass(frozen=True)
class Drift:
    """How far one feature moved.

    Args:
        feature: its name.
        psi: population-stability index: 0 for no change, above about 0.2 for a marked one; None for the volume.
        ln_ratio: ln(rows a day / rows a day before), for the volume alone.
        warned: beyond its limit.
        message: what moved, in words.
    """

    feature: str
    psi: float | None
    ln_ratio: float | None
    warned: bool
    message: str


def newest(interactions: pl.DataFrame, end: int | None, days: int) -> Window:
    """Return the newest `days` days before `end`, or the newest quarter by `order` of rows without times."""
    if end is not None:
        return _between(interactions, end, days)
    return _tail(interactions.sort("order", maintain_order=True))


def before(window: Window) -> Window | None:
    """Return the window of equal length just before, None where the rows do not reach back that far."""
    if not _has_past(window):
        return None
    if window.end is not None and window.days is not None:
        return _between(window.older, window.end - window.days * DAY, window.days)
    count = window.rows.height
    return Window(window.older.tail(count), window.older.head(window.older.height - count), None, None)


def silence(window: Window) -> str:
    """Name the days of the window that have no rows, as a warning; "" where every day has some."""
    days = silent_days(window)
    if not days:
        return ""
    shown = ", ".join(days[-_SHOWN_DAYS:]) + (f" and {len(days) - _SHOWN_DAYS} more" if len(days) > _SHOWN_DAYS else "")
    newest_day = str(np.datetime64(((window.end or 0) - 1) // DAY, "D"))
    return f"no interactions on {shown}{' (the newest day)' if newest_day in days else ''}: did the feed stop?"


def silent_days(window: Window) -> list[str]:
    """Return the days of the window without rows (ISO dates, in order), but for a shop's closing days.

    A closing day was without rows one and two weeks before as well, while the day beside it had some.
    """
    if window.end is None or window.days is None:
        return []
    last = (window.end - 1) // DAY
    seen = {*(window.rows["timestamp"] // DAY).unique(), *(window.older["timestamp"] // DAY).unique()}
    empty = [day for day in range(last - window.days + 1, last + 1) if day not in seen]
    return [str(np.datetime64(day, "D")) for day in empty if not _is_closing_day(day, seen)]


def _is_closing_day(day: int, seen: set[int]) -> bool:
    return not {day - 7, day - 14} & seen and bool({day - 8, day - 6} & seen)


def profile(window: Window, items: pl.DataFrame, bins: Profile | None = None) -> Profile:
    """Return the distributions of a window's features.

    Args:
        window: its rows may be none.
        items: table ITEMS.
        bins: a profile whose bins are used again; None = own deciles.
    """
    found = {}
    for name, values in _features(window, items).items():
        given = bins.features.get(name) if bins is not None else None
        if bins is None or given is not None:
            found[name] = _binned(name, values, given)
    if window.rows.height and (bins is None or "item_popularity" in bins.features):
        ranks = _TAIL_RANKS if bins is None else bins.features["item_popularity"].edges
        found["item_popularity"] = Feature(ranks, _concentration(window.rows, ranks))
    return Profile(window.end, window.days, window.rows.height, found)


def compare(reference: Profile, current: Profile, psi_limit: float, volume_limit: float) -> list[Drift]:
    """Compare two profiles over the same bins, by name of feature.

    A feature is warned of when its index is above `psi_limit` and above what two samples of these sizes would differ by
    once in a hundred times by chance; the volume when |ln ratio| is above `volume_limit`.
    """
    found = []
    for name in sorted(reference.features):
        if name in current.features:
            found.append(_moved(name, reference, current, psi_limit))
        elif name not in _NEW and current.rows:
            found.append(Drift(name, None, None, warned=True, message=f"{name}: no row has a value, earlier ones had"))
    if reference.days is not None and current.days is not None:
        found.append(_volume(reference.rows / reference.days, current, current.days, volume_limit))
    return found


def stability_index(reference: list[float], current: list[float]) -> float:
    """Return the population-stability index sum((c - r) ln(c / r)) >= 0 of two distributions over the same bins."""
    earlier, now = (np.maximum(np.asarray(shares), _LEAST_SHARE) for shares in (reference, current))
    return float(((now - earlier) * np.log(now / earlier)).sum())


def chance_index(bins: int, rows: int, other_rows: int) -> float:
    """Return the index that two samples of one distribution exceed in about 1 % of cases.

    The index is then close to (1/n + 1/m) times a chi-square of `bins` - 1 degrees of freedom (Yurdakul, 2018), whose
    quantile is taken by Wilson and Hilferty.
    """
    free = max(bins - 1, 1)
    quantile = free * (1 - 2 / (9 * free) + _NORMAL_99 * math.sqrt(2 / (9 * free))) ** 3
    return quantile * (1 / max(rows, 1) + 1 / max(other_rows, 1))


def _moved(name: str, reference: Profile, current: Profile, limit: float) -> Drift:
    earlier, now = reference.features[name], current.features[name]
    psi = stability_index(earlier.shares, now.shares)
    warned = psi > limit and psi > chance_index(len(now.shares), reference.rows, current.rows)
    message = (
        f"{name}: population-stability index {psi:.3g} (validate.drift_psi {limit:g}); {_where(name, earlier, now)}"
    )
    return Drift(name, round(psi, 6), None, warned, message)


def _where(name: str, earlier: Feature, now: Feature) -> str:
    """Name the bin that moved most."""
    if name in _NEW:
        return f"share of rows {now.shares[1]:.1%}, earlier {earlier.shares[1]:.1%}"
    at = int(np.argmax(np.abs(np.asarray(now.shares) - np.asarray(earlier.shares))))
    low = f"above {now.edges[at - 1]:g}" if at else ""
    high = f"up to {now.edges[at]:g}" if at < len(now.edges) else ""
    place = " ".join(part for part in (low, high) if part) or "all values"
    kind = "items by rank" if name == "item_popularity" else "values"
    return f"{kind} {place}: {now.shares[at]:.1%} of rows, earlier {earlier.shares[at]:.1%}"


def _volume(earlier: float, current: Profile, days: int, limit: float) -> Drift:
    now = current.rows / days
    ratio = math.log(max(now, _LEAST_ROWS / days) / max(earlier, _LEAST_ROWS / days))
    message = f"volume: {now:.6g} rows a day, earlier {earlier:.6g}: |ln ratio| {abs(ratio):.3g} "
    message += f"(validate.drift_volume {limit:g})"
    return Drift("volume", None, round(ratio, 6), abs(ratio) > limit, message)


def _between(interactions: pl.DataFrame, end: int, days: int) -> Window:
    time, start = pl.col("timestamp"), end - days * DAY
    rows = interactions.filter((time >= start) & (time < end))
    return Window(rows, interactions.filter(time < start), end, days)


def _tail(ordered: pl.DataFrame) -> Window:
    older = int(ordered.height * (1 - _UNTIMED_SHARE))
    return Window(ordered.tail(ordered.height - older), ordered.head(older), None, None)


def _binned(name: str, values: _Floats, given: Feature | None) -> Feature:
    if given is not None:
        inner = np.asarray(given.edges)
    elif name in _NEW:
        inner = np.asarray([0.5])
    else:
        inner = np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1]))
    counts = np.bincount(np.searchsorted(inner, values, side="left"), minlength=len(inner) + 1)
    return Feature([float(edge) for edge in inner], [round(float(share), 9) for share in counts / counts.sum()])


def _features(window: Window, items: pl.DataFrame) -> dict[str, _Floats]:
    """Return name → a number a row (of the basket size: a number a basket); features without values are left out."""
    rows = window.rows
    measured = items.select(
        "item_id",
        "price",
        title_length=pl.col("title").str.len_chars(),
        description_length=pl.col("description").str.len_chars(),
    )
    bought = rows.select("item_id").join(measured, on="item_id")
    values = {name: bought[name] for name in ("price", "title_length", "description_length")}
    values["history_length"] = rows["history"].list.len()
    values["basket_size"] = rows.group_by("order").len()["len"]
    if _has_past(window):
        for name, column in zip(_NEW, ("user_id", "item_id"), strict=True):
            values[name] = ~rows[column].is_in(window.older[column].unique().implode())
    found = {name: column.drop_nulls().cast(pl.Float64).to_numpy() for name, column in values.items()}
    return {name: numbers for name, numbers in found.items() if len(numbers)}


def _has_past(window: Window) -> bool:
    """Whether the rows before reach back at least as far as the window: else everybody would seem new."""
    if window.end is None or window.days is None:
        return window.older.height >= window.rows.height
    first = window.older["timestamp"].min()
    return isinstance(first, int) and first < window.end - (2 * window.days - 1) * DAY


def _concentration(interactions: pl.DataFrame, ranks: list[float]) -> list[float]:
    """Return the share of interactions that falls to each band of items, from the most popular down."""
    counts = np.sort(interactions.group_by("item_id").len()["len"].to_numpy())[::-1].astype(np.float64)
    cuts = [0, *(int(np.ceil(rank * len(counts))) for rank in ranks), len(counts)]
    bands = [counts[low:high].sum() for low, high in pairwise(cuts)]
    return [round(float(band / counts.sum()), 9) for band in bands]
