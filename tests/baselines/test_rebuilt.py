from __future__ import annotations

import polars as pl

from rporec import tables
from rporec.baselines import rebuilt

N = 6


def _rows(*lines: tuple[int, int, int]) -> pl.DataFrame:
    """Rows of (second, history item, target)."""
    return pl.DataFrame(
        {
            "row_id": range(len(lines)),
            "group": range(len(lines)),
            "user_id": [f"u{place}" for place in range(len(lines))],
            "timestamp": [second for second, _, _ in lines],
            "history": [[item] for _, item, _ in lines],
            "target": [target for _, _, target in lines],
            "slice": "train",
        },
        schema=tables.ROWS.columns,
    )


OLD = [(second, 0, 1) for second in range(10)] + [(10, 0, 2), (11, 0, 1)]
NEW = [(20 + second, 0, 3) for second in range(40)]


def _best(made: rebuilt.Rebuilt) -> tuple[int, int]:
    return int(made.same.scores([[0]])[0].argmax()), int(made.whole.scores([[0]])[0].argmax())


def test_one_counts_up_to_the_challengers_cut_off_the_other_all() -> None:
    assert _best(rebuilt.rebuild(_rows(*OLD, *NEW), N, valid=8, test=20)) == (1, 3)


def test_rows_after_the_cut_off_choose_nothing() -> None:
    without, with_ = (rebuilt.rebuild(_rows(*OLD, *later), N, valid=8, test=20) for later in ([], NEW))
    assert (without.decay, without.half_life) == (with_.decay, with_.half_life)
    assert (without.same.transitions.counts != with_.same.transitions.counts).nnz == 0


def test_without_held_out_rows_it_is_counted_all_the_same() -> None:
    assert _best(rebuilt.rebuild(_rows(*OLD), N, valid=20, test=30)) == (1, 1)
