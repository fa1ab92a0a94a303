"""The served object: a history becomes reasoning, reasoning and history become a ranking of the whole catalogue.

Loads one package folder and nothing else; the scores are those of the evaluation for the same input (one scorer,
the Rechead). Not a web service: limits on requests and transport are bento/service.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits

from rporec import tables
from rporec.backbone.generate import Sampling, generate
from rporec.backbone.source import Writer, load_writer
from rporec.catalogue import Catalogue
from rporec.errors import InputError
from rporec.reasoning.lookup import Evidence, Kinds, nothing
from rporec.reasoning.parse import Parsed, parse
from rporec.reasoning.prompt import fit_prompts
from rporec.rechead.model import Rechead
from rporec.release import layout, signature
from rporec.release.layout import Settings
from rporec.release.signature import UNSIGNED, Trust

Source = Literal["live", "none"]
Ranking = Literal["rechead", "popularity"]


@dataclass(frozen=True)
class Item:
    """A recommended item; `score` is the probability, 0-1, that it comes next (popularity: its share of purchases)."""

    item_id: str
    title: str
    score: float


@dataclass(frozen=True)
class Recommendation:
    """An answer.

    Args:
        items: best first.
        thought, answer: the reasoning that the ranking read; "" when there is none or it was not asked for.
        reasoning_source: `live` when the ranking read reasoning written now, else `none`.
        ranking: `rechead`, or `popularity` when no history item is known.
        unknown_ids: ids of the history that are not in the catalogue; they were ignored.
        version: hash of the package that answered.
    """

    items: tuple[Item, ...]
    thought: str
    answer: str
    reasoning_source: Source
    ranking: Ranking
    unknown_ids: tuple[str, ...]
    version: str


class Recommender:
    """A loaded package: catalogue of N items, Rechead, writer, popular items.

    Args:
        package_hash: its name.
        settings: see `Settings`.
        evidence: what prompts may show beside the history, with the catalogue.
        rechead: the scoring model.
        writer: the language model that writes reasoning.
        popularity: [N] purchases of each item in the training data, the fallback's scores.
    """

    def __init__(
        self,
        package_hash: str,
        settings: Settings,
        evidence: Evidence,
        rechead: Rechead,
        writer: Writer,
        popularity: npt.NDArray[np.float64],
    ) -> None:
        self.package_hash, self.settings = package_hash, settings
        self.evidence, self.catalogue = evidence, evidence.catalogue
        self.rechead, self.writer, self.popularity = rechead, writer, popularity

    @staticmethod
    def load(
        package: Path, threads: int | None = None, vectors: Path | None = None, trust: Trust = UNSIGNED
    ) -> Recommender:
        """Verify a package and load it.

        Args:
            package: its folder.
            threads: CPU threads for torch in this process; None leaves them as they are.
            vectors: where a pretrained text encoder's vectors are kept, for many requests; None = nowhere.
            trust: who must have signed it.

        Raises:
            InputError: a file is missing, added, changed or of a wrong kind, or does not fit the others; or the
                package is not signed as asked.
        """
        package_hash = signature.verify(package, trust).package_hash
        if threads is not None:
            torch.set_num_threads(threads)
            threadpool_limits(limits=threads)  # numpy's own: more of them than cores cost thrice the time
        settings = Settings.load(package)
        catalogue = Catalogue.from_table(tables.read(package / layout.ITEMS, tables.CATALOGUE))
        counted = tables.read(package / layout.POPULARITY, layout.POPULARITY_TABLE)
        rechead = Rechead.load(package / layout.RECHEAD, vectors)
        if counted["item_id"].to_list() != catalogue.item_ids or rechead.n_items != catalogue.n:
            raise InputError(
                "the parts of the package are not of one catalogue",
                file=package, field="item_id", rule="Rechead, items and popularity hold the same items in one order",
                cure="build the package anew (make run)",
            )  # fmt: skip
        writer = load_writer(package / layout.WRITER, dtype=settings.writer_dtype)
        popularity = counted["count"].to_numpy().astype(np.float64)
        return Recommender(
            package_hash, settings, load_evidence(package, settings, catalogue), rechead, writer, popularity
        )

    def recommend(
        self, history: Sequence[str], k: int, *, explain: bool = True, exclude_seen: bool = False
    ) -> Recommendation:
        """Rank the catalogue for one history.

        Args:
            history: item ids, oldest first; unknown ones are ignored and reported.
            k: items wanted, 1 to max_k of the settings; fewer come when the catalogue holds fewer.
            explain: whether the answer shows the reasoning; the ranking reads it either way.
            exclude_seen: leave items of the history out.

        Raises:
            InputError: k or the length of the history is out of range.
        """
        self._check(history, k)
        known = [self.catalogue.index[item_id] for item_id in history if item_id in self.catalogue.index]
        unknown = tuple(dict.fromkeys(item_id for item_id in history if item_id not in self.catalogue.index))
        reasoning = self.write_reasoning([known])[0] if known else None
        probabilities = self.probabilities(known, reasoning) if known else self.popular()
        allowed = np.ones(self.catalogue.n, dtype=np.bool_)
        allowed[known] = not exclude_seen
        read = reasoning is not None and reasoning.well_formed
        shown = reasoning if reasoning is not None and explain else None
        return Recommendation(
            items=self.best(probabilities, k, allowed),
            thought=shown.thought if shown else "",
            answer=shown.answer if shown else "",
            reasoning_source="live" if read else "none",
            ranking="rechead" if known else "popularity",
            unknown_ids=unknown,
            version=self.package_hash,
        )

    def write_reasoning(self, histories: Sequence[Sequence[int]]) -> list[Parsed]:
        """Write reasoning for B histories of item indices, greedily, within the token budget.

        Returns:
            B parsed completions; one that broke the format, or the budget, is not well formed.
        """
        settings, prompts = self.settings, self.prompts(histories)
        greedy = Sampling(
            num_samples=1, temperature=0.0, max_new_tokens=settings.max_reasoning_tokens,
            batch_size=max(1, len(histories)), seed=0,
        )  # fmt: skip
        # Row keys feed randomness alone, of which a greedy choice has none.
        written = generate(self.writer, prompts, range(len(histories)), greedy)
        return [parse(samples[0].text) for samples in written]

    def prompts(self, histories: Sequence[Sequence[int]]) -> list[str]:
        """Return the B prompts for histories of item indices: those of the evaluation, for the same history."""
        settings = self.settings
        budget = self.writer.prompt_budget(settings.max_prompt_tokens, settings.max_reasoning_tokens)
        newest = [list(history)[-settings.history_length :][-settings.prompt_items :] for history in histories]
        facts = [self.evidence.look_up(history) for history in newest]
        return fit_prompts(newest, self.catalogue, settings.prompt_items, budget, self.writer.count, facts).prompts

    def probabilities(self, history: Sequence[int], reasoning: Parsed | None) -> npt.NDArray[np.float64]:
        """Return [N] the probability of each item to come next, from a history of item indices and its reasoning."""
        given = [[reasoning]] if reasoning is not None else None
        scores = self.rechead.score([list(history)[-self.settings.history_length :]], given)  # [1, N]
        return np.asarray(np.exp(scores[0].double().numpy()), dtype=np.float64)

    def popular(self) -> npt.NDArray[np.float64]:
        """Return [N] each item's share of the purchases: the fallback where no history item is known."""
        return np.asarray(self.popularity / max(self.popularity.sum(), 1.0), dtype=np.float64)

    def best(
        self, probabilities: npt.NDArray[np.float64], k: int, allowed: npt.NDArray[np.bool_] | None = None
    ) -> tuple[Item, ...]:
        """Return the k likeliest items, best first; equal ones stand in catalogue order.

        Args:
            probabilities: [N].
            k: items wanted; fewer come where fewer are allowed.
            allowed: [N] which items may be shown; None = all.
        """
        return tuple(
            Item(self.catalogue.item_ids[item], self.catalogue.titles[item], float(probabilities[item]))
            for item in self.order(probabilities, k, allowed).tolist()
        )

    def order(
        self, probabilities: npt.NDArray[np.float64], k: int, allowed: npt.NDArray[np.bool_] | None = None
    ) -> npt.NDArray[np.int64]:
        """Return the indices of the items that `best` returns."""
        open_ = np.arange(self.catalogue.n) if allowed is None else np.flatnonzero(allowed)
        scores = probabilities[open_]
        if len(open_) > k:  # a full sort of 100,000 items would take longer than scoring them
            least = np.partition(scores, len(scores) - k)[len(scores) - k]
            kept = np.flatnonzero(scores >= least)
            open_, scores = open_[kept], scores[kept]
        return open_[np.argsort(-scores, kind="stable")[:k]]

    def _check(self, history: Sequence[str], k: int) -> None:
        limits: tuple[tuple[str, Any, int, int], ...] = (
            ("k", k, 1, self.settings.max_k),
            ("history", len(history), 0, self.settings.max_history),
        )
        for field, value, least, most in limits:
            if not least <= value <= most:
                raise InputError(
                    f"{field} is out of range",
                    field=field,
                    value=value,
                    rule=f"{least} to {most}",
                    cure="ask within the range",
                )


def load_evidence(package: Path, settings: Settings, catalogue: Catalogue) -> Evidence:
    """Return what the prompts of a package may show beside the history.

    Args:
        package: its folder.
        settings: as its serving.json tells.
        catalogue: its items.

    Raises:
        InputError: the settings ask for an unknown kind; the file is missing, unreadable or of another catalogue.
    """
    kinds = Kinds.of(settings.evidence, package / layout.SERVING)
    return Evidence.load(package / layout.EVIDENCE, kinds, catalogue) if kinds.any else nothing(catalogue)
