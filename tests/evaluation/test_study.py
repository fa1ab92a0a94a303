"""The figures of a study of alignment, from tables made by hand."""

from __future__ import annotations

import polars as pl
import pytest

from rporec import config, tables
from rporec.evaluation import study
from rporec.evaluation.study import AS_SET, BACKBONE, GREEDY
from tests.project import ROOT

PARAMS = config.load(ROOT / "params.yaml").evaluate.model_copy(update={"resamples": 200})
USERS = 40


def studied(above: int, grounded: float, part: str = "test", decoding: str = GREEDY) -> pl.DataFrame:
    """Return two rows of each user; the first ranks its target below so many items, the second one lower."""
    rows = range(2 * USERS)
    return pl.DataFrame(
        {
            "slice": [part for _ in rows], "decoding": [decoding for _ in rows], "row_id": list(rows),
            "user_id": [f"u{row // 2}" for row in rows], "above": [above + row % 2 for row in rows],
            "ties": [0 for _ in rows], "grounded": [grounded for _ in rows], "named": [3.0 for _ in rows],
            "words": [9.0 for _ in rows],
            "well_formed": [1.0 for _ in rows],
        },
        schema=tables.STUDIED.columns,
    )  # fmt: skip


def test_seeds_are_averaged_and_the_backbone_is_the_measure():
    found = {
        BACKBONE: {7: studied(1, 0.5), 8: studied(1, 0.5)},
        AS_SET: {7: studied(0, 0.75), 8: studied(1, 1.0), 9: studied(0, 1.0)},
    }
    own = study.compared(found, "test", GREEDY, PARAMS, 7)[AS_SET]
    assert own["seeds"] == [7, 8]  # seed 9 has no backbone beside it
    first, second, third = 1.0, 1 / 1.5849625007211562, 0.5
    gain = ((first + second) / 2 - (second + third) / 2) / 2  # in one seed of two
    assert own["minus"]["ndcg@10"]["difference"] == pytest.approx(gain)
    assert own["minus"]["grounded"]["difference"] == pytest.approx(0.375)
    assert own["mean"]["grounded"] == pytest.approx(0.875)
    assert (own["rows"], own["users"]) == (2 * USERS, USERS)


def test_rows_may_come_in_any_order():
    mixed = studied(0, 1.0).with_columns(above=pl.col("row_id").cast(pl.Int32) % 7)
    found = {BACKBONE: {7: mixed}, AS_SET: {7: mixed.reverse()}}
    assert study.compared(found, "test", GREEDY, PARAMS, 7)[AS_SET]["minus"]["ndcg@10"]["difference"] == 0.0


def test_other_parts_and_decodings_do_not_count():
    own = pl.concat([studied(0, 1.0), studied(5, 0.0, "valid"), studied(5, 0.0, decoding="sampled")])
    found = {BACKBONE: {7: own}, AS_SET: {7: own}}
    assert study.compared(found, "test", GREEDY, PARAMS, 7)[AS_SET]["mean"]["grounded"] == 1.0
    assert study.compared(found, "test", "averaged", PARAMS, 7) == {}


def test_the_tables_say_what_was_measured():
    both = [studied(0, 1.0), studied(0, 1.0, "valid")]
    found = {BACKBONE: {7: pl.concat([studied(1, 0.5), studied(1, 0.5, "valid")])}, AS_SET: {7: pl.concat(both)}}
    told = {
        "profile": "toy", "confidence": 0.95, "says": {BACKBONE: "stage 1", AS_SET: "as it is"},
        "runs": {BACKBONE: {"7": {"temperature": {}}}, AS_SET: {"7": {"best_step": 4, "ended": "no better step",
                                                                     "temperature": {}}}},
        "valid": study.compared(found, "valid", GREEDY, PARAMS, 7),
        "test": {GREEDY: study.compared(found, "test", GREEDY, PARAMS, 7)},
    }  # fmt: skip
    text = study.markdown(told)
    assert "| `as_set` | 7 | 0.8155 | +0.2500 [" in text
    assert "| 4 | no better step |" in text
    assert f"{2 * USERS} test rows of {USERS} users" in text
    assert "| greedy | 0; 0 | 0.8155 | +0.2500 [" in text
