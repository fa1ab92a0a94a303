"""The stage on a toy market: complete and readable outputs, the same bytes after a kill, clear words for bad input."""

import hashlib
import shutil
from pathlib import Path

import polars as pl
import pytest
import torch
import yaml

from rporec import parent, tables
from rporec.catalogue import Catalogue
from rporec.errors import InputError
from rporec.files import read_json, sha256_path, write_json
from rporec.reasoning.parse import Parsed, render
from rporec.reasoning.prompt import item_line
from rporec.rechead import arms, warm
from rporec.rechead.model import Rechead
from rporec.rechead.tower import HistoryTower
from steps import stage
from steps.rechead import going_on, rechead
from tests.encode.models import DIM, bert
from tests.kills import killed
from tests.project import ROOT
from tests.rechead import world

torch.set_num_threads(1)
SMALL = {
    "text_dim": 16, "width": 16, "batch_size": 32, "learning_rate": 0.01, "epochs": 4, "reasoning_epochs": 3,
    "transition_decay": 0.3,
}  # fmt: skip


def prepare(root: Path, **changes: object) -> Path:
    root.mkdir(exist_ok=True)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["rechead"].update(SMALL | changes)
    params["run"]["threads"] = 1
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    shutil.copy(ROOT / "dvc.yaml", root / "dvc.yaml")
    rows = world.make_rows(0.6)
    parts = {"fit": 500, "reason": 400, "align": 100, "valid": 300}
    frames = {n: world.rows(g, world.SEED + p, 10_000 * p, n) for p, (n, g) in enumerate(parts.items())}
    out = root / "outputs"
    tables.write(world.items(), out / "ingest/items.parquet", tables.ITEMS)
    train = pl.concat([frames["fit"], frames["reason"], frames["align"]])
    tables.write(train, out / "sequence/train.parquet", tables.ROWS)
    tables.write(frames["valid"], out / "sequence/valid.parquet", tables.ROWS)
    learned = frames["fit"].select("row_id")
    tables.write(learned, out / "backbone/learned.parquet", tables.LEARNED)
    told = [
        (int(group), label, samples[0])
        for label, part in (("reason", rows.reason), ("valid", rows.valid))
        for group, samples in zip(part.examples.groups, part.samples, strict=True)
    ]
    completions = pl.DataFrame(
        {
            "group": [group for group, _, _ in told],
            "sample": [0] * len(told),
            "slice": [label for _, label, _ in told],
            "prompt": [""] * len(told),
            "completion": [render(one.thought, one.answer) for _, _, one in told],
            "thought": [one.thought for _, _, one in told],
            "answer": [one.answer for _, _, one in told],
            "well_formed": [True] * len(told),
            "grounded": [1.0] * len(told),
            "named": [1] * len(told),
        },
        schema=tables.COMPLETIONS.columns,
    )
    tables.write(completions, out / "cot/completions.parquet", tables.COMPLETIONS)
    return root


def hashes(root: Path) -> dict[str, str]:
    out = root / "outputs/rechead"
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = prepare(tmp_path_factory.mktemp("rechead"))
    stage.execute("rechead", rechead, root)
    return root


def test_every_output_is_there_and_loads(made: Path) -> None:
    out = made / "outputs/rechead"
    for name in ("reward", "chosen", "final"):
        assert Rechead.load(out / name).n_items == world.N
    curve = pl.read_csv(out / "curve.csv")
    assert curve.columns == ["epoch", "train_loss", "valid_ndcg@10"]
    told = read_json(out / "rechead.json")
    assert told["epochs"]["final"] == told["epochs"]["chosen"] <= 4
    assert set(told["valid"]) == {"reasoning", "reasoning_removed", "no_reasoning"}
    assert told["valid"]["reasoning"]["ndcg@10"] > told["valid"]["no_reasoning"]["ndcg@10"]
    assert told["weights"]["chosen"]["strength"] > 0
    assert not {path.suffix for path in out.rglob("*") if path.is_file()} - {
        ".json",
        ".csv",
        ".parquet",
        ".safetensors",
    }
    assert told["memory"]["memorised"] is False
    assert told["memory"]["groups"] == 400
    assert read_json(made / "records/rechead.json")["closing"].startswith("3 heads")


@pytest.mark.parametrize("name", ["fit_reasoning", "refit_tower"])
def test_a_killed_stage_ends_with_the_same_bytes(made: Path, tmp_path: Path, name: str) -> None:
    root = prepare(tmp_path)
    with killed(arms, name):
        stage.execute("rechead", rechead, root)
    assert not (root / "outputs/rechead").exists()
    stage.execute("rechead", rechead, root)
    assert hashes(root) == hashes(made)


def test_a_planted_memory_stops_the_stage(tmp_path: Path) -> None:
    root = prepare(tmp_path)
    path = root / "outputs/cot/completions.parquet"
    told = tables.read(path, tables.COMPLETIONS)
    targets = tables.read(root / "outputs/sequence/train.parquet", tables.ROWS).unique("group", keep="first")
    known = Catalogue.from_table(world.items())
    memory = {group: render("so", item_line(target, known)) for group, target in targets["group", "target"].iter_rows()}
    texts = [memory.get(group, text) for group, text in told["group", "completion"].iter_rows()]
    tables.write(told.with_columns(completion=pl.Series(texts)), path, tables.COMPLETIONS)
    with pytest.raises(InputError, match="memorised targets of the slice reason"):
        stage.execute("rechead", rechead, root)
    assert not (root / "outputs/rechead").exists()


@pytest.mark.parametrize("name", ["reason", "align", "valid"])
def test_rows_that_the_backbone_learned_are_refused(tmp_path: Path, name: str) -> None:
    root = prepare(tmp_path)
    rows = pl.concat(
        [tables.read(root / f"outputs/sequence/{part}.parquet", tables.ROWS) for part in ("train", "valid")]
    )
    one = rows.filter(slice=name)["row_id"][7]
    learned = rows.filter((pl.col("slice") == "fit") | (pl.col("row_id") == one)).select("row_id")
    tables.write(learned, root / "outputs/backbone/learned.parquet", tables.LEARNED)
    with pytest.raises(InputError, match=f"learned rows of the slice {name}") as caught:
        stage.execute("rechead", rechead, root)
    assert f"1 rows, for instance {one}" in caught.value.message()
    assert not (root / "outputs/rechead").exists()


def test_a_missing_table_is_named(made: Path, tmp_path: Path) -> None:
    root = prepare(tmp_path)
    (root / "outputs/cot/completions.parquet").unlink()
    with pytest.raises(InputError, match="completions table is missing"):
        stage.execute("rechead", rechead, root)
    assert not (root / "outputs/rechead").exists()


def test_a_pretrained_encoder_is_a_param_and_goes_into_the_folder(tmp_path: Path) -> None:
    model = bert(tmp_path)
    root = prepare(tmp_path / "root", encoder=str(model), epochs=2)

    def shards() -> dict[Path, int]:
        found = (stage.home_folder(root) / "vectors").rglob("*.safetensors")
        return {path: path.stat().st_mtime_ns for path in found}

    with killed(arms, "fit_final_weights"):
        stage.execute("rechead", rechead, root)
    before = shards()
    stage.execute("rechead", rechead, root)
    assert before  # those of the items, written before the kill, are not written again
    assert before.items() <= shards().items()
    out = root / "outputs/rechead/final"
    assert HistoryTower.load(out / "tower.safetensors").shape.text_dim == DIM
    shutil.rmtree(model)
    head = Rechead.load(out)
    thought = Parsed("acme lamp", "acme lamp no 1", True, 0)
    assert torch.isfinite(head.score([[1, 2]], [[thought]])).all()
    assert head.encoder.dim == DIM
    assert not {path.suffix for path in out.rglob("*") if path.is_file()} - {".json", ".safetensors", ".txt"}


def test_an_encoder_that_the_run_was_not_planned_for_is_refused(tmp_path: Path) -> None:
    root = prepare(tmp_path / "root", encoder=str(bert(tmp_path)))
    write_json(root / "rechead.lock.json", {"kind": "embedded"})
    with pytest.raises(InputError, match=r"not those that this run was planned for(.|\n)*rechead\.encoder"):
        stage.execute("rechead", rechead, root)
    assert not (root / "outputs/rechead").exists()


def test_an_encoder_out_of_reach_is_told(tmp_path: Path) -> None:
    root = prepare(tmp_path, encoder="no-such-owner/no-such-model")
    with pytest.raises(InputError, match="the model cannot be loaded"):
        stage.execute("rechead", rechead, root)


def test_the_paper_architecture_is_a_param(tmp_path: Path) -> None:
    root = prepare(tmp_path, architecture="paper", epochs=2)
    stage.execute("rechead", rechead, root)
    settings = read_json(root / "outputs/rechead/final/rechead.json")
    assert settings["architecture"] == "paper"
    assert HistoryTower.load(root / "outputs/rechead/final/tower.safetensors").shape.ids is False
    assert read_json(root / "outputs/rechead/final/fusion.json")["transition"] == 0


def timed(root: Path) -> dict[str, int]:
    """Give the rows times, one second a group; returns the newest one of each slice."""
    newest = {}
    for part in ("train", "valid"):
        path = root / f"outputs/sequence/{part}.parquet"
        rows = tables.read(path, tables.ROWS).with_columns(timestamp=pl.col("group"))
        tables.write(rows, path, tables.ROWS)
        newest |= {str(key[0]): int(one["timestamp"].max()) for key, one in rows.group_by("slice")}
    return newest


def with_parent(root: Path, made: Path, until: dict[str, int | None]) -> stage.Stage:
    """Pin the finished run as the parent whose towers have learned until then; returns the opened stage."""
    for name in parent.STAGES:
        shutil.copytree(made / "outputs/rechead", root / parent.FOLDER / name)
    told = read_json(made / "outputs/rechead/rechead.json") | {"learned_until": until}
    write_json(root / parent.FOLDER / "rechead/rechead.json", told)
    outputs = {name: {"md5": "m", "sha256": sha256_path(root / parent.FOLDER / name)} for name in parent.STAGES}
    stated = {"version": 2, "commit": "c", "package_hash": "p", "as_of": "2026-01-04", "outputs": outputs}
    write_json(root / parent.NAME, stated)
    return stage._open("rechead", stage.config.load(root / "params.yaml"), root)


def test_a_night_goes_on_from_the_parents_towers(made: Path, tmp_path: Path) -> None:
    root = prepare(tmp_path, warm_epochs=1)
    newest = timed(root)
    first = {"reward": newest["fit"], "chosen": newest["align"], "final": newest["valid"]}
    with_parent(root, made, {name: time - 1 for name, time in first.items()})
    stage.execute("rechead", rechead, root)
    told, old = (read_json(one / "outputs/rechead/rechead.json") for one in (root, made))
    assert told["start"] == "warm start from version 2 (data up to 2026-01-04)"
    assert told["epochs"] == {"reward": 1, "chosen": 1, "final": 1}
    assert told["learned_until"] == first
    assert old["learned_until"] == dict.fromkeys(warm.TOWERS), "rows without time pass nothing on"
    losses = [pl.read_csv(one / "outputs/rechead/curve.csv")["train_loss"][0] for one in (root, made)]
    assert losses[0] < losses[1], "it knows more than a fresh tower at the first step"
    assert hashes(root)["final/text/model.safetensors"] == hashes(made)["final/text/model.safetensors"]


@pytest.mark.parametrize(
    ("name", "later"), [("reward", "reason"), ("chosen", "valid"), ("final", "test"), ("final", None)]
)
def test_a_tower_that_has_learned_what_must_be_new_is_not_gone_on_with(
    made: Path, tmp_path: Path, name: str, later: str | None
) -> None:
    """A row of reason, valid or test in the parent's memory, or a memory of unknown age: all start from scratch."""
    root = prepare(tmp_path)
    newest = timed(root)
    clean = {"reward": newest["fit"], "chosen": newest["align"], "final": newest["valid"]}
    train, valid = (tables.read(root / f"outputs/sequence/{part}.parquet", tables.ROWS) for part in ("train", "valid"))
    firsts = {
        "reason": train.filter(slice="reason")["timestamp"].min(), "valid": valid["timestamp"].min(),
        "test": newest["valid"] + 1, None: None,
    }  # fmt: skip
    opened = with_parent(root, made, clean | {name: firsts[later]})
    start, found = going_on(opened, train, valid, Catalogue.from_table(world.items()))
    assert found is None
    assert start.folder is None
    assert start.why == f"from scratch: the parent's tower {name} has learned rows that must be new tonight"
