"""The shop whose nights the fault tests run: a checkout with short nights, its deliveries of data, and bad ones."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl
import yaml

from rporec import config
from rporec.data.market import simulate
from tests import project

FIRST = dt.date(2026, 2, 1)
NIGHTS = 28
# Not its quality is tested here: on so few rows chance may refuse no night, nor a busy machine.
_PARAMS = {
    "schedule": "null", "max_p95_ms": "60000.0", "retry_seconds": "5.0", "outage_seconds": "120.0",
    "latency_requests": "5", "floor_margin": "0.5", "reasoning_margin": "0.5", "alignment_margin": "0.5",
    "champion_margin": "0.5", "slice_margin": "0.5", "min_well_formed": "0.0", "min_grounded": "0.0",
}  # fmt: skip
_TINY = {
    "rechead": {"epochs": 6, "reasoning_epochs": 1},
    "align": {
        "steps": 1, "prompts_per_step": 2, "num_generations": 2, "eval_every": 1, "eval_groups": 8,
        "checkpoint_every": 1,
    },
    "evaluate": {"sasrec_epochs": 2, "resamples": 100},
}  # fmt: skip


def checkout(folder: Path) -> Path:
    """Clone the working tree; its committed parameters make nights as short as they can be."""
    clone = project.clone(folder)
    tiny = clone / "profiles" / "tiny.yaml"
    profile = yaml.safe_load(tiny.read_text())
    for section, values in _TINY.items():
        profile.setdefault(section, {}).update(values)
    tiny.write_text(yaml.safe_dump(profile))
    return project.commit_settings(clone, _PARAMS)


class Deliveries:
    """The folder that nights read: one market that lasts longer than all nights, each sees what was before it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        market = config.load(project.ROOT / "params.yaml").ingest.market
        small = market.model_copy(update={"users": 260, "items": 30, "days": 80, "events_per_user": 8.0})
        made = simulate(small, FIRST + dt.timedelta(days=NIGHTS), seed=7)
        self._interactions, self._items = made.interactions, made.items.drop("known_from")
        self.good()

    @property
    def items(self) -> list[str]:
        """Ids of the catalogue."""
        return self._items["item_id"].to_list()

    def good(self) -> None:
        self._deliver(self._interactions, self._items)

    def half_corrupt(self) -> None:
        """Every second purchase lacks its user."""
        lost = pl.when(pl.int_range(pl.len()) % 2 == 0).then(None).otherwise(pl.col("user_id"))
        self._deliver(self._interactions.with_columns(user_id=lost), self._items)

    def no_titles(self) -> None:
        self._deliver(self._interactions, self._items.with_columns(title=pl.lit("")))

    def _deliver(self, interactions: pl.DataFrame, items: pl.DataFrame) -> None:
        for name, table in (("interactions", interactions), ("items", items)):
            fresh = self.folder / f".{name}.new"
            table.write_parquet(fresh)
            fresh.replace(self.folder / f"{name}.parquet")


def night(number: int) -> str:
    """Return the date of a night, from 0."""
    return (FIRST + dt.timedelta(days=number)).isoformat()
