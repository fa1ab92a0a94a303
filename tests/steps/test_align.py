"""Stage align on a toy workspace: outputs and contracts, a real kill, no training, another catalogue's Rechead."""

import os
import shutil
import signal
import subprocess
import sys
import time

import polars as pl
import pytest
import yaml

from rporec import config, tables
from rporec.backbone.source import load_writer
from rporec.encode.static import StaticEncoder
from rporec.errors import InputError
from rporec.files import read_json, sha256_path
from rporec.reasoning.prompt import FOLLOWED, NEIGHBOURS
from steps import stage
from steps.align import align
from steps.cot import cot
from tests.release import world

SMALL = {
    "steps": 4, "prompts_per_step": 4, "num_generations": 4, "micro_batch": 16, "eval_every": 2, "eval_groups": 8,
    "collapse_margin": 1.0, "near_margin": 0.0, "checkpoint_every": 2, "learning_rate": 0.001,
}  # fmt: skip


def set_params(root, section, **changes):
    raw = yaml.safe_load((root / "params.yaml").read_text())
    raw[section] |= changes
    (root / "params.yaml").write_text(yaml.safe_dump(raw))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp("prepared")
    os.environ["RPOREC_HOME"] = str(root / "home")
    world.write_outputs(root)
    shutil.rmtree(root / "outputs/align")
    for name in ("reward", "chosen"):
        shutil.copytree(root / "outputs/rechead/final", root / "outputs/rechead" / name)
    train = tables.read(root / "outputs/sequence/train.parquet", tables.ROWS)
    slices = ["fit"] * 120 + ["reason"] * 20 + ["align"] * 20
    tables.write(train.with_columns(slice=pl.Series(slices)), root / "outputs/sequence/train.parquet", tables.ROWS)
    set_params(root, "run", threads=1)
    set_params(root, "align", **SMALL)
    set_params(root, "backbone", prompt_items=3, max_prompt_tokens=200, max_completion_tokens=40)
    set_params(root, "backbone", evidence={"followed": 2, "neighbours": 1, "description_words": 0})
    stage.execute("cot", cot, root)
    return root


@pytest.fixture
def root(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture(scope="module")
def done(prepared, tmp_path_factory):
    root = tmp_path_factory.mktemp("done") / "root"
    shutil.copytree(prepared, root)
    stage.execute("align", align, root)
    return root


def test_outputs_keep_their_contracts(prepared, done):
    out = done / "outputs/align"
    written = tables.read(out / "completions.parquet", tables.COMPLETIONS)
    before = tables.read(done / "outputs/cot/completions.parquet", tables.COMPLETIONS)
    assert written["slice"].unique().sort().to_list() == ["test", "valid"]
    assert written.select("group", "sample").equals(
        before.filter(pl.col("slice") != "reason").select("group", "sample")
    )
    rollouts = tables.read(out / "rollouts.parquet", tables.ROLLOUTS)
    assert written["prompt"].equals(before.filter(pl.col("slice") != "reason")["prompt"])
    for prompts in (written["prompt"], rollouts["prompt"]):
        assert prompts.str.contains(FOLLOWED, literal=True).all()
        assert prompts.str.contains(NEIGHBOURS, literal=True).any()
    assert rollouts["step"].unique().sort().to_list() == [1, 2, 3, 4]
    assert rollouts.select(pl.col("reward").is_between(0, 1).all()).item()
    curve = pl.read_csv(out / "rewards.csv")
    assert curve["step"].to_list() == [0, 1, 2, 3, 4]
    assert curve["heldout_ndcg@10"].is_not_null().to_list() == [True, False, True, False, True]
    assert curve["reward"][1:].is_not_null().all()
    assert curve["kl"][1:].is_not_null().all()
    assert load_writer(out / "policy").encode("x")


def test_the_decision_is_written_with_its_reason(done):
    said = read_json(done / "outputs/align/align.json")
    assert said["ships"] in ("policy", "backbone")
    assert said["reason"]
    assert said["rows"] == 20
    assert said["steps"] == 4
    assert said["valid_well_formed"] > 0.5


def test_what_is_frozen_stays_and_nothing_kept_is_a_pickle(prepared, done):
    for name in ("rechead", "backbone", "cot", "sequence"):
        assert sha256_path(done / "outputs" / name) == sha256_path(prepared / "outputs" / name)
    kept = {file.suffix for file in (done / "outputs/align").rglob("*") if file.is_file()}
    assert kept == {".json", ".safetensors", ".parquet", ".csv"}
    assert not (done / "work/align").exists()
    weights = "model.safetensors"
    changed = sha256_path(done / "outputs/align/policy" / weights)
    assert changed != sha256_path(done / "outputs/backbone/model" / weights)


def test_a_killed_stage_ends_with_the_same_bytes(done, root):
    env = {**os.environ, "PYTHONPATH": str(world.ROOT)}
    process = subprocess.Popen([sys.executable, "-m", "steps.align"], cwd=root, env=env, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        if list((root / "work/align").glob("*/journal/000003.json")):
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the stage was over before it was killed"
    assert not (root / "outputs/align").exists()
    stage.execute("align", align, root)
    assert sha256_path(root / "outputs/align") == sha256_path(done / "outputs/align")


def test_without_steps_the_backbone_ships(root):
    set_params(root, "align", steps=0)
    stage.execute("align", align, root)
    said = read_json(root / "outputs/align/align.json")
    assert (said["ships"], said["steps"], said["best_step"]) == ("backbone", 0, 0)
    assert sha256_path(root / "outputs/align/policy") == sha256_path(root / "outputs/backbone/model")
    assert tables.read(root / "outputs/align/rollouts.parquet", tables.ROLLOUTS).is_empty()


def test_a_day_without_valid_rows_trains_nothing(root):
    tables.write(tables.empty(tables.ROWS), root / "outputs/sequence/valid.parquet", tables.ROWS)
    stage.execute("align", align, root)
    said = read_json(root / "outputs/align/align.json")
    assert (said["ships"], said["steps"], said["valid_ndcg"]) == ("backbone", 0, None)


@pytest.mark.parametrize("change", ["another title", "one item fewer"])
def test_a_rechead_of_another_catalogue_is_refused(root, change):
    items = tables.read(root / "outputs/ingest/items.parquet", tables.ITEMS)
    if change == "another title":
        items = items.with_columns(title=pl.col("title").str.replace("lamp", "stool"))
    else:
        items = items.head(items.height - 1)
    tables.write(items, root / "outputs/ingest/items.parquet", tables.ITEMS)
    with pytest.raises(InputError, match="another catalogue"):
        stage.execute("align", align, root)
    assert not (root / "outputs/align").exists()


def test_a_rechead_of_another_encoder_is_refused_by_hash(root):
    text = root / "outputs/rechead/reward/text"
    shutil.rmtree(text)
    StaticEncoder.fit(["red lamp", "blue chair", "green table"], dim=4, seed=99).save(text)
    with pytest.raises(InputError, match="another text encoder") as error:
        stage.execute("align", align, root)
    assert error.value.field == "text"
    assert error.value.value != error.value.rule
    assert not (root / "outputs/align").exists()


@pytest.mark.platform
def test_the_stage_starts_its_processes_and_reads_what_they_leave(root, monkeypatch):
    shutil.copytree(world.ROOT / "infra" / "accelerate", root / "infra" / "accelerate")
    monkeypatch.setenv("PYTHONPATH", str(world.ROOT))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    set_params(root, "align", processes=2, micro_batch=8)
    stage.execute("align", align, root)
    assert read_json(root / "outputs/align/align.json")["steps"] == 4
    assert not (root / "work/align").exists()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"weights": {"rank": -0.1}}, "align.weights.rank"),
        (
            {"weights": dict.fromkeys(("format", "outside", "rank", "concise", "similar", "entropy"), 0.0)},
            "align.weights",
        ),
        ({"num_generations": 1}, "align.num_generations"),
        ({"prompts_per_step": 4, "num_generations": 3, "micro_batch": 8}, "align"),
        ({"prompts_per_step": 4, "processes": 3}, "align"),
        ({"prompts_per_step": 4, "num_generations": 4, "processes": 2, "micro_batch": 5}, "align"),
        ({"processes": 2, "parallel": "fsdp", "lora_rank": 4}, "align"),
        (
            {"zero_variance": "resample", "vllm": {"url": "http://localhost:1", "timeout": 1.0, "group_port": 2}},
            "align",
        ),
        ({"vllm": {"url": "http://key@localhost:1", "timeout": 1.0, "group_port": 2}}, "align.vllm.url"),
        ({"zero_variance": "drop"}, "align.zero_variance"),
    ],
)
def test_parameters_that_break_a_rule_are_refused(changes, field):
    raw = yaml.safe_load((world.ROOT / "params.yaml").read_text())
    weights = raw["align"]["weights"] | changes.get("weights", {})
    raw["align"] |= {**changes, "weights": weights}
    with pytest.raises(InputError) as error:
        config.parse(raw, "params.yaml")
    assert error.value.field == field
