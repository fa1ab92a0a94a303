"""The stage on a toy world with the real Rechead and baselines: complete, repeatable, calm about an empty day."""

import shutil
from pathlib import Path

import polars as pl
import pytest

from rporec import tables
from rporec.evaluation.results import RANKERS
from rporec.files import read_json, write_json
from steps import evaluate, stage
from tests.steps import evaluated


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("evaluate")
    evaluated.prepare(root)
    stage.execute("evaluate", evaluate.evaluate, root)
    return root


def copy(made: Path, tmp_path: Path) -> Path:
    root = tmp_path / "again"
    shutil.copytree(made, root)
    shutil.rmtree(root / "outputs/evaluate")
    return root


def test_every_file_is_written_and_keeps_its_contract(made: Path) -> None:
    out = made / "outputs/evaluate"
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    wanted = {"metrics.json", "ranks.parquet", "samples.json", "report.html", "reliability.csv", "curves/hit_rate.csv"}
    assert names == wanted
    assert tables.read(out / "ranks.parquet", tables.ranks_table(list(RANKERS))).height == 40
    metrics = read_json(out / "metrics.json")
    assert set(metrics["rankers"]) == set(RANKERS)
    assert all(means["n"] == 40 and 0 <= means["ndcg@10"] <= 1 for means in metrics["rankers"].values())
    assert metrics["oracle"] is None
    assert (
        read_json(made / "records/evaluate.json")["metrics"]["rporec_ndcg@10"]
        == metrics["rankers"]["rporec"]["ndcg@10"]
    )


def test_the_same_input_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    root = copy(made, tmp_path)
    stage.execute("evaluate", evaluate.evaluate, root)
    for name in ("metrics.json", "ranks.parquet", "samples.json", "reliability.csv", "curves/hit_rate.csv"):
        assert (root / "outputs/evaluate" / name).read_bytes() == (made / "outputs/evaluate" / name).read_bytes(), name


def test_a_policy_that_does_not_ship_is_not_what_is_measured(made: Path, tmp_path: Path) -> None:
    root = copy(made, tmp_path)
    write_json(root / "outputs/align/align.json", {"ships": "backbone"})
    stage.execute("evaluate", evaluate.evaluate, root)
    before, after = (read_json(one / "outputs/evaluate/metrics.json")["rankers"] for one in (made, root))
    assert after["rporec"] == after["stage1"] == before["stage1"]


def test_the_oracle_is_told_where_the_source_has_one(made: Path, tmp_path: Path) -> None:
    root = copy(made, tmp_path)
    test = tables.read(root / "outputs/sequence/test.parquet", tables.ROWS)
    ids = tables.read(root / "outputs/ingest/items.parquet", tables.ITEMS)["item_id"].to_list()
    oracle = test.select(
        "user_id", item_id=pl.Series([ids[target] for target in test["target"]]), timestamp="timestamp"
    )
    oracle = oracle.with_columns(ndcg=pl.lit(0.75))
    tables.write(oracle, root / "outputs/ingest/oracle.parquet", tables.ORACLE)
    stage.execute("evaluate", evaluate.evaluate, root)
    assert read_json(root / "outputs/evaluate/metrics.json")["oracle"] == {"ndcg@10": 0.75, "n": 40}


def test_a_day_without_events_has_null_metrics_and_no_error(made: Path, tmp_path: Path) -> None:
    root = copy(made, tmp_path)
    tables.write(tables.empty(tables.ROWS), root / "outputs/sequence/test.parquet", tables.ROWS)
    stage.execute("evaluate", evaluate.evaluate, root)
    metrics = read_json(root / "outputs/evaluate/metrics.json")
    assert metrics["rows"] == 0
    assert metrics["rankers"]["rporec"]["ndcg@10"] is None
    assert read_json(root / "outputs/evaluate/samples.json") == {"good": [], "bad": []}
