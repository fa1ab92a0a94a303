"""Quality on held-out rows: the same in parts as at once, and calm without rows."""

import numpy as np
import pytest

from rporec.baselines import choice
from rporec.evaluation.metrics import ndcg, rank_targets
from rporec.rechead.examples import Examples
from tests.rechead import world


class Fixed:
    """Another order of the items for every length of history."""

    def scores(self, histories):
        rng = np.random.default_rng(0).normal(size=(world.H + 1, world.N)).astype(np.float32)
        return np.stack([rng[len(history)] for history in histories])


@pytest.mark.parametrize("groups", [1, 3, 50, 1000])
def test_parts_give_what_the_whole_gives(groups, monkeypatch):
    held = Examples.from_rows(world.rows(50, seed=1))
    whole = ndcg(rank_targets(Fixed().scores(held.histories), held.owner, held.targets), 10).mean()
    monkeypatch.setattr(choice, "_CELLS", groups * world.N)
    assert choice.quality(Fixed(), held, world.N) == pytest.approx(whole)


def test_never_more_cells_at_once_than_fit(monkeypatch):
    seen = []

    class Watched(Fixed):
        def scores(self, histories):
            seen.append(len(histories))
            return super().scores(histories)

    monkeypatch.setattr(choice, "_CELLS", 7 * world.N)
    choice.quality(Watched(), Examples.from_rows(world.rows(50, seed=1)), world.N)
    assert max(seen) == 7
    assert sum(seen) == 50


def test_without_rows_nothing_is_better_than_anything():
    nothing = Examples.from_rows(world.rows(5, seed=1)).take([])
    assert choice.quality(Fixed(), nothing, world.N) == 0.0
