"""Stage align on a toy workspace: outputs and contracts, a real kill, no training, another catalogue's Rechead."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time

import polars as pl
import pytest
import torch
import yaml

from rporec import tables
from rporec.align import rounds
from rporec.align.curves import Journal
from rporec.backbone.source import load_writer
from rporec.encode.static import StaticEncoder
from rporec.errors import InputError
from rporec.files import read_json, sha256_path
from rporec.reasoning.prompt import FOLLOWED, NEIGHBOURS
from steps import align as step
from steps import stage
from steps.align import align
from steps.cot import cot
from tests.release import world

SMALL = {
    "steps": 4, "prompts_per_step": 4, "num_generations": 4, "micro_batch": 16, "eval_every": 2, "eval_groups": 8,
    "collapse_margin": 1.0, "near_margin": 0.0, "checkpoint_every": 2, "learning_rate": 0.0003,
    "temperature": 0.4,  # at 1 this writer keeps no form, and no reward differs from another
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
    most = sum(yaml.safe_load((prepared / "params.yaml").read_text())["align"]["weights"].values())
    assert rollouts.select(pl.col("reward").is_between(0, most).all()).item()
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
    assert set(said["gains"]) == {"ndcg", "grounded", "named", "words"}
    assert said["gains"]["ndcg"]["difference"] == pytest.approx(said["valid_ndcg"] - said["valid_ndcg_backbone"])
    assert said["reasoning_strength"] > 0


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


def spied(monkeypatch, module, name):
    """Let a function be called as ever, and return the list that its arguments go to."""
    real, seen = getattr(module, name), []

    def called(*given):
        seen.append(given)
        return real(*given)

    monkeypatch.setattr(module, name, called)
    return seen


TWICE = {
    "rounds": 2,
    "ship": "not_worse",
    "ship_margin": 1.0,
}  # however bad, the policy ships, and round 1 is the simpler one


@pytest.fixture(scope="module")
def twice(prepared, tmp_path_factory):
    """Two rounds; what `train_policy` and `refit` were called with, and the hashes of the policies begun with."""
    root = tmp_path_factory.mktemp("twice") / "root"
    shutil.copytree(prepared, root)
    set_params(root, "align", **TWICE)
    with pytest.MonkeyPatch.context() as patch:
        learned, fitted = spied(patch, step, "train_policy"), spied(patch, rounds, "refit")
        stage.execute("align", align, root)
    return root, learned, fitted


def test_the_second_round_goes_on_from_the_first_with_recheads_that_read_its_policy(done, twice):
    root, (first, second), fitted = twice
    said = read_json(root / "outputs/align/align.json")
    assert [one["round"] for one in said["rounds"]] == [1, 2]
    assert [one["steps"] for one in said["rounds"]] == [4, 4]
    assert said["rounds"][0]["valid_ndcg_before"] == said["valid_ndcg_backbone"]
    assert said["rounds"][1]["valid_ndcg_before"] == said["rounds"][0]["valid_ndcg"] == said["valid_ndcg"]
    assert (said["ships"], said["chosen_round"], said["steps"]) == ("policy", 1, 8)
    assert first[1].backbone == root / "outputs/backbone/model"
    assert second[1].backbone == first[1].work / "best"
    assert (first[1].origin, second[1].origin["step"]) == (None, 0)
    begun = pl.read_csv(done / "outputs/align/rewards.csv").row(0, named=True)
    for name in ("heldout_ndcg@10", "heldout_well_formed", "heldout_grounded", "heldout_named", "heldout_length"):
        assert second[1].origin[name] == pytest.approx(begun[name], abs=1e-6), "a collapse is one of the backbone"
    before, after = (one[4].head for one in (first, second))
    assert any(
        not torch.equal(a, b) for a, b in zip(before.reasoning.parameters(), after.reasoning.parameters(), strict=True)
    )
    histories = [[1, 2], [3]]
    assert torch.equal(before.history_logits(histories), after.history_logits(histories))
    curves = [pl.read_csv(one / "outputs/align/rewards.csv") for one in (done, root)]
    assert curves[1]["step"].to_list() == list(range(9))
    assert curves[1].head(5).equals(curves[0]), "round 1 is what a single round is"
    assert curves[1]["kl"][8] > 0, "round 2 moves its policy"
    assert sha256_path(root / "outputs/align/policy") == sha256_path(done / "outputs/align/policy")
    assert len(fitted) == 2


def test_no_row_of_align_fits_a_rechead_and_no_other_row_is_a_prompt(prepared, twice):
    _, learned, fitted = twice
    train = tables.read(prepared / "outputs/sequence/train.parquet", tables.ROWS)
    groups = {name: set(train.filter(slice=name)["group"]) for name in ("fit", "reason", "align")}
    valid = set(tables.read(prepared / "outputs/sequence/valid.parquet", tables.ROWS)["group"])
    for _, reason, held, *_ in fitted:
        assert set(reason.examples.groups.tolist()) == groups["reason"]
        assert set(held.examples.groups.tolist()) == valid
    for call in learned:
        assert {group for group, _ in call[3]} <= groups["align"]


def test_what_is_frozen_stays_over_the_rounds(prepared, twice):
    root = twice[0]
    for name in ("rechead", "backbone", "cot", "sequence"):
        assert sha256_path(root / "outputs" / name) == sha256_path(prepared / "outputs" / name)
    for name in ("reward", "chosen", "final"):
        old, new = (root / "outputs" / folder / name for folder in ("rechead", "align/rechead"))
        files = {file.relative_to(old) for file in old.rglob("*") if file.is_file()}
        assert files == {file.relative_to(new) for file in new.rglob("*") if file.is_file()}
        moved = {str(file) for file in files if sha256_path(old / file) != sha256_path(new / file)}
        assert moved == {"rechead.json", "reasoning.safetensors"}


def test_a_single_round_leaves_no_recheads_and_tells_of_no_rounds(done):
    assert not (done / "outputs/align/rechead").exists()
    assert not {"rounds", "chosen_round"} & read_json(done / "outputs/align/align.json").keys()


def dies_between_rounds(root):
    """Run the stage; it is killed when the fitted Recheads are about to be put in their place."""
    rounds.replace_folder = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    stage.execute("align", align, root)


class Stopped(Exception):
    """In the place of a kill, where one process is enough."""


def test_rounds_that_are_killed_between_and_within_end_with_the_same_bytes(twice, root, monkeypatch):
    set_params(root, "align", **TWICE)
    process = multiprocessing.get_context("spawn").Process(target=dies_between_rounds, args=(root,))
    process.start()
    process.join(500)
    assert process.exitcode == -signal.SIGKILL
    (work,) = (root / "work/align").iterdir()
    assert {"done.json", "best", "rechead.new"} <= {path.name for path in work.iterdir()}
    assert not (work / "rechead").exists()
    write = Journal.write

    def stopping(self, step, row, rollouts):
        if step == 3:
            raise Stopped
        write(self, step, row, rollouts)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "write", stopping)
        with pytest.raises(Stopped):
            stage.execute("align", align, root)
    assert (work / "next/checkpoints/checkpoint-2").is_dir(), "stopped within round 2"
    assert not (root / "outputs/align").exists()
    stage.execute("align", align, root)
    assert sha256_path(root / "outputs/align") == sha256_path(twice[0] / "outputs/align")


def test_the_number_format_of_the_backbone_reaches_the_run(root, monkeypatch):
    def told(_params, setup, *_others):
        raise Stopped(setup.dtype)

    set_params(root, "backbone", dtype="bfloat16")
    monkeypatch.setattr(step, "train_policy", told)
    with pytest.raises(Stopped, match="bfloat16"):
        stage.execute("align", align, root)


@pytest.mark.platform
def test_the_stage_starts_its_processes_and_reads_what_they_leave(root, monkeypatch):
    shutil.copytree(world.ROOT / "infra" / "accelerate", root / "infra" / "accelerate")
    monkeypatch.setenv("PYTHONPATH", str(world.ROOT))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    set_params(root, "align", processes=2, micro_batch=8)
    stage.execute("align", align, root)
    assert read_json(root / "outputs/align/align.json")["steps"] == 4
    assert not (root / "work/align").exists()
