"""The profile of a night's newest days: what it holds, and how a stored one is read again.

A profile is small (shares over bins, no ids), so that last night's can be kept and compared. Computing and comparing
is `rporec.data.drift`; this file imports nothing heavy, since the driver reads stored profiles before every run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Feature:
    """A distribution: `shares` of len(`edges`) + 1 bins, summing to 1; a value at an edge lies in the bin below."""

    edges: list[float]
    shares: list[float]


@dataclass(frozen=True)
class Profile:
    """What the newest rows look like.

    Args:
        end: end of the window, s UTC, exclusive; None = rows without times.
        days: days of the window; None = rows without times.
        rows: rows in the window.
        features: name → distribution; without entries where the window has no rows.
    """

    end: int | None
    days: int | None
    rows: int
    features: dict[str, Feature]

    def as_json(self) -> dict[str, Any]:
        """Return the form in which a profile is stored."""
        return asdict(self)


def parse(raw: object) -> Profile:
    """Return a stored profile.

    Raises:
        ValueError: it is not what `as_json` gives; the message says what is wrong.
    """
    if not isinstance(raw, Mapping) or set(raw) != {"end", "days", "rows", "features"}:
        raise ValueError("it does not hold end, days, rows and features alone")
    end, days, rows, features = (raw[key] for key in ("end", "days", "rows", "features"))
    if not _count(rows) or not (end is None or _count(end)) or not (days is None or (_count(days) and days > 0)):
        raise ValueError("end, days or rows is not a count")
    if (end is None) != (days is None) or not isinstance(features, Mapping):
        raise ValueError("end and days do not go together, or features is no mapping")
    return Profile(end, days, rows, {str(name): _feature(str(name), value) for name, value in features.items()})


def _feature(name: str, raw: object) -> Feature:
    if not isinstance(raw, Mapping) or set(raw) != {"edges", "shares"}:
        raise ValueError(f"{name} does not hold edges and shares alone")
    edges, shares = raw["edges"], raw["shares"]
    if not _numbers(edges) or not _numbers(shares) or len(shares) != len(edges) + 1:
        raise ValueError(f"{name} has edges or shares that are no numbers, or not one share more than edges")
    if edges != sorted(edges) or min(shares) < 0 or not math.isclose(sum(shares), 1, abs_tol=1e-3):
        raise ValueError(f"{name} has edges out of order, or shares that do not sum to 1")
    return Feature([float(edge) for edge in edges], [float(share) for share in shares])


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _numbers(values: object) -> bool:
    return isinstance(values, list) and all(
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) for value in values
    )
