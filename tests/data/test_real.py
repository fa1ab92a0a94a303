"""The two real data sets through ingest and sequence, read in place; skipped where they are not beside the checkout."""

import polars as pl
import pytest

from rporec.files import read_json, write_json
from steps.ingest import ingest
from steps.sequence import sequence
from tests.project import ROOT
from tests.steps import data_flow

REAL = ROOT.parent / "shared" / "data"


def flow(name, root, monkeypatch):
    folder = REAL / name
    if not folder.is_dir():
        pytest.skip(f"the real data set {name} is not on this machine (it belongs in ../shared/data/{name})")
    monkeypatch.setenv("RPOREC_DATA", str(folder))
    change = {"sequence": {"history_length": 20, "valid_days": 14, "test_days": 14}}
    data_flow.run(data_flow.workspace(root, data_flow.FOLDER, change), "ingest", ingest)
    source = read_json(root / "outputs/ingest/source.json")
    write_json(root / "outputs/validate/validate.json", {"passed": True, "end": source["end"]})
    data_flow.run(root, "sequence", sequence)
    parts = {part: pl.read_parquet(root / f"outputs/sequence/{part}.parquet") for part in ("train", "valid", "test")}
    return source, parts


def test_industrial_keeps_its_given_split(tmp_path, monkeypatch):
    source, parts = flow("industrial", tmp_path, monkeypatch)
    assert source["timed"] is False
    assert {name: part.height for name, part in parts.items()} == {"train": 32_633, "valid": 3_626, "test": 4_532}
    given = pl.read_parquet(REAL / "industrial/test.parquet")
    items = pl.read_parquet(tmp_path / "outputs/ingest/items.parquet")["item_id"].to_list()
    made = parts["test"].sort("row_id")
    assert [items[target] for target in made["target"]] == given["target"].to_list()
    assert [[items[item] for item in history] for history in made["history"]] == given["history"].to_list()


def test_online_retail_is_split_in_time_and_baskets_share_one_earlier_history(tmp_path, monkeypatch):
    source, parts = flow("online_retail", tmp_path, monkeypatch)
    assert source["timed"] is True
    quarantined = pl.read_parquet(tmp_path / "outputs/ingest/quarantine.parquet").height
    assert pl.read_parquet(tmp_path / "outputs/ingest/interactions.parquet").height + quarantined == 308_059
    assert parts["train"]["timestamp"].max() < parts["valid"]["timestamp"].min()
    assert parts["valid"]["timestamp"].max() < parts["test"]["timestamp"].min()
    for part in parts.values():
        baskets = part.group_by("user_id", "timestamp").agg(pl.col("group").n_unique(), pl.col("history").n_unique())
        assert baskets["group"].max() == 1
        assert baskets["history"].max() == 1
