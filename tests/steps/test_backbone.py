"""Stage backbone: same bytes again and after a kill; a pretrained folder is taken as it is; a wrong name is refused."""

import polars as pl
import pytest

from rporec import tables
from rporec.backbone import finetune, learn
from rporec.backbone.source import load_writer
from rporec.errors import InputError
from rporec.files import read_json
from steps.backbone import backbone
from tests.backbone.models import llama
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
    assert summary["source"] == "embedded"
    assert outcome.metrics["held_out_loss"] == summary["held_out_loss"]


def test_same_bytes_again_and_after_a_kill(tmp_path, monkeypatch):
    run(prepared(tmp_path), "backbone", backbone)
    before = hashes(tmp_path / "outputs/backbone")
    run(tmp_path, "backbone", backbone)
    assert hashes(tmp_path / "outputs/backbone") == before
    monkeypatch.setattr(learn, "_CHECKPOINT_EVERY", 2)
    real, done = finetune._update, []

    def dying(*args, **kwargs):
        if len(done) == 5:
            raise KeyboardInterrupt
        done.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(finetune, "_update", dying)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "backbone", backbone)
    assert hashes(tmp_path / "outputs/backbone") == before  # the last good output is still there
    monkeypatch.setattr(finetune, "_update", lambda *args, **kwargs: done.append(1) or real(*args, **kwargs))
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
    writer.model.config.max_position_embeddings = 512
    writer.save(tmp_path / "given")
    change = {"backbone": {"source": "pretrained", "name": str(tmp_path / "given"), "epochs": 0}}
    outcome = run(prepared(tmp_path, change), "backbone", backbone)
    taken = load_writer(tmp_path / "outputs/backbone/model")
    assert taken.render("x") == "<|user|>x<|model|>"
    assert taken.model.lm_head.weight.equal(writer.model.lm_head.weight)
    assert outcome.metrics["steps"] == 0


def test_a_name_that_does_not_exist_is_refused(tmp_path):
    change = {"backbone": {"source": "pretrained", "name": "no-such-owner/no-such-model"}}
    with pytest.raises(InputError, match="cannot be loaded"):
        run(prepared(tmp_path, change), "backbone", backbone)
    assert not (tmp_path / "outputs/backbone").exists()
