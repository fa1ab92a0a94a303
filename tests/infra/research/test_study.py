"""`make study` on a finished run of profile tiny: real training, writing and ranking, a second call, bad input."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from infra.research.study import asked_settings
from infra.research.study_runs import SAMPLES, SETTINGS, TEMPERATURES
from rporec import tables
from rporec.errors import InputError
from rporec.evaluation.study import AS_SET, AVERAGED, BACKBONE, GREEDY, SAMPLED
from rporec.files import read_json
from tests import project
from tests.worlds import World

pytestmark = pytest.mark.timeout(3600)  # the first test may have to make the world
CALL = ("study", "PROFILE=tiny", "ARMS=as_set truth_0", "SEEDS=7")


@pytest.fixture(scope="module")
def done(alone: World) -> Path:
    """The study's folder after one call."""
    made = project.make(alone.clone, *CALL, timeout=1800)
    assert made.returncode == 0, made.stdout[-4000:] + made.stderr[-4000:]
    assert "study: 3 settings x 1 seeds, 3 left" in made.stderr
    (folder,) = (alone.root / "work/study").iterdir()
    return folder


def test_stage_2_stands_beside_stage_1_in_three_decodings(done: Path, alone: World):
    told = read_json(alone.clone / "reports/tiny/study.json")
    assert set(told["valid"]) == {BACKBONE, AS_SET, "truth_0"}
    assert set(told["test"]) == {GREEDY, SAMPLED, AVERAGED}
    metrics = read_json(alone.root / "outputs/evaluate/metrics.json")
    assert told["test"][GREEDY][AS_SET]["rows"] == metrics["rows"]
    for own in told["test"].values():
        assert own[BACKBONE]["minus"]["ndcg@10"]["difference"] == 0.0
    heat = told["runs"][AS_SET]["7"]["temperature"]
    assert set(heat) == {SAMPLED, AVERAGED}
    assert set(heat.values()) <= set(TEMPERATURES)
    page = (alone.clone / "reports/tiny/study.md").read_text()
    assert f"| {AVERAGED} | {told['runs'][BACKBONE]['7']['temperature'][AVERAGED]}; {heat[AVERAGED]} |" in page


def test_the_policy_as_set_is_the_one_that_stage_align_made(done: Path, alone: World):
    """Same seed, same parameters, same code: the same weights, and on valid the same texts."""
    (made,) = (path for path in done.glob(f"{AS_SET}-7/best/model.safetensors"))
    assert made.read_bytes() == (alone.root / "outputs/align/policy/model.safetensors").read_bytes()
    own = tables.read(done / f"{AS_SET}-7.parquet", tables.STUDIED).filter(slice="valid")
    written = tables.read(alone.root / "outputs/align/completions.parquet", tables.COMPLETIONS).filter(slice="valid")
    of_run = written.select("group", words=pl.col("thought").str.split(" ").list.len().cast(pl.Float64))
    rows = tables.read(alone.root / "outputs/sequence/valid.parquet", tables.ROWS).select("row_id", "group")
    both = own.join(rows, on="row_id").join(of_run, on="group", suffix="_of_run")
    assert both.height == rows.height
    assert both.filter(pl.col("words") != pl.col("words_of_run")).is_empty()


def test_a_reward_with_other_weights_gives_another_policy(done: Path):
    first, second = ((done / f"{name}-7/best/model.safetensors").read_bytes() for name in (AS_SET, "truth_0"))
    assert first != second


def test_four_samples_are_written_for_the_averaged_and_one_read_for_the_sampled(done: Path):
    shards = [tables.read(path, tables.COMPLETIONS) for path in done.glob(f"{AS_SET}-7/test-*-{SAMPLES}/*.parquet")]
    assert set(pl.concat(shards)["sample"]) == set(range(SAMPLES))


def test_a_second_call_does_nothing_again(done: Path, alone: World):
    before = {path: path.stat().st_mtime_ns for path in done.rglob("*") if path.is_file()}
    made = project.make(alone.clone, *CALL)
    assert "3 settings x 1 seeds, 0 left" in made.stderr
    assert {path: path.stat().st_mtime_ns for path in done.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("words", ["sideways", "as_set sideways"])
def test_a_setting_that_does_not_exist_is_named(words: str):
    with pytest.raises(InputError, match="no such setting") as caught:
        asked_settings(words)
    assert caught.value.value == "sideways"
    assert asked_settings("") == [BACKBONE, AS_SET]
    assert asked_settings("ndcg") == [BACKBONE, "ndcg"]
    assert set(SETTINGS) > {"ndcg", "ndcg_1000", "reciprocal_log", "log_probability", "published"}


def test_it_takes_the_last_run_as_it_is(alone: World):
    refused = project.make(alone.clone, "study", "PROFILE=tiny", SET="align.steps=9")
    assert refused.returncode != 0
    assert "leave them to make run" in refused.stderr
    missing = project.make(alone.clone, "study", "PROFILE=paper")
    assert missing.returncode != 0
    assert "this profile has not run" in missing.stderr
