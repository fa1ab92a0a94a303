"""What a replayed night is worth: the next day's real purchases, ranked by the models that could have served them.

`champion` is the model in service after the night, `frozen` the first champion of the replay, `markov` and `markov_all`
are counted anew: on what the night's challenger may learn from, and on all that is known. All rank the whole catalogue;
an item that a model does not know is a miss. Rows of the scored day and later reach no ranker but as the histories of
that day's later baskets.
"""

from __future__ import annotations

import datetime as dt
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from rporec import tables
from rporec.config import Params, SequenceParams
from rporec.data import sequences
from rporec.data.clean import clean
from rporec.data.sources import adapters
from rporec.data.sources.base import bounds_of
from rporec.days import DAY, midnight
from rporec.errors import InputError
from rporec.evaluation import nextday
from rporec.evaluation.metrics import Ranks, metric_rows, summarise
from rporec.evaluation.scoring import TestSet, rank_baseline
from rporec.release import lookup, registry
from rporec.release.place import Place

RANKERS = ("champion", "frozen", "markov", "markov_all")
METRICS = ("ndcg@10", "hr@10", "mrr")
_COUNTED = {f"{name}_{part}": pl.Int64() for name in RANKERS for part in ("above", "ties")}
# A ranker that there was not yet has nulls.
SCORED = tables.Table(
    "scored purchases",
    {
        "user_id": pl.String(), "timestamp": pl.Int64(), "item_id": pl.String(), "history_length": pl.Int32(),
        "item_new": pl.Boolean(), **_COUNTED,
    },
)  # fmt: skip


@dataclass(frozen=True)
class Known:
    """All sales up to the end of the scored day, and what is before it.

    Args:
        interactions, items: tables of these names, as they stand when the day is over.
        day: s UTC at which the scored day begins: nothing at or after it reaches a ranker.
    """

    interactions: pl.DataFrame
    items: pl.DataFrame
    day: int

    @property
    def before(self) -> pl.DataFrame:
        """The interactions that were known when the night ran."""
        return self.interactions.filter(pl.col("timestamp") < self.day)

    @property
    def new(self) -> bool:
        """Whether the day before the night had any sales."""
        return not self.before.filter(pl.col("timestamp") >= self.day - DAY).is_empty()


@dataclass(frozen=True)
class Service:
    """Who serves: a registry, a registered name, the hash of the replay's first champion (None before there is one)."""

    place: Place
    model: str
    frozen: str | None


def look(params: Params, data: str | None, date: str, scratch: Path) -> Known:
    """Read the source as it stood at the end of the day that a night precedes.

    Args:
        params: of the nights.
        data: the place given by DATA=, or None.
        date: the night's logical date, which is also the day that is scored: its data end where this day begins.
        scratch: folder for temporary files.

    Raises:
        InputError: the source cannot be read, or its interactions carry no times.
    """
    following = (dt.date.fromisoformat(date) + dt.timedelta(days=1)).isoformat()
    ingest = params.ingest.model_copy(update={"as_of": following, "window_days": None})
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        raw = adapters.open_source(ingest, params.run.seed, data)
        found = clean(raw.read(Path(folder), bounds_of(ingest)), ingest, now=int(time.time()))
    if found.end is None:
        raise InputError(
            "a replay needs interactions with times", field="DATA", rule="no given split, a column of times",
            cure="replay a source of events",
        )  # fmt: skip
    return Known(found.interactions, found.items, midnight(date))


def score(known: Known, params: Params, service: Service) -> pl.DataFrame:
    """Rank the purchases of the day; SCORED, empty on a day without sales.

    Args:
        known: all sales up to the end of that day.
        params: of the nights: how rows are made and cut, threads.
        service: who serves.
    """
    rows = nextday.rows_of_day(known.interactions, known.items, params.sequence, known.day)
    if rows.is_empty():
        return tables.empty(SCORED)
    test, item_ids = TestSet.from_rows(rows), known.items["item_id"].to_list()
    ranks = _packages(service, test, item_ids, params.run.threads) | _markovs(known, params.sequence, test)
    seen = set(known.before["item_id"].unique())
    bought = [item_ids[target] for target in rows["target"]]
    frame = {
        "user_id": rows["user_id"],
        "timestamp": rows["timestamp"],
        "item_id": bought,
        "history_length": rows["history"].list.len(),
        "item_new": [item not in seen for item in bought],
    }
    for name in RANKERS:
        found = ranks.get(name)
        frame[f"{name}_above"] = [None] * rows.height if found is None else found.above
        frame[f"{name}_ties"] = [None] * rows.height if found is None else found.ties
    return pl.DataFrame(frame, schema=SCORED.columns)


def _packages(service: Service, test: TestSet, item_ids: list[str], threads: int) -> dict[str, Ranks]:
    from rporec.evaluation import rescore  # loads torch and transformers: seconds that a finished replay does not need

    champion = registry.champion_package(service.place, service.model)
    folders = {} if champion is None else {"champion": champion[1]}
    same = champion is not None and champion[0].package_hash == service.frozen
    if service.frozen is not None and not same:
        version = lookup.by_package(service.place.uri, service.model, service.frozen)
        assert version is not None  # it was champion, and versions are not deleted
        folders["frozen"] = registry.local_package(service.place, version)
    served = rescore.score_packages(folders, test, item_ids, threads, service.place.home / "vectors")
    found = {name: one.ranks for name, one in served.items()}
    return {**found, "frozen": found["champion"]} if same else found


def _markovs(known: Known, params: SequenceParams, test: TestSet) -> dict[str, Ranks]:
    from rporec.baselines.rebuilt import rebuild  # as above

    cut = sequences.cut_of(known.before, params, known.day)
    rows = nextday.train_rows(known.before, known.items, params, known.day)
    made = rebuild(rows, known.items.height, cut.valid, cut.test)
    pair = {"markov": made.same, "markov_all": made.whole}
    return {name: rank_baseline(ranker, test, name, known.items.height) for name, ranker in pair.items()}


def ranks_of(scored: pl.DataFrame, name: str) -> Ranks | None:
    """Return a ranker's ranks in SCORED; None where it ranked nothing there."""
    above, ties = scored[f"{name}_above"], scored[f"{name}_ties"]
    return None if above.null_count() else Ranks(above.to_numpy(), ties.to_numpy())


def means(scored: pl.DataFrame) -> dict[str, dict[str, float | None]]:
    """Return each metric of each ranker on one day; None = there were no sales, or there was no such ranker."""
    told: dict[str, dict[str, float | None]] = {metric: dict.fromkeys(RANKERS) for metric in METRICS}
    for name in RANKERS if scored.height else ():
        ranks = ranks_of(scored, name)
        if ranks is not None:
            found = summarise(metric_rows(ranks, (10,)))
            for metric in METRICS:
                told[metric][name] = found[metric]
    return told
