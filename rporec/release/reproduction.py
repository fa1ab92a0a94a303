"""Is what was made again what was made then? Same bytes, the same figures within a tolerance, or something else.

Only the comparison: making it again is infra/reproduce.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rporec.release import manifest
from rporec.release.outputs import Hashes

Word = Literal["same", "within tolerance", "different"]
_COUNTS = frozenset({"n"})


@dataclass(frozen=True)
class Stage:
    """One stage: number of files compared, those that differ, are missing or new, and what is wrong with the first."""

    name: str
    files: int
    differing: tuple[str, ...]
    why: str = ""


@dataclass(frozen=True)
class Shift:
    """The figure that moved most; None = one of the two runs does not have it."""

    name: str
    then: float | None
    now: float | None

    @property
    def size(self) -> float:
        """How far it moved; infinite where only one run has it."""
        if self.then is None or self.now is None:
            return 0.0 if self.then is self.now else float("inf")
        return abs(self.then - self.now)


@dataclass(frozen=True)
class Comparison:
    """The answer.

    Args:
        word: same bytes; other bytes and every figure within the tolerance; or different.
        stages: in the pipeline's order.
        shift: the figure that moved most; None where there are no figures.
        tolerance: absolute.
    """

    word: Word
    stages: tuple[Stage, ...]
    shift: Shift | None
    tolerance: float

    @property
    def first(self) -> str | None:
        """Where it first differs: stage, file and how; None when nothing does."""
        return next((f"{one.name}, {one.differing[0]} ({one.why})" for one in self.stages if one.differing), None)


def compare(
    then: Hashes, now: Hashes, metrics: tuple[Mapping[str, Any], Mapping[str, Any]], tolerance: float
) -> Comparison:
    """Compare two runs.

    Args:
        then: hashes of the version's outputs; stages that it does not tell are not compared.
        now: hashes of the outputs made again; its order of stages counts.
        metrics: metrics.json then and now.
        tolerance: by how much any ranking metric may differ, absolute.
    """
    stages = tuple(_stage(name, then[name], made) for name, made in now.items() if name in then)
    shifts = sorted(_shifts(*(found["rankers"] for found in metrics)), key=lambda shift: -shift.size)
    shift = shifts[0] if shifts else None
    if not any(one.differing for one in stages):
        word: Word = "same"
    else:
        word = "within tolerance" if shift is None or shift.size <= tolerance else "different"
    return Comparison(word, stages, shift, tolerance)


def told(found: Comparison, name: str) -> str:
    """Return the comparison as lines a person reads; `name` is what was made again."""
    lines = [f"{'stage':<10} {'files':>6} {'differ':>7}  first"]
    for one in found.stages:
        first = f"{one.differing[0]} ({one.why})" if one.differing else ""
        lines.append(f"{one.name:<10} {one.files:>6} {len(one.differing):>7}  {first}".rstrip())
    if found.shift is not None:
        then, now = ("unknown" if value is None else f"{value:.6f}" for value in (found.shift.then, found.shift.now))
        moved = f"{found.shift.name}: {then} then, {now} now"
        lines.append(f"the figure that moved most: {moved}; tolerance {found.tolerance:g}")
    if found.first is not None:
        lines.append(f"it first differs at stage {found.first}")
    return "\n".join([*lines, f"{name}: {found.word}"])


def _stage(name: str, then: Mapping[str, str], now: Mapping[str, str]) -> Stage:
    # The manifest repeats the other files' hashes and may be signed by another key.
    names = [file for file in sorted({*then, *now}) if file != manifest.FILE_NAME]
    differing = tuple(file for file in names if then.get(file) != now.get(file))
    if not differing:
        return Stage(name, len(names), ())
    first = differing[0]
    return Stage(
        name, len(names), differing, "missing" if first not in now else "new" if first not in then else "changed"
    )


def _shifts(then: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]) -> Iterator[Shift]:
    for ranker in sorted({*then, *now}):
        ours, theirs = then.get(ranker, {}), now.get(ranker, {})
        for metric in sorted({*ours, *theirs} - _COUNTS):
            yield Shift(f"{metric} of {ranker}", ours.get(metric), theirs.get(metric))


def as_json(found: Comparison, stages: Sequence[str]) -> dict[str, Any]:
    """Return the comparison for machines; `stages` are those that ran again."""
    return {
        "outcome": found.word,
        "first": found.first,
        "ran": list(stages),
        "stages": [{"name": one.name, "files": one.files, "differing": list(one.differing)} for one in found.stages],
        "tolerance": found.tolerance,
    }
