"""The pinned parent: read or refused, its outputs held against their hash, and the rule of time that keeps it clean."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from rporec import parent, tables
from rporec.errors import InputError
from rporec.files import sha256_path, write_json, write_text

STATED = {"version": 3, "commit": "c", "package_hash": "p", "as_of": "2026-01-04"}


def pinned(root: Path) -> Path:
    """A workspace with a parent of two little outputs."""
    for stage in parent.STAGES:
        write_text(root / parent.FOLDER / stage / "model", stage)
    outputs = {
        stage: {"md5": f"{stage}.dir", "sha256": sha256_path(root / parent.FOLDER / stage)} for stage in parent.STAGES
    }
    write_json(root / parent.NAME, {**STATED, "outputs": outputs})
    return root


def rows(*times: int | None) -> pl.DataFrame:
    return pl.DataFrame(
        [(place, place, "u", time, [0], 1, "fit") for place, time in enumerate(times)],
        schema=tables.ROWS.columns,
        orient="row",
    )


def test_a_stage_begins_at_the_pinned_parent(tmp_path: Path) -> None:
    start = parent.begin(pinned(tmp_path), "rechead")
    assert start.folder == tmp_path / parent.FOLDER / "rechead"
    assert start.why == "warm start from version 3 (data up to 2026-01-04)"
    assert start.refused("it is late") == parent.Start(None, "from scratch: it is late")


@pytest.mark.parametrize("stated", [None, {}, {"scratch": "every 7th night is"}])
def test_without_a_version_it_begins_from_scratch_and_says_why(tmp_path: Path, stated: dict[str, str] | None) -> None:
    if stated is not None:
        write_json(tmp_path / parent.NAME, stated)
    start = parent.begin(tmp_path, "backbone")
    assert start.folder is None
    assert start.why == f"from scratch: {(stated or {}).get('scratch', 'no parent is pinned')}"


def test_outputs_that_are_gone_or_changed_are_refused_with_the_cure(tmp_path: Path) -> None:
    root = pinned(tmp_path)
    write_text(root / parent.FOLDER / "rechead" / "model", "another")
    with pytest.raises(InputError, match="others than were pinned") as caught:
        parent.begin(root, "rechead")
    assert "infra.night prepare" in caught.value.message()
    (root / parent.FOLDER / "backbone" / "model").unlink()
    (root / parent.FOLDER / "backbone").rmdir()
    with pytest.raises(InputError, match="not here"):
        parent.begin(root, "backbone")


@pytest.mark.parametrize("stated", [STATED, {**STATED, "outputs": {"backbone": {"md5": "m", "sha256": "s"}}}])
def test_a_half_written_parent_is_refused(tmp_path: Path, stated: dict[str, object]) -> None:
    write_json(tmp_path / parent.NAME, stated)
    with pytest.raises(InputError, match="pinned parent cannot be read"):
        parent.read(tmp_path)


@pytest.mark.parametrize(
    ("until", "new", "clean"),
    [(9, 10, True), (10, 10, False), (11, 10, False), (None, 10, False), ("9", 10, False), (9, None, False)],
)
def test_only_what_learned_strictly_older_rows_is_clean(until: object, new: int | None, clean: bool) -> None:
    assert parent.is_clean(until, new) is clean


def test_what_a_line_of_models_has_learned_is_that_of_its_newest_row() -> None:
    assert parent.newest(rows(3, 5, 4)) == 5
    assert parent.newest(rows(3, 5, 4), before=9) == 9, "a parent that saw more is not forgotten"
    assert parent.oldest(rows(3, 5, 4)) == 3
    assert parent.newest(rows(None)) is parent.oldest(rows(None)) is parent.oldest(rows()) is None
