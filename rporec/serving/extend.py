"""New items in a loaded model: ranked from their text alone, without training.

A new item gets what text gives (its vector in the tower's text space, in the taste and kin channels and in the reader
of reasoning), no learned id and no counts. What is known of old items stays: their lines, price bands and counts. Their
probabilities fall only by what the new ones take.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import scipy.sparse as sp
import torch

from rporec.catalogue import Catalogue
from rporec.encode.vectors import unit
from rporec.errors import InputError
from rporec.reasoning.prompt import item_line
from rporec.rechead.channels import Channels
from rporec.rechead.head import FusedHead, HistoryHead
from rporec.rechead.mixed import MixedHead
from rporec.rechead.model import Head, Rechead
from rporec.rechead.reader import Reader
from rporec.rechead.tower import HistoryTower
from rporec.recommender import Recommender
from rporec.serving.served import Served
from rporec.serving.store import NewItem, pack_item
from rporec.transitions import Transitions

_KIN = 20  # nearest old items by text that a new one shares what followed with


def extend(served: Served, items: Sequence[NewItem]) -> Served:
    """Return the model with more items in its catalogue; those that it knows already are left as they are.

    Args:
        served: the model as it was loaded.
        items: all that were added since, in order.

    Raises:
        InputError: the model cannot rank from text.
    """
    old = served.recommender
    new = [item for item in items if item.item_id not in old.catalogue.index]
    if not new:
        return replace(served, added=len(items))
    catalogue = grown_catalogue(old.catalogue, new)
    places = range(old.catalogue.n, catalogue.n)
    texts, lines = [
        [write(at) for at in places] for write in (catalogue.full_text, lambda at: item_line(at, catalogue))
    ]
    rechead = grown_rechead(old.rechead, texts, lines)
    near = np.vstack([old.evidence.near, np.full((len(new), old.evidence.near.shape[1]), -1, dtype=np.int32)])
    grown = Recommender(
        old.package_hash, old.settings, replace(old.evidence, catalogue=catalogue, near=near), rechead, old.writer,
        np.concatenate([old.popularity, np.zeros(len(new))]),
    )  # fmt: skip
    told = hashlib.sha256("\n".join(pack_item(item) for item in new).encode()).hexdigest()
    return Served(grown, served.name, served.version, served.lineage, served.tags, added=len(items), grown=told)


def grown_catalogue(catalogue: Catalogue, new: Sequence[NewItem]) -> Catalogue:
    """Return the catalogue with items behind its own; the price bands stay, so that no old item's line changes."""
    grown = replace(
        catalogue,
        item_ids=[*catalogue.item_ids, *(item.item_id for item in new)],
        titles=[*catalogue.titles, *(item.title for item in new)],
        descriptions=[*catalogue.descriptions, *(item.description for item in new)],
        brands=[*catalogue.brands, *(item.brand for item in new)],
        categories=[*catalogue.categories, *(item.category for item in new)],
        prices=np.concatenate([catalogue.prices, [np.nan if item.price is None else item.price for item in new]]),
    )
    for item in range(catalogue.n):  # a namesake that comes later must not change how an old item is told
        grown.title_terms(item)[:] = catalogue.title_terms(item)
    return grown


def grown_rechead(rechead: Rechead, texts: Sequence[str], lines: Sequence[str]) -> Rechead:
    """Return the Rechead with items of these full texts and lines behind its own.

    Raises:
        InputError: it ranks by ids alone.
    """
    reader = rechead.reader.grown(texts, lines)
    head = _grown_head(rechead.head, reader, len(texts))
    reasoning = type(rechead.reasoning)(reader.items, seed=0)
    reasoning.load_state_dict(rechead.reasoning.state_dict())
    return Rechead(head, reader, reasoning, rechead.weights)


def _grown_head(head: Head, reader: Reader, more: int) -> Head:
    tower = _grown_tower(head.tower, reader.items, more)
    if isinstance(head, FusedHead):
        return FusedHead(HistoryHead(tower, _grown_counts(head.transitions, more)), head.weights)
    return MixedHead(tower, _grown_channels(head.channels, reader.items, more), head.mixer, head.prior)


def _grown_tower(tower: HistoryTower, items: torch.Tensor, more: int) -> HistoryTower:
    if tower.project is None:
        raise InputError("this model ranks by ids alone and cannot rank a new item", cure="train with texts")
    state = dict(tower.state_dict())
    state["texts"] = torch.cat([state["texts"], items[-more:].to(state["texts"].dtype)])
    if "ids" in state:  # no learned id: only the text speaks
        state["ids"] = torch.cat([state["ids"], torch.zeros(more, state["ids"].shape[1], dtype=state["ids"].dtype)])
    grown = HistoryTower(replace(tower.shape, n_items=tower.shape.n_items + more), state["texts"], seed=0)
    grown.load_state_dict(state)
    return grown


def _grown_counts(counts: Transitions, more: int) -> Transitions:
    size = counts.n_items + more
    wide = sp.csr_matrix((counts.counts.data, counts.counts.indices, counts.counts.indptr), shape=(size - more, size))
    tall = sp.vstack([wide, sp.csr_matrix((more, size), dtype=np.float32)], format="csr")
    return replace(counts, counts=tall, popularity=_padded(counts.popularity, more))


def _grown_channels(channels: Channels, items: torch.Tensor, more: int) -> Channels:
    vectors = items.numpy()
    return replace(
        channels,
        transitions=_grown_counts(channels.transitions, more),
        sold=_padded(channels.sold, more),
        recent=np.stack([_padded(one, more) for one in channels.recent]),
        items=vectors,
        kin=_grown_kin(channels.kin, vectors, more),
    )


def _grown_kin(kin: sp.csr_matrix, vectors: np.ndarray, more: int) -> sp.csr_matrix:
    """Return the kin with a row for each new item, and the same weights as its column: kinship goes both ways.

    Old rows keep their weights (they were normalised without the new items), so old items keep their signals.
    """
    n_items = len(vectors) - more
    known = unit(vectors)
    most = min(_KIN, n_items)
    cosines = known[-more:] @ known[:n_items].T  # [M, N]
    best = np.argpartition(-cosines, most - 1, axis=1)[:, :most]
    weight = np.square(np.take_along_axis(cosines, best, axis=1).clip(min=0))
    weight /= weight.sum(axis=1, keepdims=True).clip(min=1e-9)
    starts = np.arange(0, more * most + 1, most)
    rows = sp.csr_matrix((weight.astype(np.float32).ravel(), best.ravel(), starts), shape=(more, n_items))
    return sp.bmat([[kin, rows.T], [rows, sp.csr_matrix((more, more), dtype=np.float32)]], format="csr")


def _padded(values: np.ndarray, more: int) -> np.ndarray:
    return np.concatenate([values, np.zeros(more, dtype=values.dtype)])
