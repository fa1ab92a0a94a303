"""Which writer ships: a policy that ranks better, or as well with truer or shorter thoughts; else the backbone."""

import numpy as np
import pytest

from rporec.align.ship import Judged, decide
from tests.align import world

USERS, ROWS = 100, 300
BACKBONE = {"ndcg": 0.2, "grounded": 0.8, "named": 4.0, "words": 20.0}


def judged(seed: int = 0, **means: float) -> Judged:
    """A writer whose rows scatter around these means by user, each measure by its own size."""
    rng = np.random.default_rng(seed)
    centre = np.array([(BACKBONE | means)[name] for name in BACKBONE])
    noise = rng.standard_normal((ROWS, 4)) * 0.02 * centre
    return Judged(centre + noise - noise.mean(axis=0), np.array([f"u{row % USERS}" for row in range(ROWS)]))


@pytest.mark.parametrize(
    ("means", "ships", "says"),
    [
        ({"ndcg": 0.21}, "policy", "ranks better"),
        ({"ndcg": 0.21, "grounded": 0.5}, "policy", "ranks better"),
        ({"grounded": 0.85}, "policy", "truer (+0.050)"),
        ({"grounded": 0.85, "named": 3.7}, "policy", "truer"),
        ({"grounded": 0.85, "named": 3.5}, "backbone", "neither truer nor shorter"),  # it names less
        ({"words": 17.0}, "policy", "shorter (-3.0 words)"),
        ({"words": 19.5}, "backbone", "neither"),  # hardly
        ({"words": 17.0, "grounded": 0.75}, "backbone", "neither"),
        ({"words": 10.0, "named": 2.0}, "backbone", "neither"),
        ({}, "backbone", "neither"),
        ({"ndcg": 0.19, "grounded": 0.95}, "backbone", "trails by more than the margin of 0.002"),
        ({"ndcg": 0.1985, "grounded": 0.85}, "policy", "truer"),
    ],
)
def test_what_was_bought_decides(means, ships, says):
    found = decide(judged(1, **means), judged(2), world.align_params(), 7, "")
    assert (found.ships, found.rows) == (ships, ROWS)
    assert says in found.reason
    assert "on valid" in found.reason
    assert found.gains["words"].users == USERS


def test_a_policy_that_bought_nothing_ships_where_that_is_asked_for():
    lenient = world.align_params(ship="not_worse")
    assert decide(judged(1), judged(2), lenient, 7, "").ships == "policy"
    assert decide(judged(1, ndcg=0.19), judged(2), lenient, 7, "").ships == "backbone"


def test_with_too_few_users_for_an_interval_nothing_is_bought():
    few = [Judged(one.values[:2], one.users[:2]) for one in (judged(1, ndcg=0.3), judged(2))]
    assert decide(*few, world.align_params(), 7, "").ships == "backbone"


def test_without_a_policy_or_rows_the_backbone_ships():
    found = decide(None, judged(2), world.align_params(), 7, "align.steps is 0")
    assert (found.ships, found.reason, found.valid_ndcg, found.gains) == (
        "backbone", "align.steps is 0", found.valid_ndcg_backbone, {}
    )  # fmt: skip
    assert decide(None, None, world.align_params(), 7, "no rows").valid_ndcg is None
