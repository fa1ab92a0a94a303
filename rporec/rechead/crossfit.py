"""Was the reasoning that the Rechead reads written by a backbone that had not learned these rows?

Three looks, before anything is fitted. By record: no row that the backbone learned may be among those that are read. By
what was written, which also finds a leak that no record shows (a pretrained folder that was tuned on these rows): a
writer that has memorised the slice `reason` names its targets more often than those of `valid`, which nobody has
learned. Earlier rows may be plainly easier, so groups are compared with groups of like difficulty: strata by how far
up the transition counts of the fit rows rank a target, and whether the history holds it. A stratum's **known** is the
share of targets that a memory must hold to explain the difference, (reason - valid) / (1 - valid); strata are averaged
by their precision, so that what counts most is what the fit rows do not suggest, where an honest writer hardly ever
hits and where no drift in time makes it hit. Evidence in prompts, which is fresher for `valid` than the counts, makes
the look milder, never stricter. By each slice alone, which also finds a memory of both: where neither counts nor
history suggest the target, no honest writer names it often. Thought and answer are both read, as the Rechead
reads both; two thirds of the line's telling words name an item, if two thirds of those that the
history does not hold are among them. Not a search for fainter hints.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri
from scipy.stats import binom

from rporec.catalogue import Catalogue
from rporec.errors import InputError
from rporec.reasoning.ground import words_of
from rporec.reasoning.prompt import item_line
from rporec.reasoning.words import EVERYDAY
from rporec.rechead.examples import Examples
from rporec.rechead.reasoning import Told
from rporec.transitions import Transitions

_SURE = 0.001  # chance of a false alarm: it would stop a night
_REACH = -float(ndtri(_SURE))  # standard errors that go with it
_DECAY, _PRIOR = 0.5, 16.0  # of the counts that tell how hard a target is; nothing hangs on their exact values
_RANKS = (1, 3, 10, 30, 100, 300)  # where one stratum ends and the next begins
_HARDEST = 2 * len(_RANKS) + 1  # the last stratum, not held
_CELLS = 1 << 23  # scores held at once
_SHOWN = 3
_SHARE, _LEAST = 2 / 3, 2  # telling words of a line that name its item: a share, and no fewer
_OFTEN = 0.2  # of the hardest groups; honest writers name under .5 % of them on Industrial


_CURE = (
    "give a backbone that has not learned these rows: only the slice fit may teach it, and a pretrained folder may not "
    "stem from a run over the same data"
)


@dataclass(frozen=True)
class Asked:
    """Groups with what was written for them, and the user of each, [E]."""

    told: Told
    users: np.ndarray


@dataclass(frozen=True)
class Memory:
    """What the looks at what was written found.

    Args:
        groups: of the slice reason that were compared.
        reason, valid: share of all groups whose answers name one of their targets; None without groups.
        known: share of the targets of reason that the writer knew beyond what its history gave; None without strata.
        error: standard error of `known`, users resampled in thought; None likewise.
        hard: by slice, share named of the groups whose every target lies far beyond what counts and history suggest;
            None without such groups.
        too_often: slices where that is beyond what an honest writer can reach, at a chance of .001.
        memorised: whether `known` is beyond the margin, at a chance of .001.
        examples: up to three targets of the hardest stratum that were named, as their lines.
    """

    groups: int
    reason: float | None
    valid: float | None
    known: float | None
    error: float | None
    hard: dict[str, float | None]
    too_often: tuple[str, ...]
    memorised: bool
    examples: tuple[str, ...]


def refuse_learned(learned: Collection[int], read: Mapping[str, Collection[int]]) -> None:
    """Stop where the backbone learned rows that must be new to it: their reasoning is read, or they are RL's prompts.

    Args:
        learned: row ids that the backbone learned from.
        read: row ids by slice.

    Raises:
        InputError: it did; the slice, the count and a row are named.
    """
    known = set(learned)
    for name, rows in read.items():
        if both := sorted(known.intersection(rows)):
            raise InputError(
                f"leak: the backbone learned rows of the slice {name}, which must be new to it",
                file="backbone/learned.parquet", field="row_id", value=f"{len(both)} rows, for instance {both[0]}",
                rule="none: only rows of the slice fit may teach the backbone",
                cure="run the stages backbone and cot again on the fit slice of these rows",
            )  # fmt: skip


def look(fit: Examples, reason: Asked, valid: Asked, catalogue: Catalogue, margin: float) -> Memory:
    """Compare how often answers name their targets on `reason` and on `valid`.

    Args:
        fit: rows that the backbone learned.
        reason: rows that it must not have learned, later than `fit`.
        valid: rows that nobody has learned, later still.
        catalogue: texts of N items.
        margin: `known` that is let pass (share of targets).
    """
    counts = Transitions.fit_groups(fit.histories, (fit.owner, fit.targets), catalogue.n, _DECAY)
    strata = [_strata(one.told.examples, counts) for one in (reason, valid)]
    named = [_named(one.told, catalogue) for one in (reason, valid)]
    hits = [np.array([bool(found) for found in part], dtype=float) for part in named]
    shared = [float(part.mean()) if len(part) else None for part in hits]
    known, error = _known(strata, hits, [reason.users, valid.users])
    memorised = known is not None and error is not None and known > margin + _REACH * error
    hardest = sorted(
        (int(-stratum), line) for stratum, lines in zip(strata[0], named[0], strict=True) for line in lines
    )
    shown = tuple(dict.fromkeys(line for _, line in hardest))[:_SHOWN]
    apart = {name: part[own == _HARDEST] for name, part, own in zip(("reason", "valid"), hits, strata, strict=True)}
    hard = {name: float(part.mean()) if len(part) else None for name, part in apart.items()}
    too_often = tuple(
        name for name, part in apart.items() if len(part) and binom.sf(part.sum() - 1, len(part), _OFTEN) < _SURE
    )
    return Memory(len(hits[0]), shared[0], shared[1], known, error, hard, too_often, memorised, shown)


def refuse(found: Memory, margin: float) -> None:
    """Stop where the writer had memorised what it wrote about.

    Args:
        found: as made by `look`.
        margin: share of targets that was let pass.

    Raises:
        InputError: it had; the message has the figures and what was named.
    """
    if found.too_often:
        told = ", ".join(f"{found.hard[name]:.1%} on {name}" for name in found.too_often)
        raise InputError(
            "leak: the backbone names targets that neither the fit rows nor the history suggest, so it knows them by "
            f"heart; for instance {'; '.join(found.examples)}",
            file="cot/completions.parquet", field="completion",
            value=f"of these targets it names {told}",
            rule=f"at most {_OFTEN:.0%}, beyond chance; honest writers name few",
            cure=_CURE,
        )  # fmt: skip
    if found.memorised:
        raise InputError(
            "leak: the backbone has memorised targets of the slice reason, whose reasoning the Rechead learns to read; "
            f"for instance {'; '.join(found.examples)}",
            file="cot/completions.parquet", field="completion",
            value=f"{found.known:.1%} of {found.groups} targets known beyond what the history gives (named: "
            f"{found.reason:.1%} on reason, {found.valid:.1%} on valid)",
            rule=f"at most {margin:.1%} (rechead.memory_margin), beyond chance",
            cure=_CURE,
        )  # fmt: skip


def as_json(found: Memory, margin: float) -> dict[str, Any]:
    """Return what rechead.json tells of the looks at what was written; `refused_from` is the least `known` refused."""
    names = ("groups", "reason", "valid", "known", "error", "hard", "too_often", "memorised")
    least = None if found.error is None else margin + _REACH * found.error
    return {**{name: found.__dict__[name] for name in names}, "margin": margin, "refused_from": least}


def _strata(examples: Examples, counts: Transitions) -> np.ndarray:
    """Return the stratum of each group [E] by its easiest target; odd where the history holds that target."""
    found = np.full(len(examples), 2 * len(_RANKS) + 2)
    step = max(1, _CELLS // counts.n_items)
    for start in range(0, len(examples), step):
        scores = counts.log_probabilities(examples.histories[start : start + step], _PRIOR)
        rows = np.flatnonzero((examples.owner >= start) & (examples.owner < start + step))
        owner, targets = examples.owner[rows], examples.targets[rows]
        own = scores[owner - start, targets][:, None]
        above = np.concatenate([(scores[o - start] > s).sum(keepdims=True) for o, s in zip(owner, own, strict=True)])
        held = np.array([target in examples.histories[o] for o, target in zip(owner, targets, strict=True)])
        np.minimum.at(found, owner, 2 * np.searchsorted(_RANKS, above, side="right") + 1 - held)
    return found


def _named(told: Told, catalogue: Catalogue) -> list[list[str]]:
    """Return, for each group, the lines of those of its targets that one of its completions names."""
    examples = told.examples
    runs = [words_of(item_line(item, catalogue)) for item in range(catalogue.n)]
    written = [[words_of(f"{one.thought} | {one.answer}") for one in part if one.well_formed] for part in told.samples]
    found: list[list[str]] = [[] for _ in written]
    for owner, target in zip(examples.owner, examples.targets, strict=True):
        run = runs[target]
        held = set().union(*(runs[item] for item in examples.histories[owner]))
        if any(_names(words, run, held) for words in written[owner]):
            found[owner].append(item_line(int(target), catalogue))
    return found


def _names(words: list[str], run: list[str], held: set[str]) -> bool:
    """Return whether written words name the item whose line is `run`, for a history whose lines hold `held`."""
    telling = set(run) - EVERYDAY
    if len(telling) < _LEAST:
        return bool(run) and f" {' '.join(run)} " in f" {' '.join(words)} "
    own = set(words)
    return all(
        len(part & own) >= max(least, _SHARE * len(part) - 1e-9)
        for part, least in ((telling, _LEAST), (telling - held, 0))
    )


def _known(
    strata: list[np.ndarray], hits: list[np.ndarray], users: list[np.ndarray]
) -> tuple[float | None, float | None]:
    """Return `known` and its standard error: the larger of that of free groups and that of free users."""
    pulls = [np.zeros(len(part)) for part in hits]
    known = precision = 0.0
    for stratum in np.intersect1d(strata[0], strata[1]):
        inside = [part == stratum for part in strata]
        sizes = [int(mask.sum()) for mask in inside]
        means = [float(part[mask].mean()) for part, mask in zip(hits, inside, strict=True)]
        # Pooled and never 0 or 1: were the weight to follow the difference, chance would favour one side.
        pooled = (sizes[0] * means[0] + sizes[1] * means[1] + 1) / (sum(sizes) + 2)
        left = 1 - min(means[1], pooled)
        weight = left**2 / (pooled * (1 - pooled) * (1 / sizes[0] + 1 / sizes[1]))
        known += weight * (means[0] - means[1]) / left
        precision += weight
        for pull, part, mask, mean, size in zip(pulls, hits, inside, means, sizes, strict=True):
            pull[mask] = weight * (part[mask] - mean) / (left * size)
    if not precision:
        return None, None
    _, codes = np.unique(np.concatenate(users).astype(str), return_inverse=True)
    pulls[1] *= -1
    by_user = np.bincount(codes, weights=np.concatenate(pulls))
    return known / precision, float(max(precision, (by_user**2).sum()) ** 0.5 / precision)
