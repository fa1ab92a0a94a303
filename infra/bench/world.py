"""A simulated world of the size of the benchmark Industrial, and the values of its profile: what benches run on.

Items, rows and mean history come close to the real ones (3,686 items, 33 thousand train rows of 3.7 items), and no data
is needed. It tells how fast things are and nothing about how good they are.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from infra import overlay
from rporec.catalogue import Catalogue
from rporec.config import Params
from rporec.data import sequences
from rporec.data.market import simulate
from rporec.days import midnight
from rporec.tables import INTERACTIONS

PROFILE = "industrial"
THREADS = 2
_MARKET = (
    "ingest.source=market ingest.as_of=2026-01-01 ingest.market.users=11000 ingest.market.items=3700 "
    "ingest.market.days=365 ingest.market.events_per_user=4.6 ingest.market.looked_at=8"
)


@dataclass(frozen=True)
class World:
    """The profile's values, the texts of the items, and the rows of every part (ROWS tables)."""

    params: Params
    catalogue: Catalogue
    parts: dict[str, pl.DataFrame]


def arguments(about: str | None, rounds: str) -> argparse.ArgumentParser:
    """Return a parser of what every bench of this world takes.

    Args:
        about: the bench's docstring.
        rounds: what a round is.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--rounds", type=int, default=3, help=f"{rounds}; the medians are told")
    parser.add_argument("--threads", type=int, default=THREADS, help="threads of torch")
    parser.add_argument("--set", default="", help="other values, as SET of make run")
    return parser


def make_world(checkout: Path, settings: str = "") -> World:
    """Simulate the market and cut its rows.

    Args:
        checkout: where params.yaml and profiles/ lie.
        settings: other values than those of the bench, as `make run` takes them in SET.
    """
    _, params = overlay.merge(checkout, PROFILE, f"{_MARKET} {settings}", None)
    assert params.ingest.as_of is not None
    as_of = dt.date.fromisoformat(params.ingest.as_of)
    market = simulate(params.ingest.market, as_of, params.run.seed)
    # The market sells each item to a user at a time of its own, so nothing needs the cleaning of stage ingest.
    items = market.items.with_columns(title=pl.Series(_names(market.items.height)) + " " + pl.col("title"))
    interactions = market.interactions.with_row_index("order").with_columns(
        pl.col("order").cast(pl.Int64), split=pl.lit(None, pl.String), history=pl.lit(None, pl.List(pl.String))
    )
    end = midnight(params.ingest.as_of)
    found = sequences.build(interactions.select(list(INTERACTIONS.columns)), items, params.sequence, end)
    return World(params, Catalogue.from_table(items), found.parts())


def _names(count: int) -> list[str]:
    """Return made-up words, most of them different: the market's own fill a fifth of a vocabulary of 4,096 tokens."""
    rng = np.random.default_rng(0)
    syllables = [first + second for first in "bdfgklmnprstvz" for second in ("a", "e", "i", "o", "u", "an", "er", "il")]
    return [
        "".join(syllables[place] for place in word).title() for word in rng.integers(len(syllables), size=(count, 3))
    ]


def tell(what: str, figures: dict[str, Any]) -> None:
    """Print one JSON line: what was measured, the figures, threads, and the machine's load of the last minute.

    A load above that of the bench itself (one a thread) means that others worked too: the figures are then no figures.
    """
    load = round(os.getloadavg()[0], 2)
    sys.stdout.write(json.dumps({"bench": what, **figures, "threads": torch.get_num_threads(), "load": load}) + "\n")
    sys.stdout.flush()


def in_turns(ways: dict[str, Callable[[], object]], rounds: int, *, warm_up: bool = True) -> dict[str, float]:
    """Return the median seconds of each way.

    Args:
        ways: by name.
        rounds: turns that count.
        warm_up: whether a turn of each, which is slow, goes before them uncounted; no gain where turns take long.
    """
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + warm_up):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            taken[name].append(time.perf_counter() - started)
    return {name: statistics.median(times[warm_up:]) for name, times in taken.items()}
