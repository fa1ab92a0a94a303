"""One model in service: a loaded package with what is said about it. A request holds one from start to end.

Loading verifies and warms; which one serves is `swap`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rporec.encode.vectors import unit
from rporec.files import read_json
from rporec.reasoning.parse import Parsed
from rporec.recommender import Item, Recommender
from rporec.release import layout
from rporec.release.lookup import Version, model_name
from rporec.release.signature import UNSIGNED, Trust
from rporec.serving.bands import bands
from rporec.serving.find import Finder
from rporec.serving.shortlist import Key, Shortlist, Shortlists, named
from rporec.serving.store import history_key


@dataclass(frozen=True)
class Served:
    """A model that can answer.

    Args:
        recommender: the loaded package; the Rechead keeps caches of texts, so `lock` is held while it scores.
        name: registered name.
        version: registered version; None where a package folder was given.
        lineage: lineage.json of the package.
        tags: of the registered version: verdict, commit, hashes; {} for a folder.
        added: items of the store that were looked at when this catalogue was put together.
        grown: digest of those that it took in; "" = the catalogue is the package's own.
        lock: one scoring at a time.
        shortlists: rankings that were asked for before.
    """

    recommender: Recommender
    name: str
    version: int | None
    lineage: Mapping[str, str]
    tags: Mapping[str, str]
    added: int = 0
    grown: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    shortlists: Shortlists = field(default_factory=Shortlists, repr=False)

    @property
    def package_hash(self) -> str:
        """Hash that names the package."""
        return self.recommender.package_hash

    @cached_property
    def finder(self) -> Finder:
        """Looks items up by what people write."""
        return Finder(self.recommender.catalogue, self.recommender.popularity)

    @cached_property
    def bands(self) -> list[int]:
        """[N] the band of each item by its purchases in the training data (`rporec.serving.bands`)."""
        return [int(band) for band in bands(self.recommender.popularity)]

    def probabilities(self, history: Sequence[int], reasoning: Parsed | None) -> npt.NDArray[np.float64]:
        """Return [N] as `Recommender.probabilities`, one caller at a time."""
        with self.lock:
            return self.recommender.probabilities(history, reasoning)

    def best(
        self, history: Sequence[int], reasoning: Parsed | None, k: int, allowed: npt.NDArray[np.bool_] | None
    ) -> tuple[Item, ...]:
        """Return the k likeliest allowed items, best first, as `Recommender.best`; a ranking is computed once.

        Args:
            history: item indices, oldest first, at least one.
            reasoning: that the ranking reads.
            k: items wanted.
            allowed: [N] which items may be shown; None = all.
        """
        kept = self.kept(history, reasoning)
        found = None if kept is None else self.ready(kept, k, allowed)
        if found is not None:
            return found
        probabilities = self.probabilities(history, reasoning)
        if kept is None:
            self.shortlists.keep(self._asked(history, reasoning), self.head(probabilities))
        return self.recommender.best(probabilities, k, allowed)

    def kept(self, history: Sequence[int], reasoning: Parsed | None) -> Shortlist | None:
        """Return the head of a ranking that was asked for before, None where it is not in memory."""
        return self.shortlists.get(self._asked(history, reasoning))

    def ready(self, head: Shortlist, k: int, allowed: npt.NDArray[np.bool_] | None) -> tuple[Item, ...] | None:
        """Return what `best` returns, from the head of that ranking; None where it holds too little."""
        found, catalogue = head.best(k, allowed), self.recommender.catalogue
        return None if found is None else named(found, catalogue.item_ids, catalogue.titles)

    def head(self, probabilities: npt.NDArray[np.float64]) -> Shortlist:
        """Return the head of a ranking: enough for the largest k and as many items again for filters.

        Args:
            probabilities: [N] of all items.
        """
        order = self.recommender.order(probabilities, 2 * self.recommender.settings.max_k)
        return Shortlist(order, probabilities[order], whole=len(order) == self.recommender.catalogue.n)

    def _asked(self, history: Sequence[int], reasoning: Parsed | None) -> Key:
        return tuple(history[-self.recommender.settings.history_length :]), reasoning

    def nearest(self, item: int, k: int) -> list[tuple[int, float]]:
        """Return the k items whose texts are most like an item's, with their cosines, the nearest first."""
        vectors = self._directions  # [N, T]
        cosines = vectors @ vectors[item]
        order = [at for at in np.argsort(-cosines, kind="stable")[: k + 1].tolist() if at != item][:k]
        return [(at, float(cosines[at])) for at in order]

    @cached_property
    def _directions(self) -> npt.NDArray[np.float32]:
        return unit(self.recommender.rechead.reader.items.numpy())

    def key(self, history: Sequence[int]) -> str:
        """Return the store's key of the reasoning for a history of item indices: only what the model reads counts."""
        read = list(history)[-self.recommender.settings.history_length :]
        return history_key([self.recommender.catalogue.item_ids[item] for item in read])


def load(folder: Path, version: Version | None = None, trust: Trust = UNSIGNED) -> Served:
    """Verify, load and warm a package.

    Args:
        folder: of the package.
        version: as which it is registered; None = a folder that somebody named.
        trust: who must have signed it.

    Raises:
        InputError: it is not whole, its parts do not fit, or it is not signed as asked.
    """
    threads = layout.Settings.load(folder).threads
    recommender = Recommender.load(folder, threads=threads, trust=trust)
    lineage = {str(key): str(value) for key, value in read_json(folder / layout.LINEAGE).items()}
    if version is None:
        served = Served(recommender, model_name(lineage["profile"]), None, lineage, {})
    else:
        served = Served(recommender, version.model, version.number, lineage, dict(version.tags))
    warm(served)
    return served


def warm(served: Served) -> None:
    """Answer once, reasoning and all: first answers are slow (imports, caches), and what fails, fails here.

    Raises:
        InputError: it cannot answer.
    """
    recommender = served.recommender
    popular = recommender.best(recommender.popular(), 1)[0].item_id
    known = served.finder.history([popular]).known
    served.probabilities(known, recommender.write_reasoning([known])[0])
