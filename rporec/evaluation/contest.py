"""The contest of a package with those that served before it: who they are, on which rows, and how each does as served.

Looks at the registry and at what earlier judgements left in RPOREC_HOME. Judges nothing (gates.py), counts no looks
(ledger.py).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from rporec.evaluation import anchor, unseen
from rporec.evaluation.candidate import Candidate
from rporec.evaluation.scoring import TestSet
from rporec.files import read_json
from rporec.release import layout, lookup, registry
from rporec.release.place import Place

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rival:
    """A registered package to compare with: its version, its verified folder, its lineage.json."""

    version: lookup.Version
    folder: Path
    lineage: Mapping[str, str]

    def told(self) -> dict[str, int | str]:
        """Return how gates.json names it."""
        return {"version": self.version.number, "package_hash": self.version.package_hash}


@dataclass(frozen=True)
class Field:
    """The rows of a contest.

    Args:
        rows: tonight's test rows (ROWS), then those of earlier nights that qualify; n and m.
        fair: [n + m] rows that neither the package nor a rival has trained on.
    """

    rows: pl.DataFrame
    fair: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Scored:
    """NDCG@10 as served on a field's rows [n + m] by `rporec` and each rival, and rporec's share of well-formed."""

    values: Mapping[str, npt.NDArray[np.float64]]
    well_formed: float | None


def judgements_file(home: Path) -> Path:
    """Return where passing judgements are written down."""
    return home / "judgements.jsonl"


def find(place: Place, model: str, candidate: Candidate, nights: int) -> dict[str, Rival]:
    """Return the rivals: `champion` and, where an older one counts, `anchor`; the package itself is no rival.

    Args:
        place: the registry.
        model: registered name.
        candidate: what is judged.
        nights: how many days back an anchor's data may end.

    Raises:
        InputError: a rival's files do not match its manifest.
    """
    now = registry.champion_package(place, model)
    if now is None:
        return {}
    found = {"champion": _rival(*now)}
    rows = anchor.judgements(judgements_file(place.home), model)
    line = anchor.line_of(rows, now[0].package_hash, candidate.lineage["as_of"], nights)
    for package_hash in reversed(line[1:]):
        version = lookup.by_package(place.uri, model, package_hash)
        if version is not None:
            found["anchor"] = _rival(version, registry.local_package(place, version))
            break
        log.warning("the anchor, package %s, is no version of %s any more; the next takes its place", package_hash[:12],
                    model)  # fmt: skip
    return {name: rival for name, rival in found.items() if rival.version.package_hash != candidate.package_hash}


def lay(candidate: Candidate, rivals: Mapping[str, Rival], kept: Path) -> Field:
    """Return the rows of the contest; those of earlier nights lie in the folder `kept`."""
    tonight = candidate.rows
    since = unseen.first_unseen([candidate.lineage, *(rival.lineage for rival in rivals.values())]) if rivals else None
    more = unseen.earlier(kept, tonight, candidate.item_ids, since)
    rows = pl.concat([tonight, more])
    return Field(rows, unseen.fit_for(rows, since))


def hold(candidate: Candidate, rivals: Mapping[str, Rival], field: Field, threads: int, vectors: Path | None) -> Scored:
    """Score the package and its rivals on the rows, each as it serves.

    Raises:
        InputError: a package cannot be loaded.
    """
    # Here, since it loads torch and transformers (seconds), which finding the rivals does not need.
    from rporec.evaluation import rescore

    folders = {"rporec": candidate.package, **{name: rival.folder for name, rival in rivals.items()}}
    served = rescore.score_packages(folders, TestSet.from_rows(field.rows), candidate.item_ids, threads, vectors)
    return Scored({name: found.values for name, found in served.items()}, served["rporec"].well_formed)


def _rival(version: lookup.Version, folder: Path) -> Rival:
    return Rival(version, folder, read_json(folder / layout.LINEAGE))
