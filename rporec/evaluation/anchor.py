"""The anchor: the best champion of the last nights, which a challenger must not trail either.

Each champion may trail the one before by a little; over a year these littles add up to a bad model. So every judgement
is written down, with whether the challenger was shown to beat the anchor of its night; the anchor is the oldest
champion since then, within `gate.anchor_nights`. One night's estimates never move it: chosen by them, the lucky ones of
a falling line would. Which package that is, is all that is told here; scoring it is rescore.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rporec.days import DAY, midnight
from rporec.journal import Journal

_CURE = "restore the file from a backup; without its lines a slow decline is not seen"


@dataclass(frozen=True)
class Judgement:
    """One passing judgement.

    Args:
        model: registered name.
        package_hash: the package that passed.
        champion_hash: the champion of that night, "" when there was none.
        as_of: date up to which the package's data go, "" when they have no time.
        better: whether it was shown to beat that night's anchor.
    """

    model: str
    package_hash: str
    champion_hash: str
    as_of: str
    better: bool


def note(path: Path, judgement: Judgement) -> None:
    """Write a passing judgement down, unless it stands there as the last word on its package.

    Raises:
        InputError: a line cannot be read.
    """

    def unless_said(rows: list[Judgement]) -> Judgement | None:
        said = [row for row in rows if (row.model, row.package_hash) == (judgement.model, judgement.package_hash)]
        return None if said and said[-1] == judgement else judgement

    _journal(path).extend(unless_said)


def judgements(path: Path, model: str) -> list[Judgement]:
    """Return a model's passing judgements, oldest first.

    Raises:
        InputError: a line cannot be read.
    """
    return [row for row in _journal(path).rows() if row.model == model]


def anchor_of(rows: Sequence[Judgement], champion: str, tonight: str, nights: int) -> str:
    """Return the hash of the anchor, the last of `line_of`: the champion's own where no older champion counts."""
    return line_of(rows, champion, tonight, nights)[-1]


def line_of(rows: Sequence[Judgement], champion: str, tonight: str, nights: int) -> list[str]:
    """Return the hashes of the champion and of those before it, newest first, back to the oldest that counts.

    Args:
        rows: a model's judgements, oldest first.
        champion: hash of the package that serves now.
        tonight: the challenger's `as_of`.
        nights: how many days back a champion's `as_of` may lie; one without a date never falls out.
    """
    latest = {row.package_hash: row for row in rows}
    line = [champion]
    while (row := latest.get(line[-1])) and not row.better and row.champion_hash not in {"", *line}:
        before = latest.get(row.champion_hash)
        if before is not None and _nights(before.as_of, tonight) > nights:
            break
        line.append(row.champion_hash)
    return line


def _nights(earlier: str, later: str) -> int:
    return (midnight(later) - midnight(earlier)) // DAY if earlier and later else 0


def _journal(path: Path) -> Journal[Judgement]:
    return Journal(path, Judgement, "the file of judgements", _CURE)
