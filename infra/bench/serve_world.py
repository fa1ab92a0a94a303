"""What benches of the service serve: whole packages of a simulated world, and reasoning for its histories.

The parts are real and of full size, but hardly fitted: how long an answer takes does not hang on what was learned, and
nothing here tells how good an answer is.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import scipy.sparse as sp
import torch

from infra.bench.generate import make_writer
from infra.bench.world import World
from rporec import tables
from rporec.config import BackboneParams
from rporec.encode.static import StaticEncoder
from rporec.encode.vectors import Encoder
from rporec.files import write_json
from rporec.reasoning.parse import Parsed
from rporec.reasoning.prompt import item_line
from rporec.rechead.calibration import AS_IT_IS, Calibration
from rporec.rechead.channels import Channels, nearest
from rporec.rechead.examples import Examples
from rporec.rechead.mixed import MixedHead
from rporec.rechead.mixer import Mixer
from rporec.rechead.model import Rechead, Weights
from rporec.rechead.reader import Reader
from rporec.rechead.residual import ReasoningResidual
from rporec.rechead.tower import HistoryTower, TowerShape
from rporec.release import layout, manifest
from rporec.serving.fill import fill
from rporec.serving.served import load
from rporec.serving.store_sqlite import SqliteStore
from rporec.transitions import Transitions
from steps.package import settings

STORE = "serving.db"  # in RPOREC_HOME
_TOLD_TEXTS = 20_000  # that an encoder is fitted on; of a larger catalogue the first ones
_COMPARED = 20_000  # items whose nearest are looked for; of a larger catalogue they are drawn
_KIN = 20  # nearest items


@dataclass(frozen=True)
class Asked:
    """Histories as requests tell them, item ids, oldest first, each another one to the model.

    Args:
        stored: reasoning and rankings are kept for these.
        unknown: for these nothing.
        unranked: for these reasoning alone.
    """

    stored: list[list[str]]
    unknown: list[list[str]]
    unranked: list[list[str]]


@dataclass(frozen=True)
class Counts:
    """How many histories of each kind of `Asked`."""

    stored: int
    unknown: int
    unranked: int = 0


def write_package(world: World, folder: Path, mark: str = "") -> str:
    """Write a package that loads, serves and verifies; return its hash. Another `mark` makes another package."""
    catalogue, train = world.catalogue, Examples.from_rows(world.parts["train"])
    writer = make_writer(world)
    writer.save(folder / layout.WRITER)
    _rechead(world, train).save(folder / layout.RECHEAD)
    columns = {
        "item_id": catalogue.item_ids, "title": catalogue.titles, "description": catalogue.descriptions,
        "brand": catalogue.brands, "category": catalogue.categories, "price": catalogue.prices,
    }  # fmt: skip
    items = pl.DataFrame(columns).with_columns(pl.col("price").fill_nan(None))
    tables.write(items.cast(pl.Schema(tables.CATALOGUE.columns)), folder / layout.ITEMS, tables.CATALOGUE)
    sold = np.bincount(train.targets, minlength=catalogue.n)
    counted = pl.DataFrame({"item_id": catalogue.item_ids, "count": sold}, schema=layout.POPULARITY_TABLE.columns)
    tables.write(counted, folder / layout.POPULARITY, layout.POPULARITY_TABLE)
    settings(world.params.model_copy(update={"backbone": _plain(world)})).save(folder)
    write_json(folder / layout.LINEAGE, {"profile": "demo", "as_of": "", "data_hash": "", "ships": "backbone"})
    write_json(folder / layout.METRICS, {})
    return mark_package(folder, mark)


def mark_package(folder: Path, mark: str) -> str:
    """Give a package another card and so another hash, which is returned."""
    (folder / layout.CARD).write_text(f"A package of a bench {mark}\n", encoding="utf-8")
    (folder / "manifest.json").unlink(missing_ok=True)
    return manifest.write(folder).package_hash


def histories(world: World, counts: Counts) -> Asked:
    """Return different histories of the world's users; of rows that come short, random items stand in."""
    rng, length = np.random.default_rng(0), world.params.sequence.history_length
    rows = pl.concat([world.parts[name].select("history") for name in ("test", "valid", "train")])
    real = (tuple(one[-length:]) for one in rows["history"].to_list())
    drawn = (
        tuple(rng.integers(world.catalogue.n, size=rng.integers(1, length + 1)).tolist()) for _ in itertools.count()
    )
    found: dict[tuple[int, ...], None] = {}
    for history in itertools.chain(real, drawn):
        if history:
            found.setdefault(history)
        if len(found) == counts.stored + counts.unknown + counts.unranked:
            break
    ids = [[world.catalogue.item_ids[item] for item in history] for history in found]
    known = counts.stored + counts.unknown
    return Asked(ids[: counts.stored], ids[counts.stored : known], ids[known:])


def keep_reasoning(package: Path, home: Path, asked: Asked, world: World) -> None:
    """Keep reasoning for the histories of which some is to be stored, in the words in which a backbone writes.

    The rest is what `make reasoning` does: it finds reasoning written and ranks.
    """
    served, catalogue = load(package), world.catalogue
    rng = np.random.default_rng(1)
    written = {}
    for history in (*asked.stored, *asked.unranked):
        known, guess = served.finder.history(history).known, int(rng.integers(catalogue.n))
        thought = f"The buyer took {catalogue.titles[known[-1]]} and stays with {catalogue.brand(guess)}."
        written[served.key(known)] = Parsed(thought, item_line(guess, catalogue), well_formed=True, outside=0)
    store = SqliteStore(home / STORE)
    store.keep_reasoning(served.package_hash, written)
    fill(served, store, {f"user {number}": history for number, history in enumerate(asked.stored)})
    store.close()


def _plain(world: World) -> BackboneParams:
    """Return the backbone's section without evidence, for which a package would hold a file more."""
    backbone = world.params.backbone
    return backbone.model_copy(update={"evidence": backbone.evidence.model_validate(dict.fromkeys(
        backbone.evidence.model_dump(), 0))})  # fmt: skip


def _rechead(world: World, train: Examples) -> Rechead:
    catalogue, head = world.catalogue, world.params.rechead
    texts = [catalogue.full_text(item) for item in range(catalogue.n)]
    encoder: Encoder = StaticEncoder.fit(texts[:_TOLD_TEXTS], head.text_dim, 0)
    reader = Reader.fit(encoder, texts, [item_line(item, catalogue) for item in range(catalogue.n)])
    shape = TowerShape(
        n_items=catalogue.n, text_dim=head.text_dim, width=head.width, layers=head.layers, heads=head.heads,
        history_length=world.params.sequence.history_length, dropout=0.0,
    )  # fmt: skip
    moves = Transitions.fit_groups(train.histories, (train.owner, train.targets), catalogue.n, 0.5)
    kin = nearest(reader.items) if catalogue.n <= _COMPARED else _drawn_kin(catalogue.n)
    mixed = MixedHead(
        HistoryTower(shape, reader.items, seed=0), Channels.count(train, moves, reader.items, kin), Mixer(seed=0), 16.0
    )
    mixed.mixer.begin(*mixed.read(train.sample(64).histories), mixed.channels.item_features, {0: 1.0, 1: 0.5})
    with torch.no_grad():  # else the hidden layer's weights are 0, which a processor might notice
        mixed.mixer.out.copy_(0.01 * torch.randn(mixed.mixer.out.shape, generator=torch.Generator().manual_seed(0)))
    weights = Weights(strength=0.7, told=Calibration(0.1, 0.0, 0.0), alone=AS_IT_IS)
    return Rechead(mixed, reader, ReasoningResidual(reader.items, seed=0), weights)


def _drawn_kin(n_items: int) -> sp.csr_matrix:
    rng = np.random.default_rng(0)
    columns = rng.integers(n_items, size=n_items * _KIN)
    ends = np.arange(0, n_items * _KIN + 1, _KIN)
    return sp.csr_matrix((np.full(len(columns), 1 / _KIN, np.float32), columns, ends), shape=(n_items, n_items))
