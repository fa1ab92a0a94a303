"""Stage cot: completions for reason, valid and test; no target can reach them; same bytes after a kill."""

import polars as pl
import pytest

from infra import deps
from rporec import tables
from rporec.backbone import write
from rporec.backbone.source import load_writer
from rporec.catalogue import Catalogue
from rporec.files import read_json
from rporec.reasoning.prompt import FOLLOWED, item_line
from steps.backbone import backbone
from steps.cot import cot
from tests.backbone.models import qwen3
from tests.kills import killed
from tests.project import ROOT
from tests.reasoning.shop import table
from tests.steps.data_flow import hashes, run
from tests.steps.writing_flow import SLICES, prepared, write_rows

JUDGES = ("rporec/evaluation/", "rporec/reasoning/report.py", "rporec/reasoning/told.py", "rporec/reasoning/figures.py")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    made = prepared(tmp_path_factory.mktemp("cot"))
    run(made, "backbone", backbone)
    run(made, "cot", cot)
    return made


def test_it_writes_for_three_slices_only(root):
    table = tables.read(root / "outputs/cot/completions.parquet", tables.COMPLETIONS)
    assert dict(table["slice"].value_counts().iter_rows()) == {"reason": 8, "valid": 5, "test": 6}
    assert table["group"].n_unique() == 19
    summary = read_json(root / "outputs/cot/cot.json")
    assert summary["completions"] == 19
    assert 0 <= summary["well_formed"] <= 1
    assert (summary["completions_reason"], summary["completions_valid"], summary["completions_test"]) == (8, 5, 6)


def test_targets_cannot_reach_a_completion(root):
    before = hashes(root / "outputs/cot")
    write_rows(root, move=5)
    run(root, "cot", cot)
    moved = hashes(root / "outputs/cot")
    write_rows(root)
    run(root, "cot", cot)
    assert moved == before == hashes(root / "outputs/cot")


def test_no_code_that_judges_texts_has_them_written_again():
    assert not [name for name in deps.stage_modules(ROOT, "cot") if name.startswith(JUDGES)]


def test_a_killed_run_ends_with_the_same_bytes(root, monkeypatch):
    before = hashes(root / "outputs/cot")
    real = write.write_shard
    with killed(write, "write_shard", after=2) as shards:
        run(root, "cot", cot)
    monkeypatch.setattr(write, "write_shard", lambda *args: shards.append(args) or real(*args))
    run(root, "cot", cot)
    assert len(shards) == 4  # 19 groups in shards of 5; none was written twice
    assert hashes(root / "outputs/cot") == before


def test_prompts_cut_to_the_context_are_told_of(tmp_path):
    made = prepared(tmp_path, {"backbone": {"prompt_items": 9, "max_prompt_tokens": 50}})
    run(made, "backbone", backbone)
    outcome = run(made, "cot", cot)
    summary = read_json(made / "outputs/cot/cot.json")
    assert summary["items_dropped"] >= summary["prompts_shortened"] > 0
    lost = f"{summary['prompts_shortened']} prompts lost {summary['items_dropped']} of their oldest items"
    assert f"; {lost} to the token budget" in outcome.closing


def test_a_context_shorter_than_the_budget_costs_the_oldest_items(tmp_path):
    """The pretrained model reads at most 160 tokens, 40 of them its own completion; 900 are asked for."""
    qwen3(context=160).save(tmp_path / "small")
    small = {"source": "pretrained", "name": str(tmp_path / "small"), "epochs": 0}
    made = prepared(tmp_path, {"backbone": {**small, "prompt_items": 9, "max_prompt_tokens": 900}})
    run(made, "backbone", backbone)
    run(made, "cot", cot)
    writer, known = load_writer(made / "outputs/backbone/model"), Catalogue.from_table(table())
    written = tables.read(made / "outputs/cot/completions.parquet", tables.COMPLETIONS)
    parts = [tables.read(made / f"outputs/sequence/{part}.parquet", tables.ROWS) for part in SLICES]
    histories = dict(pl.concat(parts).select("group", "history").iter_rows())
    lost = []
    for group, prompt in written.select("group", "prompt").iter_rows():
        shown = [item_line(item, known) in prompt for item in histories[group]]
        assert writer.count(prompt) <= 160 - 40
        assert shown == sorted(shown)  # what is missing are the oldest
        assert shown[-1]
        lost.append(shown.count(False))
    summary = read_json(made / "outputs/cot/cot.json")
    assert summary["items_dropped"] == sum(lost)
    assert summary["prompts_shortened"] == sum(map(bool, lost))
    assert 0 < sum(map(bool, lost)) < len(lost)


def test_evidence_is_of_older_rows_alone_and_its_loss_is_told(tmp_path):
    shown = {"followed": 3, "neighbours": 1, "description_words": 2}
    made = prepared(tmp_path, {"backbone": {"evidence": shown, "max_prompt_tokens": 300}})
    run(made, "backbone", backbone)
    outcome = run(made, "cot", cot)
    assert "evidence" not in outcome.closing
    before = prompts(made)
    assert all(FOLLOWED in prompt for prompt in before["test"])
    for part, changed in (("test", set()), ("valid", {"test"}), ("train", {"valid", "test"})):
        path = made / f"outputs/sequence/{part}.parquet"
        rows = tables.read(path, tables.ROWS)
        later = pl.when(pl.col("slice") == "fit").then("target").otherwise((pl.col("target") + 3) % 8)
        tables.write(rows.with_columns(target=later.cast(pl.Int32)), path, tables.ROWS)
        run(made, "cot", cot)
        now = prompts(made)
        assert {name for name in now if now[name] != before[name]} == changed
        tables.write(rows, path, tables.ROWS)
    short = prepared(tmp_path, {"backbone": {"evidence": shown, "max_prompt_tokens": 110}})
    told = run(short, "cot", cot).closing
    assert f"; {read_json(short / 'outputs/cot/cot.json')['evidence_dropped']} lines of evidence lost" in told


def prompts(root):
    table = tables.read(root / "outputs/cot/completions.parquet", tables.COMPLETIONS)
    return {name: table.filter(slice=name)["prompt"].to_list() for name in ("reason", "valid", "test")}
