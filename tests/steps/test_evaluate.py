"""The stage on a toy world with the real Rechead and baselines: complete, repeatable, calm about an empty day."""

import re
import shutil
from pathlib import Path

import polars as pl
import pytest

from rporec import tables
from rporec.errors import InputError
from rporec.evaluation.results import RANKERS
from rporec.files import read_json, write_json
from steps import evaluate, stage
from tests.steps import evaluated

NEW = 18  # items from here on, all of one brand, are made unknown to the fit rows


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
    assert names == {
        "metrics.json", "ranks.parquet", "samples.json", "report.html", "reliability.csv", "curves/hit_rate.csv",
        "reasoning.json", "reasoning.html",
    }  # fmt: skip
    kept = read_json(made / "records/evaluate.json")["files"]
    assert {"outputs/evaluate/reasoning.json", "outputs/evaluate/reasoning.html"} <= set(kept)
    assert tables.read(out / "ranks.parquet", tables.ranks_table(list(RANKERS))).height == 40
    metrics = read_json(out / "metrics.json")
    assert set(metrics["rankers"]) == set(RANKERS)
    assert all(means["n"] == 40 and 0 <= means["ndcg@10"] <= 1 for means in metrics["rankers"].values())
    assert metrics["oracle"] is None
    assert metrics["chosen"]["sasrec"]["variant"] in ("ids", "text and ids")
    for name in ("sasrec", "gsasrec"):
        assert f"{name} is the variant {metrics['chosen'][name]['variant']}" in (out / "report.html").read_text()
    assert (
        read_json(made / "records/evaluate.json")["metrics"]["rporec_ndcg@10"]
        == metrics["rankers"]["rporec"]["ndcg@10"]
    )


def test_the_same_input_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    root = copy(made, tmp_path)
    stage.execute("evaluate", evaluate.evaluate, root)
    for name in (
        "metrics.json", "ranks.parquet", "samples.json", "reliability.csv", "curves/hit_rate.csv", "reasoning.json",
        "reasoning.html",
    ):  # fmt: skip
        assert (root / "outputs/evaluate" / name).read_bytes() == (made / "outputs/evaluate" / name).read_bytes(), name


def test_a_policy_that_does_not_ship_is_not_what_is_measured(made: Path, tmp_path: Path) -> None:
    root = copy(made, tmp_path)
    write_json(root / "outputs/align/align.json", {"ships": "backbone"})
    stage.execute("evaluate", evaluate.evaluate, root)
    before, after = (read_json(one / "outputs/evaluate/metrics.json")["rankers"] for one in (made, root))
    assert after["rporec"] == after["stage1"] == before["stage1"]
    reasoning = read_json(root / "outputs/evaluate/reasoning.json")
    assert reasoning["ships"] == "backbone"
    assert sorted(reasoning["texts"]) == ["backbone_test", "backbone_valid"]


def test_each_writer_is_read_by_its_own_rechead(made: Path, tmp_path: Path) -> None:
    root = copy(made, tmp_path)
    own = root / "outputs/align/rechead/final"
    shutil.copytree(root / "outputs/rechead/final", own)
    settings = read_json(own / "rechead.json")
    settings["weights"]["strength"] = 0.0
    write_json(own / "rechead.json", settings)
    stage.execute("evaluate", evaluate.evaluate, root)
    before, after = (read_json(one / "outputs/evaluate/metrics.json")["rankers"] for one in (made, root))
    assert after["rporec"] == after["reasoning_removed"] != before["rporec"], "a head that heeds no reasoning"
    assert after["stage1"] == before["stage1"] != after["rporec"], "stage 1 keeps the Rechead of the backbone"
    assert after["no_reasoning"] == before["no_reasoning"]


def test_the_written_reasoning_of_both_writers_is_judged(made: Path) -> None:
    found = read_json(made / "outputs/evaluate/reasoning.json")
    assert found["ships"] == "policy"
    counts = {name: one["completions"] for name, one in found["texts"].items()}
    assert counts == {"policy_test": 40, "backbone_valid": 20, "backbone_test": 40}
    assert found["composed"] == 1
    assert all(one["lengths"]["completion_tokens"][0] > 0 for one in found["texts"].values())
    html = (made / "outputs/evaluate/reasoning.html").read_text()
    assert "Form and truth" in html
    assert not re.search(r"(src|href)=|http", html)


def test_a_writer_that_is_told_the_targets_stops_the_run(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The policy of this world answers with the targets themselves: a leak, where no fit row could teach the item."""
    root = copy(made, tmp_path)
    file = root / "outputs/sequence/train.parquet"
    new = (pl.col("target") >= NEW) | (pl.col("history").list.max() >= NEW)
    slices = pl.when(new).then(pl.lit("align")).otherwise(pl.col("slice"))
    tables.write(tables.read(file, tables.ROWS).with_columns(slice=slices), file, tables.ROWS)
    with monkeypatch.context() as patched:
        patched.setattr(evaluate, "fit_all", lambda *_: pytest.fail("judged only after the baselines were fitted"))
        with pytest.raises(InputError, match=r"leak: texts name targets") as caught:
            stage.execute("evaluate", evaluate.evaluate, root)
    assert re.search(r"policy_test: named in 100.0% of \d+ rows", caught.value.message())
    assert not (root / "outputs/evaluate").exists()
    write_json(root / "outputs/align/align.json", {"ships": "backbone"})
    stage.execute("evaluate", evaluate.evaluate, root)
    told = read_json(root / "outputs/evaluate/reasoning.json")["texts"]["backbone_test"]["told"]
    assert told["rows"] > 0
    assert not told["told"]


def test_a_policy_with_another_tokenizer_is_refused(made: Path, tmp_path: Path) -> None:
    root = copy(made, tmp_path)
    path = root / "outputs/align/policy/tokenizer.json"
    write_json(path, {**read_json(path), "normalizer": {"type": "Lowercase"}})
    with pytest.raises(InputError, match="tokenizer is not the backbone's") as error:
        stage.execute("evaluate", evaluate.evaluate, root)
    assert error.value.file == root / "outputs/align/policy"
    assert not (root / "outputs/evaluate").exists()


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
    assert read_json(root / "outputs/evaluate/reasoning.json")["texts"]["policy_test"]["told"]["rows"] == 0
