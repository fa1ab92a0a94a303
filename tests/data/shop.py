"""A tiny shop for the data tests: tables, folders and raw rows built in code."""

import polars as pl
import yaml

from rporec.config import IngestParams, SequenceParams, ValidateParams
from rporec.data.sources.base import RAW_INTERACTIONS, RAW_ITEMS, Raw, complete
from rporec.data.sources.folder import FolderSource
from rporec.data.sources.layout import find_layout
from rporec.tables import INTERACTIONS, ITEMS
from tests.project import ROOT

DAY = 86_400
START = 1_700_006_400  # a UTC midnight


def items(n=6):
    ids = [f"i{k}" for k in range(n)]
    return pl.DataFrame(
        {
            "item_id": ids,
            "title": [f"thing {k}" for k in range(n)],
            "description": [""] * n,
            "brand": ["Fenn", "Rowan"] * (n // 2) + ["Fenn"] * (n % 2),
            "category": ["mug"] * n,
            "price": [1.5 * (k + 1) for k in range(n)],
            "known_from": [None] * n,
        },
        schema=ITEMS.columns,
    )


def events(rows):
    """Rows (user, item, day) as a frame of the events layout; a fraction of a day is its part."""
    return pl.DataFrame(
        {
            "user_id": [user for user, _, _ in rows],
            "item_id": [item for _, item, _ in rows],
            "timestamp": [int(START + day * DAY) for _, _, day in rows],
        },
        schema={"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64},
    )


def given(rows):
    """Rows (user, history as a word of digits, target digit) as a frame of the given layout."""
    return pl.DataFrame(
        {
            "user_id": [user for user, _, _ in rows],
            "history": [[f"i{digit}" for digit in history] for _, history, _ in rows],
            "target": [f"i{target}" for _, _, target in rows],
        },
        schema={"user_id": pl.String, "history": pl.List(pl.String), "target": pl.String},
    )


SPLIT = {
    "train": [("a", "0", 1), ("b", "2", 3), ("a", "01", 2), ("c", "1", 0), ("c", "10", 2), ("d", "3", 4)],
    "valid": [("a", "012", 3), ("c", "102", 5)],
    "test": [("b", "23", 1), ("d", "34", 2)],
}


def steady(users=8, days=20):
    """Every user buys one item a day, walking through the catalogue."""
    return [(f"u{u}", f"i{(u + d) % 6}", d + u / 100) for d in range(days) for u in range(users)]


def write_events(folder, rows, table=None, suffix=".parquet"):
    folder.mkdir(parents=True, exist_ok=True)
    _write(rows if isinstance(rows, pl.DataFrame) else events(rows), folder / f"interactions{suffix}")
    _write(items() if table is None else table, folder / f"items{suffix}")
    return folder


def write_given(folder, split=None):
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (split or SPLIT).items():
        _write(given(rows), folder / f"{name}.parquet")
    _write(items().select("item_id", "title", "description", "brand"), folder / "items.parquet")
    return folder


def _write(frame, path):
    frame.write_parquet(path) if path.suffix == ".parquet" else frame.write_csv(path)


def raw(rows, table=None, simulated=False):
    """Rows (user, item, day) or a frame as what an adapter yields."""
    frame = rows if isinstance(rows, pl.DataFrame) else events(rows)
    frames = (frame, items() if table is None else table)
    placed = [
        one.lazy().with_row_index("row").with_columns(pl.col("row").cast(pl.Int64), file=pl.lit("f")) for one in frames
    ]
    interactions, table = (complete(one, kind) for one, kind in zip(placed, (RAW_INTERACTIONS, RAW_ITEMS), strict=True))
    return Raw(interactions, table, timed=True, given=False, simulated=simulated)


def ingest_params(**changes):
    """Section `ingest` of params.yaml for a folder, with changes."""
    section = yaml.safe_load((ROOT / "params.yaml").read_text())["ingest"]
    section["columns"] |= changes.pop("columns", {})
    return IngestParams(**{**section, "source": "folder", "as_of": None, "quarantine_max_share": 1.0, **changes})


def read_folder(folder, **changes):
    """What the folder adapter yields, its tables collected."""
    source = FolderSource(find_layout(str(folder)), ingest_params(**changes).columns)
    return source.read(folder, None)


def timed_table(rows):
    """Rows (user, item, day) as the INTERACTIONS table."""
    frame = events(rows).sort("timestamp", "user_id", "item_id")
    order = (pl.struct("timestamp", "user_id").rank("dense") - 1).cast(pl.Int64)
    nothing = {"split": pl.lit(None, dtype=pl.String), "history": pl.lit(None, dtype=pl.List(pl.String))}
    return frame.with_columns(order=order, **nothing).select(list(INTERACTIONS.columns))


def given_table(split):
    """A split of rows (user, history word, target digit) as the INTERACTIONS table."""
    frames = [given(rows).with_columns(split=pl.lit(name)) for name, rows in split.items()]
    return (
        pl.concat(frames)
        .with_row_index("order")
        .rename({"target": "item_id"})
        .with_columns(pl.col("order").cast(pl.Int64), timestamp=pl.lit(None, dtype=pl.Int64))
        .select(list(INTERACTIONS.columns))
    )


def sequence_params(**changes):
    values = {
        "history_length": 4, "valid_days": 3, "test_days": 3, "reason_share": 0.3, "align_share": 0.2, "repeats": True,
        "split": "days", "valid_from": None, "test_from": None, "valid_share": 0.1, "test_share": 0.1, "core": 1,
    }  # fmt: skip
    return SequenceParams(**{**values, **changes})


def validate_params(**changes):
    values = {
        "min_interactions": 5,
        "min_users": 2,
        "min_items": 2,
        "max_title_missing": 0.1,
        "drift_psi": 0.2,
        "drift_days": 5,
        "drift_volume": 0.5,
    }
    return ValidateParams(**{**values, **changes})
