"""The COMPLETIONS table: by shard, resumable, from histories alone."""

import polars as pl

from rporec import tables
from rporec.backbone import write
from rporec.backbone.generate import Sampling
from rporec.backbone.write import Writing, groups_of, write_completions
from rporec.progress import Progress
from rporec.reasoning.ground import Grounder
from rporec.reasoning.parse import parse
from tests.backbone.models import qwen3
from tests.kills import killed
from tests.reasoning.shop import catalogue


def rows(groups=7):
    lines = [(group, group % 4, target) for group in range(groups) for target in range(1 + group % 3)]
    return pl.DataFrame(
        [
            (number, 100 - group, f"u{group}", None, list(range(length)), target, "reason" if group % 2 else "valid")
            for number, (group, length, target) in enumerate(lines)
        ],
        schema=tables.ROWS.columns,
        orient="row",
    )


def writing(**changes):
    values = {"prompt_items": 2, "max_prompt_tokens": 900, "shard_groups": 3, **changes}
    return Writing(sampling=Sampling(num_samples=2, temperature=1.0, max_new_tokens=10, batch_size=8, seed=1), **values)


def test_one_row_a_group_without_targets():
    groups = groups_of(rows())
    assert groups.columns == ["group", "slice", "history"]
    assert groups["group"].to_list() == sorted(set(rows()["group"]))


def test_the_table_is_whole_sorted_and_parsed(tmp_path):
    written = write_completions(qwen3(1024), groups_of(rows()), catalogue(), writing(), tmp_path, {})
    table = written.completions
    tables.check(table, tables.COMPLETIONS, "here")
    assert table.height == 14
    assert table.equals(table.sort("group", "sample"))
    histories = dict(groups_of(rows()).select("group", "history").iter_rows())
    for row in table.iter_rows(named=True):
        parsed = parse(row["completion"])
        assert (parsed.thought, parsed.answer, parsed.well_formed) == (
            row["thought"], row["answer"], row["well_formed"]
        )  # fmt: skip
        assert row["grounded"] == Grounder(catalogue()).check(parsed.thought, histories[row["group"]][-2:]).share


def test_a_killed_run_writes_the_same_table(tmp_path, monkeypatch):
    whole = write_completions(qwen3(1024), groups_of(rows()), catalogue(), writing(), tmp_path / "whole", {})
    with killed(write, "write_shard", after=1):
        write_completions(qwen3(1024), groups_of(rows()), catalogue(), writing(), tmp_path / "kept", {})
    real, left = write.write_shard, []
    monkeypatch.setattr(write, "write_shard", lambda *args: left.append(1) or real(*args))
    again = write_completions(qwen3(1024), groups_of(rows()), catalogue(), writing(), tmp_path / "kept", {})
    assert len(left) == 2
    assert again.completions.equals(whole.completions)


def test_a_damaged_shard_is_written_anew_and_the_others_are_kept(tmp_path, monkeypatch, caplog):
    arguments = (qwen3(1024), groups_of(rows()), catalogue(), writing(), tmp_path, {})
    whole = write_completions(*arguments).completions
    shards = sorted(tmp_path.iterdir())
    shards[1].write_bytes(shards[1].read_bytes()[:200])
    shards[2].write_bytes(b"")
    real, left = write.write_shard, []
    monkeypatch.setattr(write, "write_shard", lambda *args: left.append(args[1]["group"].to_list()) or real(*args))
    assert write_completions(*arguments).completions.equals(whole)
    assert left == [[97, 98, 99], [100]]  # of 94 to 100
    assert shards[1].name in caplog.text
    assert write_completions(*arguments).completions.equals(whole)
    assert len(left) == 2


def test_progress_moves_with_every_batch_and_kept_shards_are_no_work_of_this_call(tmp_path, monkeypatch):
    moves = []
    for name in ("advance", "skip"):
        real = getattr(Progress, name)

        def noting(self, units, *note, name=name, real=real):
            moves.append((name, units))
            real(self, units, *note)

        monkeypatch.setattr(Progress, name, noting)
    arguments = (qwen3(1024), groups_of(rows()), catalogue(), writing(shard_groups=6), tmp_path, {})
    with killed(write, "write_shard", after=1):
        write_completions(*arguments)
    assert moves == [("advance", 4), ("advance", 2)]  # batches of eight sequences, two a group
    moves.clear()
    write_completions(*arguments)
    assert moves == [("skip", 6), ("advance", 1)]


def test_dropped_items_are_counted(tmp_path):
    writer = qwen3(1024)
    budget = writer.count("nothing") + 80
    written = write_completions(
        writer, groups_of(rows()), catalogue(), writing(prompt_items=9, max_prompt_tokens=budget), tmp_path, {}
    )
    assert written.dropped >= written.shortened > 0


def test_no_groups_no_rows(tmp_path):
    written = write_completions(qwen3(1024), groups_of(rows(0)), catalogue(), writing(), tmp_path, {})
    assert written.completions.height == 0
