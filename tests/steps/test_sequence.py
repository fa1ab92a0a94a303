"""Stage sequence: rows and audit from the market, from a given split and from the real sets; a planted leak stops."""

from pathlib import Path

import polars as pl
import pytest

from rporec.errors import InputError
from rporec.files import read_json, write_json
from rporec.tables import ROWS, read
from steps.ingest import ingest
from steps.sequence import sequence
from tests.data import shop
from tests.project import ROOT
from tests.steps.data_flow import FOLDER, hashes, ingested, run, workspace

REAL = ROOT.parent / "shared" / "data"
PARTS = ("train.parquet", "valid.parquet", "test.parquet", "leakage.json")


def test_the_market_is_cut_and_gives_the_same_bytes_again(tmp_path):
    outcome = run(ingested(tmp_path), "sequence", sequence)
    tables = {name: read(tmp_path / f"outputs/sequence/{name}.parquet", ROWS) for name in ("train", "valid", "test")}
    assert set(tables["train"]["slice"]) == {"fit", "reason", "align"}
    assert outcome.metrics["rows_test"] == tables["test"].height > 50
    report = read_json(tmp_path / "outputs/sequence/leakage.json")
    assert report["passed"]
    assert report["test_start"] == 1_767_225_600 - 6 * 86_400
    assert tables["train"]["timestamp"].max() < report["valid_start"]
    before = hashes(tmp_path / "outputs/sequence")
    assert set(before) == set(PARTS)
    run(tmp_path, "sequence", sequence)
    assert hashes(tmp_path / "outputs/sequence") == before


def test_a_planted_leak_stops_the_run_and_keeps_the_last_outputs(tmp_path, monkeypatch):
    data = shop.write_given(tmp_path / "data")
    monkeypatch.setenv("RPOREC_DATA", str(data))
    run(ingested(tmp_path, FOLDER), "sequence", sequence)
    before = hashes(tmp_path / "outputs/sequence")
    shop.write_given(data, {**shop.SPLIT, "train": [*shop.SPLIT["train"], shop.SPLIT["test"][0]]})
    run(tmp_path, "ingest", ingest)
    with pytest.raises(InputError, match="leak: 1 rows of test stand in train") as caught:
        run(tmp_path, "sequence", sequence)
    assert "user b" in caught.value.message()
    assert hashes(tmp_path / "outputs/sequence") == before


def test_without_validation_it_does_not_start(tmp_path):
    with pytest.raises(InputError, match="not validated"):
        run(workspace(tmp_path), "sequence", sequence)


def real(name: str) -> Path:
    folder = REAL / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not on this machine")
    return folder


def test_industrial_is_honoured(tmp_path, monkeypatch):
    monkeypatch.setenv("RPOREC_DATA", str(real("industrial")))
    run(ingested(tmp_path, FOLDER, {"sequence": {"history_length": 10}}), "sequence", sequence)
    report = read_json(tmp_path / "outputs/sequence/leakage.json")
    rows = report["rows"]
    assert rows["fit"] + rows["reason"] + rows["align"] == 32_633
    assert (rows["valid"], rows["test"]) == (3_626, 4_532)
    given = pl.read_parquet(REAL / "industrial/test.parquet")
    test = read(tmp_path / "outputs/sequence/test.parquet", ROWS)
    ids = pl.read_parquet(tmp_path / "outputs/ingest/items.parquet")["item_id"]
    assert ids.gather(test["target"]).to_list() == given["target"].to_list()
    assert [ids.gather(h).to_list() for h in test["history"].head(50)] == given["history"].head(50).to_list()


def test_online_retail_keeps_baskets_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("RPOREC_DATA", str(real("online_retail")))
    changes = {"sequence": {"history_length": 20, "valid_days": 14, "test_days": 14}}
    ingested(tmp_path, FOLDER, changes)
    end = read_json(tmp_path / "outputs/ingest/source.json")["end"]
    write_json(tmp_path / "outputs/validate/validate.json", {"passed": True, "end": end})
    run(tmp_path, "sequence", sequence)
    report = read_json(tmp_path / "outputs/sequence/leakage.json")
    assert sum(report["rows"].values()) + report["first_purchases"] == 308_000
    test = pl.read_parquet(tmp_path / "outputs/sequence/test.parquet")
    assert test.group_by("user_id", "timestamp").agg(pl.col("history").n_unique(), pl.col("group").n_unique()).select(
        pl.max("history", "group")
    ).row(0) == (1, 1)
    assert test["group"].n_unique() == report["groups"]["test"] > 500
