"""Stage backbone: same bytes again and after a kill; a pretrained folder is taken as it is; a wrong name is refused."""

import logging
import os
import subprocess
import sys
import time

import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from rporec import tables, weights
from rporec.backbone import finetune, learn
from rporec.backbone.source import load_writer
from rporec.errors import InputError
from rporec.files import read_json, write_json
from steps import stage
from steps.backbone import backbone
from steps.cot import cot
from tests.backbone.models import llama, qwen3
from tests.backbone.teaching import chat, error, serving
from tests.kills import killed
from tests.project import ROOT
from tests.steps.data_flow import hashes, run
from tests.steps.writing_flow import prepared, write_rows


def test_a_writer_comes_out_and_the_loss_falls(tmp_path):
    outcome = run(prepared(tmp_path), "backbone", backbone)
    folder = tmp_path / "outputs/backbone"
    assert load_writer(folder / "model").count("hello") > 0
    curve = pl.read_csv(folder / "curve.csv")
    assert curve["loss"][-1] < curve["loss"][0]
    summary = read_json(folder / "backbone.json")
    assert summary["steps"] == curve.height
    assert summary["examples"] == 24
    taught = tables.read(folder / "composed.parquet", tables.COMPOSED)
    assert taught.height == 24
    assert not (taught["thought"] == "").any()
    assert tables.read(folder / "learned.parquet", tables.LEARNED)["row_id"].to_list() == list(range(24))
    assert summary["source"] == "embedded"
    assert outcome.metrics["held_out_loss"] == summary["held_out_loss"]


def test_same_bytes_again_and_after_a_kill(tmp_path, monkeypatch):
    run(prepared(tmp_path), "backbone", backbone)
    before = hashes(tmp_path / "outputs/backbone")
    run(tmp_path, "backbone", backbone)
    assert hashes(tmp_path / "outputs/backbone") == before
    monkeypatch.setattr(learn, "_CHECKPOINT_EVERY", 2)
    real = finetune._update
    with killed(finetune, "_update", after=5) as done:
        run(tmp_path, "backbone", backbone)
    assert hashes(tmp_path / "outputs/backbone") == before  # the last good output is still there
    monkeypatch.setattr(finetune, "_update", lambda *args, **kwargs: done.append(args) or real(*args, **kwargs))
    run(tmp_path, "backbone", backbone)
    assert hashes(tmp_path / "outputs/backbone") == before
    assert len(done) == read_json(tmp_path / "outputs/backbone/backbone.json")["steps"] + 1  # one step was lost


def test_targets_outside_the_fit_slice_do_not_reach_the_weights(tmp_path):
    run(prepared(tmp_path), "backbone", backbone)
    before = hashes(tmp_path / "outputs/backbone/model")
    write_rows(tmp_path, move=3)
    run(tmp_path, "backbone", backbone)
    assert hashes(tmp_path / "outputs/backbone/model") == before


def test_a_pretrained_model_is_taken_from_its_folder(tmp_path):
    writer = llama()
    change = pretrained(tmp_path, writer, epochs=0)
    outcome = run(prepared(tmp_path, change), "backbone", backbone)
    taken = load_writer(tmp_path / "outputs/backbone/model")
    assert taken.render("x") == "<|user|>x<|model|>"
    assert taken.model.lm_head.weight.equal(writer.model.lm_head.weight)
    assert outcome.metrics["steps"] == 0
    assert tables.read(tmp_path / "outputs/backbone/learned.parquet", tables.LEARNED).is_empty()


@pytest.mark.parametrize("lora_rank", [0, 4])
@pytest.mark.parametrize("make", [qwen3, llama])
def test_a_pretrained_model_is_tuned_in_float32_and_saved_as_asked(tmp_path, monkeypatch, make, lora_rank):
    change = pretrained(tmp_path, make(), dtype="bfloat16", lora_rank=lora_rank, learning_rate=0.001)
    tuned_in = []
    real = finetune._update

    def watched(model, optimizer, *args, **kwargs):
        loss = real(model, optimizer, *args, **kwargs)
        tuned_in.extend(weight.dtype for weight in model.parameters())
        tuned_in.extend(t.dtype for state in optimizer.state.values() for t in state.values())
        assert kwargs["autocast"]
        return loss

    monkeypatch.setattr(finetune, "_update", watched)
    run(prepared(tmp_path, change), "backbone", backbone)
    assert set(tuned_in) == {torch.float32}
    folder = tmp_path / "outputs/backbone/model"
    assert read_json(folder / "config.json")["dtype"] == "bfloat16"
    assert {t.dtype for t in load_file(folder / "model.safetensors").values()} == {torch.bfloat16}
    assert not list(folder.glob("adapter*"))
    curve = pl.read_csv(tmp_path / "outputs/backbone/curve.csv")
    assert curve["loss"][-1] < curve["loss"][0]
    run(tmp_path, "cot", cot)
    assert (tmp_path / "outputs/cot/completions.parquet").exists()


def test_a_model_without_a_chat_template_is_tuned_and_writes(tmp_path):
    change = pretrained(tmp_path, llama(chat=False), dtype="float32", learning_rate=0.001)
    run(prepared(tmp_path, change), "backbone", backbone)
    run(tmp_path, "cot", cot)
    table = tables.read(tmp_path / "outputs/cot/completions.parquet", tables.COMPLETIONS)
    assert table.height == 19
    taken = load_writer(tmp_path / "outputs/backbone/model")
    assert taken.tokenizer.chat_template is None
    assert taken.render("x") == "x"


TRUE = "<think>It is the last item that speaks.</think><answer>x</answer>"


def taught(root, url, **changes):
    """Let a teacher write; nothing of a try takes long."""
    asking = {"url": url, "model": "wise", "backoff": 0.01, "timeout": 5.0, "retries": 1, **changes}
    return prepared(root, {"backbone": {"teacher": asking, "max_completion_tokens": 60}})


def test_a_teacher_writes_for_fit_rows_alone_and_a_second_run_asks_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("RPOREC_TEACHER_KEY", "sk-hush")

    def answer(number, body):
        return chat("no tags" if number % 4 == 0 else TRUE)

    with serving(answer) as (url, seen):
        outcome = run(taught(tmp_path, url, prompt_price=1.0, completion_price=2.0), "backbone", backbone)
        asked = len(seen.bodies)
        folder = tmp_path / "outputs/backbone"
        summary, before = read_json(folder / "backbone.json"), hashes(folder)
        again = run(tmp_path, "backbone", backbone)
        assert len(seen.bodies) == asked
        assert hashes(folder) == before
        write_rows(tmp_path, move=3)  # targets outside the fit slice
        run(tmp_path, "backbone", backbone)
        assert len(seen.bodies) == asked
        assert hashes(folder / "model") == {
            name.removeprefix("model/"): value for name, value in before.items() if name.startswith("model/")
        }
    assert {headers["authorization"] for headers in seen.headers} == {"Bearer sk-hush"}
    assert summary["teacher"] == "wise"
    assert set(read_json(folder / "teacher.json").values()) == {TRUE, "no tags"}
    assert summary["teacher_kept"] + summary["teacher_malformed"] == summary["examples"] == 24
    assert summary["teacher_malformed"] > 0
    assert summary["teacher_dollars"] == pytest.approx(asked * (100 * 1 + 20 * 2) / 1e6)
    assert (outcome.metrics["teacher_asked_now"], again.metrics["teacher_asked_now"]) == (asked, 0)
    assert again.metrics["teacher_dollars_now"] == 0
    assert "by the teacher" in outcome.closing
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or b"sk-hush" not in file.read_bytes(), file


def test_a_teacher_that_fails_stops_the_stage_and_what_it_wrote_is_kept(tmp_path):
    def dying(number, body):
        return chat(TRUE) if number < 3 else error(500, "out of memory")

    with serving(dying) as (url, _), pytest.raises(InputError, match="out of memory"):
        run(taught(tmp_path, url, concurrency=1), "backbone", backbone)
    assert not (tmp_path / "outputs/backbone").exists()
    with serving(lambda *_: chat(TRUE)) as (url, seen):
        outcome = run(taught(tmp_path, url), "backbone", backbone)
    assert outcome.metrics["teacher_asked_now"] == len(seen.bodies)
    kept = sum(1 for file in (tmp_path / "var/teacher").rglob("*.json"))
    assert kept == len(seen.bodies) + 3


def test_after_a_kill_only_the_missing_replies_are_paid(tmp_path):
    with serving(lambda *_: chat(TRUE, pause=0.2)) as (url, seen):
        root = taught(tmp_path, url, concurrency=1)
        stage = subprocess.Popen(
            [sys.executable, "-m", "steps.backbone"], cwd=root, stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while len(seen.bodies) < 4 and stage.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        stage.kill()
        stage.wait()
        before = len(seen.bodies)
        assert before >= 4
        run(root, "backbone", backbone)
    assert len(seen.bodies) <= len(set(seen.prompts)) + 1  # the one under way when the kill came


def test_a_wrong_name_is_told_before_a_teacher_is_paid(tmp_path):
    with serving(lambda *_: chat(TRUE)) as (url, seen):
        asking = {"url": url, "model": "wise"}
        change = {"backbone": {"source": "pretrained", "name": "no-such-owner/no-such-model", "teacher": asking}}
        with pytest.raises(InputError, match="cannot be loaded"):
            run(prepared(tmp_path, change), "backbone", backbone)
    assert seen.bodies == []


def test_a_warning_when_a_teacher_hardly_teaches(tmp_path, caplog):
    with serving(lambda *_: chat("Sure! Here you go.")) as (url, _), caplog.at_level(logging.WARNING):
        run(taught(tmp_path, url), "backbone", backbone)
    assert "more than half of the teacher's replies were not taken" in caplog.text
    assert "malformed 24" in caplog.text


def test_held_out_rows_keep_their_evidence(tmp_path, monkeypatch):
    """They were never counted, so nothing of theirs may be taken out of the counts."""
    asked = []
    real = learn.prepare

    def watched(events, source, *args):
        asked.append((len(events), source.follows))
        return real(events, source, *args)

    monkeypatch.setattr(learn, "prepare", watched)
    run(prepared(tmp_path), "backbone", backbone)
    (_, fitted), (unseen, held_out) = asked
    assert unseen == 8
    followers = fitted.after(1)
    assert followers
    assert fitted.after(1, followers) != followers
    assert held_out.after(1, followers) == followers


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_a_killed_fine_tuning_over_another_base_starts_anew(tmp_path, monkeypatch, lora_rank):
    """The folder is the same, and so is the work folder here: nothing was planned. Over its own base it goes on."""
    monkeypatch.setattr(learn, "_CHECKPOINT_EVERY", 1)
    change = pretrained(tmp_path, qwen3(), lora_rank=lora_rank, learning_rate=0.001)
    root = prepared(tmp_path, change)
    pretrained(tmp_path, qwen3(seed=5))
    run(root, "backbone", backbone)
    other = hashes(root / "outputs/backbone")
    steps = read_json(root / "outputs/backbone/backbone.json")["steps"]
    pretrained(tmp_path, qwen3())
    with killed(finetune, "_update", after=3):
        run(root, "backbone", backbone)
    pretrained(tmp_path, qwen3(seed=5))
    with killed(finetune, "_update", after=steps - 1):
        run(root, "backbone", backbone)
    with pytest.MonkeyPatch.context() as patch:
        left, real = [], finetune._update
        patch.setattr(finetune, "_update", lambda *args, **kwargs: left.append(args) or real(*args, **kwargs))
        run(root, "backbone", backbone)
    assert len(left) == 1
    assert hashes(root / "outputs/backbone") == other


def test_weights_that_the_run_was_not_planned_for_are_refused(tmp_path):
    root = prepared(tmp_path, pretrained(tmp_path, llama(), epochs=0))
    planned = weights.of_backbone(stage.config.load(root / "params.yaml").backbone, root)
    write_json(root / "backbone.lock.json", planned)
    run(root, "backbone", backbone)
    before = hashes(root / "outputs/backbone")
    pretrained(tmp_path, qwen3())
    with pytest.raises(InputError, match=r"not those that this run was planned for(.|\n)*backbone\.name"):
        run(root, "backbone", backbone)
    assert hashes(root / "outputs/backbone") == before


def pretrained(root, writer, **changes):
    """Save a writer and return the params that take it from its folder."""
    writer.model.config.max_position_embeddings = 512
    writer.save(root / "given")
    return {"backbone": {"source": "pretrained", "name": str(root / "given"), **changes}}


def test_a_name_that_does_not_exist_is_refused(tmp_path):
    change = {"backbone": {"source": "pretrained", "name": "no-such-owner/no-such-model"}}
    with pytest.raises(InputError, match="cannot be loaded"):
        run(prepared(tmp_path, change), "backbone", backbone)
    assert not (tmp_path / "outputs/backbone").exists()
