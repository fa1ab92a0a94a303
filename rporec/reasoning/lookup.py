"""Evidence for prompts: what is looked up for a history as of a slice, and which rows may have been counted for it.

Only older rows count: for a slice all rows of the slices before it, for a row of the fit slice, which has no slice
before it, the events before its own. So no row's own event, and nothing of its future, counts in its evidence, and
what a backbone learns from looks like what it will be asked with. Rendering is `prompt`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from rporec.catalogue import Catalogue
from rporec.config import EvidenceParams
from rporec.errors import InputError
from rporec.files import atomic_file
from rporec.reasoning.evidence import FollowCounts
from rporec.reasoning.prompt import DESCRIBED, FOLLOWED, NEIGHBOURS, Fact, item_line, telling_words

SLICES = ("fit", "reason", "align", "valid", "test")  # oldest first
_TOGETHER = 1024  # items compared with all others at once


@dataclass(frozen=True, slots=True)
class Kinds:
    """How much of each kind of evidence a prompt may carry; 0 = none.

    Attributes:
        followed: items that most often followed the newest ones, with how many times.
        neighbours: items nearest in text to the newest one.
        description_words: words of the newest item's description.
    """

    followed: int = 0
    neighbours: int = 0
    description_words: int = 0

    @property
    def any(self) -> bool:
        """Whether a prompt may carry evidence at all."""
        return max(self.followed, self.neighbours, self.description_words) > 0

    @staticmethod
    def of(values: Mapping[str, int], file: Path) -> "Kinds":
        """Return the kinds that a file tells.

        Raises:
            InputError: it tells of a kind that is not known, or something that is no count.
        """
        known = tuple(one.name for one in fields(Kinds))
        for name, value in values.items():
            if name not in known or type(value) is not int or value < 0:
                raise InputError(
                    "the file asks for evidence that this version of the code cannot show", file=file,
                    field=f"evidence.{name}", value=value, rule=f"counts from 0 of {', '.join(known)}",
                    cure="build the package with this version of the code (make run)",
                )  # fmt: skip
        return Kinds(**values)


def kinds_of(params: EvidenceParams) -> Kinds:
    """Return the kinds that the section `backbone.evidence` names."""
    return Kinds(**params.model_dump())


@dataclass(frozen=True)
class Evidence:
    """What can be looked up as of one point in time.

    Args:
        kinds: what is looked up.
        catalogue: texts of N items.
        follows: what followed what until then.
        near: [N, K] int32, the items nearest in text, nearest first, -1 = none; K at least `kinds.neighbours`.
    """

    kinds: Kinds
    catalogue: Catalogue
    follows: FollowCounts
    near: np.ndarray

    def __post_init__(self) -> None:
        """Refuse neighbours of another catalogue."""
        if self.kinds.neighbours and (len(self.near) != self.catalogue.n or self.near.shape[1] < self.kinds.neighbours):
            raise InputError(
                "the neighbours in text are of another catalogue, or too few",
                field="backbone.evidence.neighbours", value=self.near.shape,
                rule=f"{self.catalogue.n} items, at least {self.kinds.neighbours} neighbours each",
                cure="run the stage backbone again (make run)",
            )  # fmt: skip

    def look_up(self, history: Sequence[int]) -> tuple[Fact, ...]:
        """Return the facts for a history in the order of the prompt; none for an empty one.

        Args:
            history: item indices as the prompt may show them, oldest first.
        """
        if not history or not self.kinds.any:
            return ()
        return (*self._followed(history), *self._neighbours(history[-1]), *self._described(history[-1]))

    def look_back(self, rows: pl.DataFrame, groups: Collection[int], items: int) -> dict[int, tuple[Fact, ...]]:
        """Return the facts of groups among the rows, each counted on the groups before it and on nothing else.

        Args:
            rows: ROWS of the fit slice.
            groups: those asked for.
            items: newest history items that a prompt may show.
        """
        found: dict[int, tuple[Fact, ...]] = {}
        past = replace(self, follows=FollowCounts.fit([]))
        for group, history, targets in events_of(rows).iter_rows():
            if group in groups:
                found[group] = past.look_up(history[-items:])
            past.follows.add(history, targets)
        return found

    def save(self, path: Path) -> None:
        """Write counts and neighbours as one safetensors file."""
        near = np.ascontiguousarray(self.near[:, : self.kinds.neighbours], dtype=np.int32)
        with atomic_file(path) as temporary:
            save_file({**self.follows.arrays(self.catalogue.n), "near": near}, temporary)

    @staticmethod
    def load(path: Path, kinds: Kinds, catalogue: Catalogue) -> "Evidence":
        """Read what `save` wrote, for rows that were not counted.

        Raises:
            InputError: it cannot be read or is of another catalogue.
        """
        arrays = _read(path, ("pairs", "sold", "near"))
        if len(arrays["sold"]) != catalogue.n:
            raise InputError(
                "the evidence is of another catalogue", file=path, value=f"{len(arrays['sold'])} items",
                rule=f"{catalogue.n} items", cure="build the package anew (make run)",
            )  # fmt: skip
        return Evidence(kinds, catalogue, FollowCounts.from_arrays(arrays), arrays["near"])

    @cached_property
    def _lines(self) -> dict[int, str]:
        return {}

    def _line(self, item: int) -> str:
        """Return an item's line, made once: tens of thousands of prompts show the same ones."""
        if item not in self._lines:
            self._lines[item] = item_line(item, self.catalogue)
        return self._lines[item]

    def _followed(self, history: Sequence[int]) -> list[Fact]:
        best = self.follows.often_after(history, self.kinds.followed) if self.kinds.followed else []
        return [Fact(FOLLOWED, f"{self._line(item)} ({times})", item, times) for item, times in best]

    def _neighbours(self, item: int) -> list[Fact]:
        near = self.near[item, : self.kinds.neighbours].tolist() if self.kinds.neighbours else []
        return [Fact(NEIGHBOURS, self._line(other), other) for other in near if other >= 0]

    def _described(self, item: int) -> list[Fact]:
        words = telling_words(item, self.catalogue, self.kinds.description_words)
        return [Fact(DESCRIBED, " ".join(words))] if words else []


def nothing(catalogue: Catalogue) -> Evidence:
    """Return the evidence that never says anything."""
    return Evidence(Kinds(), catalogue, FollowCounts.fit([]), no_neighbours(catalogue.n))


def as_of(
    slices: Iterable[str], rows: pl.DataFrame, kinds: Kinds, catalogue: Catalogue, near: np.ndarray
) -> dict[str, Evidence]:
    """Return the evidence of each slice after fit, counted on the rows of all slices before it; {} for no kind at all.

    Args:
        slices: names, `fit` not among them.
        rows: the ROWS table; rows that are not before a slice are left out of its counts.
        kinds: what is looked up.
        catalogue: texts of N items.
        near: [N, K] neighbours in text.
    """
    found: dict[str, Evidence] = {}
    for name in slices if kinds.any else ():
        before = SLICES[: SLICES.index(name)]
        follows = count_follows(rows.filter(pl.col("slice").is_in(before))) if kinds.followed else FollowCounts.fit([])
        found[name] = Evidence(kinds, catalogue, follows, near)
    return found


def count_follows(rows: pl.DataFrame) -> FollowCounts:
    """Count what followed what, once an event, over the rows handed in."""
    return FollowCounts.fit((history, targets) for _, history, targets in events_of(rows).iter_rows())


def events_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the groups of rows, oldest first, with their history and their targets."""
    events = rows.group_by("group", maintain_order=True).agg(pl.col("history").first(), pl.col("target"))
    return events.sort("group")


def nearest_items(vectors: np.ndarray, k: int) -> np.ndarray:
    """Return the k items nearest to each by cosine, nearest first, ties by index, -1 = nothing in common.

    Args:
        vectors: [N, T] rows of length 1, or 0 for an item without text.
        k: items wanted.

    Returns:
        [N, k] int32.
    """
    n_items = len(vectors)
    found = np.full((n_items, k), -1, dtype=np.int32)
    for start in range(0, n_items if k else 0, _TOGETHER):
        part = np.arange(start, min(start + _TOGETHER, n_items))
        cosines = np.round(vectors[part] @ vectors.T, 5)  # [p, N]; rounded, so that float noise breaks no tie
        cosines[np.arange(len(part)), part] = -np.inf
        place = max(0, n_items - k)
        least = np.partition(cosines, place, axis=1)[:, place]  # the k-th best; all its ties are looked at
        for item, row, limit in zip(part, cosines, least, strict=True):
            near = np.flatnonzero((row >= limit) & (row > 0))
            best = near[np.argsort(-row[near], kind="stable")[:k]]
            found[item, : len(best)] = best
    return found


def no_neighbours(n_items: int) -> np.ndarray:
    """Return the neighbours of N items where none are wanted, [N, 0] int32."""
    return np.zeros((n_items, 0), dtype=np.int32)


def save_neighbours(near: np.ndarray, path: Path) -> None:
    """Write [N, K] neighbours as safetensors."""
    with atomic_file(path) as temporary:
        save_file({"near": np.ascontiguousarray(near, dtype=np.int32)}, temporary)


def load_neighbours(path: Path) -> np.ndarray:
    """Read what `save_neighbours` wrote.

    Raises:
        InputError: it cannot be read.
    """
    return _read(path, ("near",))["near"]


def _read(path: Path, names: Sequence[str]) -> Mapping[str, np.ndarray]:
    try:
        arrays: dict[str, np.ndarray] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"the evidence cannot be read: {error}", file=path, cure="make run") from error
    if missing := sorted(set(names) - set(arrays)):
        raise InputError("the evidence lacks an array", file=path, field=missing[0], cure="make run")
    return arrays
