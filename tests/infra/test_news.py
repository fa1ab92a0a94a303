"""Nights without news: told from the tables that ingest made, and never told of a night that was finished."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import polars as pl
import pytest

from infra import news
from infra.workspace import Workspace
from rporec import config, tables
from tests.project import ROOT, git

DAY = 86_400
LAST, DATE = "2026-01-04", "2026-01-06"


def _events(*rows: tuple[str, str, int]) -> pl.DataFrame:
    made = [(user, item, time, place, None, None) for place, (user, item, time) in enumerate(rows)]
    return pl.DataFrame(made, schema=tables.INTERACTIONS.columns, orient="row")


def _items(*titles: str) -> pl.DataFrame:
    made = [(f"i{place}", title, "", "", "", None, None) for place, title in enumerate(titles)]
    return pl.DataFrame(made, schema=tables.ITEMS.columns, orient="row")


OLD, NEW = _events(("u", "i0", 0), ("u", "i1", DAY)), _items("lamp", "chair")


class Checkout:
    """A checkout with one finished night, and a DVC cache that is filled as DVC fills it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "var"
        git(folder, "init", "--quiet", "--initial-branch=main")
        self.finished: dict[str, str] = {}

    def keep(self, content: bytes, ending: str = "") -> str:
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest() + ending
        place = self.home / "dvc/cache/files/md5" / digest[:2] / digest[2:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        return digest

    def lock(self, events: pl.DataFrame, items: pl.DataFrame, about: str) -> str:
        files = {"source.json": about.encode()}
        for name, frame in (("interactions", events), ("items", items)):
            path = self.folder / f"{name}.parquet"
            frame.write_parquet(path)
            files[path.name] = path.read_bytes()
        listed = [{"md5": self.keep(content), "relpath": name} for name, content in sorted(files.items())]
        digest = self.keep(json.dumps(listed, sort_keys=True).encode(), ".dir")
        return f"schema: '2.0'\nstages:\n  ingest:\n    outs:\n    - path: outputs/ingest\n      md5: {digest}\n"

    def night(self, date: str, lock: str, profile: str = "demo") -> None:
        (self.folder / "dvc.lock").write_text(lock)
        git(self.folder, "add", "dvc.lock")
        git(self.folder, "commit", "--quiet", "--allow-empty", "--message", f"night {date}")
        git(self.folder, "branch", "--force", f"nights/{date}")
        self.finished[date] = profile

    def tonight(self, lock: str) -> Workspace:
        root = self.folder / "runs/nights" / DATE
        root.mkdir(parents=True, exist_ok=True)
        (root / "dvc.lock").write_text(lock)
        return Workspace(self.folder, root, self.home, None, config.load(ROOT / "params.yaml"), {}, {})

    def stops(self, events: pl.DataFrame, items: pl.DataFrame) -> bool:
        space = self.tonight(self.lock(events, items, "tonight"))
        code = 0
        try:
            news.stop_without(space, DATE, lambda _, date: self.finished.get(date))
        except SystemExit as ended:
            code = int(str(ended.code))
        return code == news.SKIP


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_the_first_night_has_news(checkout: Checkout) -> None:
    git(checkout.folder, "commit", "--quiet", "--allow-empty", "--message", "first")
    assert not checkout.stops(OLD, NEW)


def test_the_same_tables_are_no_news_and_that_is_told(checkout: Checkout, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="rporec")
    checkout.night("2026-01-02", checkout.lock(OLD.head(1), NEW, "older"))
    checkout.night(LAST, checkout.lock(OLD, NEW, "other words about the source"))
    assert checkout.stops(OLD, NEW)
    assert f"nothing new since night {LAST}" in caplog.text


@pytest.mark.parametrize(
    ("events", "items", "stops"),
    [
        (OLD.tail(1), NEW, True),  # the window slid, nothing came in
        (pl.concat([OLD, _events(("u", "i0", 2 * DAY))]), NEW, False),
        (_events(("u", "i0", 0), ("v", "i1", DAY)), NEW, False),  # a late row, no newer than what was known
        (OLD, _items("lamp", "armchair"), False),
        (OLD, _items("lamp"), True),  # an item went
    ],
)
def test_news_are_rows_that_were_not_there(
    checkout: Checkout, events: pl.DataFrame, items: pl.DataFrame, *, stops: bool
) -> None:
    checkout.night(LAST, checkout.lock(OLD, NEW, "then"))
    assert checkout.stops(events, items) is stops


def test_a_finished_night_another_profile_and_later_nights_do_not_count(checkout: Checkout) -> None:
    lock = checkout.lock(OLD, NEW, "then")
    checkout.night("2026-01-07", lock)
    checkout.night(LAST, lock, profile="tiny")
    assert not checkout.stops(OLD, NEW), "a backfilled night does not see later ones"
    checkout.night("2026-01-03", lock)
    assert checkout.stops(OLD, NEW)
    checkout.night(DATE, lock)
    assert not checkout.stops(OLD, NEW), "a re-run of a finished night gives its bytes again"


def test_tables_that_were_tidied_away_count_as_news(checkout: Checkout) -> None:
    lock = checkout.lock(OLD.head(1), NEW, "then")
    checkout.night(LAST, lock)
    for path in (checkout.home / "dvc/cache/files/md5").glob("*/*"):
        path.unlink()
    assert not checkout.stops(OLD.head(1), NEW.head(1))
