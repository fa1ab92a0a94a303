"""Stage cot: completions for reason, valid and test; no target can reach them; same bytes after a kill; a report."""

import dataclasses
import re

import polars as pl
import pytest

from rporec import tables
from rporec.backbone import write
from rporec.backbone.write import write_completions
from rporec.errors import InputError
from rporec.files import read_json
from rporec.reasoning.parse import parse
from steps import cot as stage_cot
from steps.backbone import backbone
from steps.cot import cot
from tests.reasoning.shop import table
from tests.steps.data_flow import hashes, run
from tests.steps.writing_flow import prepared, write_rows


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
    written = ("completions.parquet", "cot.json")  # the report reads targets, when all is written
    before = hashes(root / "outputs/cot", *written)
    write_rows(root, move=5)
    run(root, "cot", cot)
    moved = hashes(root / "outputs/cot", *written)
    write_rows(root)
    run(root, "cot", cot)
    assert moved == before == hashes(root / "outputs/cot", *written)


def test_a_killed_run_ends_with_the_same_bytes(root, monkeypatch):
    before = hashes(root / "outputs/cot")
    real, shards = write._write_shard, []

    def dying(*args):
        if len(shards) == 2:
            raise KeyboardInterrupt
        shards.append(1)
        return real(*args)

    monkeypatch.setattr(write, "_write_shard", dying)
    with pytest.raises(KeyboardInterrupt):
        run(root, "cot", cot)
    monkeypatch.setattr(write, "_write_shard", lambda *args: shards.append(1) or real(*args))
    run(root, "cot", cot)
    assert len(shards) == 4  # 19 groups in shards of 5; none was written twice
    assert hashes(root / "outputs/cot") == before


def test_the_report_judges_valid_and_test_and_is_kept(root):
    outcome = run(root, "cot", cot)
    found = read_json(root / "outputs/cot/reasoning.json")
    assert {name: one["completions"] for name, one in found["slices"].items()} == {"valid": 5, "test": 6}
    assert found["composed"] == read_json(root / "outputs/backbone/backbone.json")["examples"] == 24
    html = (root / "outputs/cot/reasoning.html").read_text()
    assert "Form and truth" in html
    assert not re.search(r"(src|href)=|http", html)
    assert {"reasoning.json", "reasoning.html"} <= set(outcome.files)
    before = hashes(root / "outputs/cot")
    run(root, "cot", cot)
    assert hashes(root / "outputs/cot") == before


def test_prompts_cut_to_the_context_are_told_of(tmp_path):
    made = prepared(tmp_path, {"backbone": {"prompt_items": 9, "max_prompt_tokens": 50}})
    run(made, "backbone", backbone)
    outcome = run(made, "cot", cot)
    summary = read_json(made / "outputs/cot/cot.json")
    assert summary["items_dropped"] >= summary["prompts_shortened"] > 0
    lost = f"{summary['prompts_shortened']} prompts lost {summary['items_dropped']} of their oldest items"
    assert f"; {lost} to the token budget" in outcome.closing


@pytest.fixture
def fresh_items(tmp_path):
    """A shop of which the test rows buy what nobody has seen: items 8 to 13, each with a word of its own."""
    made = prepared(tmp_path)
    items = table()
    new = [(f"n{number}", f"Acme Hammer model{number}", "", "Acme", "tools", 9.0, None) for number in range(6)]
    items = pl.concat([items, pl.DataFrame(new, schema=items.schema, orient="row")])
    tables.write(items, made / "outputs/ingest/items.parquet", tables.ITEMS)
    file = made / "outputs/sequence/test.parquet"
    rows = tables.read(file, tables.ROWS)
    tables.write(rows.with_columns(target=pl.Series(range(8, 14), dtype=pl.Int32)), file, tables.ROWS)
    run(made, "backbone", backbone)
    return made


def test_a_writer_that_is_told_the_targets_stops_the_run(fresh_items, monkeypatch):
    rows = tables.read(fresh_items / "outputs/sequence/test.parquet", tables.ROWS)
    targets = dict(rows.select("group", "target").iter_rows())

    def telling(*args):
        written = write_completions(*args)
        texts = [
            f"<think>so</think><answer>Acme Hammer model{targets[group] - 8}</answer>" if group in targets else text
            for group, text in written.completions.select("group", "completion").iter_rows()
        ]
        said = [parse(text) for text in texts]
        columns = {
            "completion": texts, "thought": [one.thought for one in said], "answer": [one.answer for one in said],
            "well_formed": [one.well_formed for one in said],
        }  # fmt: skip
        table = written.completions.with_columns(**{name: pl.Series(column) for name, column in columns.items()})
        return dataclasses.replace(written, completions=table)

    run(fresh_items, "cot", cot)
    found = read_json(fresh_items / "outputs/cot/reasoning.json")["slices"]["test"]["told"]
    assert found["rows"] == 6
    assert (found["excess"], found["told"]) == (0.0, False)
    before = hashes(fresh_items / "outputs/cot")
    monkeypatch.setattr(stage_cot, "write_completions", telling)
    with pytest.raises(InputError, match=r"leak: .*model0") as caught:
        run(fresh_items, "cot", cot)
    assert "named in 100.0% of 6 rows, 0.0% by chance" in caught.value.message()
    assert hashes(fresh_items / "outputs/cot") == before
