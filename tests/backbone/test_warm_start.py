"""Stage backbone of a night: it goes on from the parent's weights, never from ones that know what must be new."""

import shutil

import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from rporec import parent, tables
from rporec.errors import InputError
from rporec.files import read_json, sha256_path, write_json
from rporec.rechead import crossfit
from steps.backbone import all_learned, backbone
from tests.steps.data_flow import hashes, run
from tests.steps.writing_flow import prepared


def timed(root):
    """Give the rows of train times: their row ids."""
    path = root / "outputs/sequence/train.parquet"
    rows = tables.read(path, tables.ROWS).with_columns(timestamp=pl.col("row_id"))
    tables.write(rows, path, tables.ROWS)


def with_parent(root, until):
    """Pin the workspace's own last output as the parent, which has learned until then."""
    for name in parent.STAGES:
        shutil.copytree(root / "outputs/backbone", root / parent.FOLDER / name, dirs_exist_ok=True)
    told = read_json(root / "outputs/backbone/backbone.json") | {"learned_until": until}
    write_json(root / parent.FOLDER / "backbone/backbone.json", told)
    outputs = {name: {"md5": "m", "sha256": sha256_path(root / parent.FOLDER / name)} for name in parent.STAGES}
    stated = {"version": 2, "commit": "c", "package_hash": "p", "as_of": "2026-01-04", "outputs": outputs}
    write_json(root / parent.NAME, stated)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished run from scratch."""
    root = tmp_path_factory.mktemp("made")
    timed(prepared(root))
    run(root, "backbone", backbone)
    return root


@pytest.fixture
def again(made, tmp_path):
    """The workspace of the next run, for a test to change."""
    return shutil.copytree(made, tmp_path / "again")


def test_a_night_goes_on_from_the_parents_weights_on_the_newest_texts(again):
    out = again / "outputs/backbone"
    first, told = load_file(out / "model/model.safetensors"), read_json(out / "backbone.json")
    assert (told["start"], told["learned_until"]) == ("from scratch: no parent is pinned", 23)
    tokenizer = (out / "model/tokenizer.json").read_bytes()
    with_parent(again, until=22)
    run(again, "backbone", backbone)
    told = read_json(out / "backbone.json")
    assert told["start"] == "warm start from version 2 (data up to 2026-01-04)"
    assert told["examples"] == 10, "a quarter of 40"
    assert tables.read(out / "composed.parquet", tables.COMPOSED)["row_id"].to_list() == list(range(14, 24))
    assert (out / "model/tokenizer.json").read_bytes() == tokenizer
    moved = load_file(out / "model/model.safetensors")
    assert all(weight.shape == first[name].shape for name, weight in moved.items())
    assert any(not torch.equal(weight, first[name]) for name, weight in moved.items())


def test_a_parent_that_has_learned_a_row_of_reason_teaches_nothing(again):
    rows = tables.read(again / "outputs/sequence/train.parquet", tables.ROWS)
    before = hashes(again / "outputs/backbone/model")
    late = rows.filter(slice="reason")["timestamp"].min()
    with_parent(again, until=late)
    run(again, "backbone", backbone)
    told = read_json(again / "outputs/backbone/backbone.json")
    assert told["start"] == "from scratch: the parent's backbone has learned rows that must be new tonight"
    assert told["learned_until"] == 23, "its memory is not passed on"
    assert hashes(again / "outputs/backbone/model") == before


def test_what_a_parent_has_learned_counts_as_learned_in_the_audit(made):
    """Were such a parent gone on with all the same, the stage rechead would name the row."""
    rows = tables.read(made / "outputs/sequence/train.parquet", tables.ROWS)
    late = rows.filter(slice="reason")["timestamp"].min()
    own = tables.read(made / "outputs/backbone/learned.parquet", tables.LEARNED)
    learned = all_learned(own, rows, late)["row_id"].to_list()
    assert learned == list(range(25))
    with pytest.raises(InputError, match="learned rows of the slice reason"):
        crossfit.refuse_learned(learned, {"reason": rows.filter(slice="reason")["row_id"].to_list()})
