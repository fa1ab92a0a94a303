"""Which round is chosen, which prompts each has, and how several are told as one run; whole rounds: tests/steps."""

from pathlib import Path

import polars as pl

from rporec.align import rounds
from rporec.align.rounds import Begin, Fitted, Round
from rporec.align.run import Trained
from tests.align import world

FIRST = Begin(1, Path("backbone"), Path("rechead"), Path("work"))


def played(*values, best=2):
    """Rounds of two steps with these values of NDCG@10 on valid; None = no step was sound."""
    made, begin = [], FIRST
    for value in values:
        rows = [{"step": step, "reward": begin.number + step / 10} for step in range(3)]
        found = 0 if value is None else best
        trained = Trained(begin.then().policy, found, rows, [{"step": 1}], "" if value else "collapse of form")
        fitted = None if value is None else Fitted(begin.then().recheads, pl.DataFrame(), value, 0.0, {})
        made.append(Round(begin, trained, fitted))
        begin = begin.then()
    return made


def test_the_best_round_is_chosen_and_of_rounds_as_good_the_earliest():
    for values, margin, number in (
        ((0.1, 0.2, 0.15), 0.01, 2),
        ((0.1, 0.109, 0.105), 0.01, 1),
        ((0.1, 0.115, 0.12), 0.01, 2),
        ((0.2, 0.1), 0.0, 1),
        ((0.1, None), 0.0, 1),
    ):
        chosen = rounds.choose(played(*values), margin)
        assert chosen is not None
        assert chosen.begin.number == number, values
    assert rounds.choose(played(None), 0.5) is None
    assert rounds.choose([], 0.5) is None


def test_a_single_round_is_chosen_without_a_value():
    (one,) = played(0.1)
    alone = Round(one.begin, one.trained, None)
    assert rounds.choose([alone], 0.0) is alone
    assert rounds.joined([alone], alone) == alone.trained
    assert rounds.tell([alone], alone, 0.1) == {}


def test_rounds_are_told_as_one_run_whose_steps_count_on():
    made = played(0.1, 0.2)
    told = rounds.joined(made, made[1])
    assert [row["step"] for row in told.rows] == [0, 1, 2, 3, 4]
    assert [row["reward"] for row in told.rows] == [1.0, 1.1, 1.2, 2.1, 2.2], "a later round's first check is left out"
    assert [rollout["step"] for rollout in told.rollouts] == [1, 3]
    assert (told.best, told.folder) == (4, Path("work/next/best"))
    said = rounds.tell(made, made[1], 0.05)
    assert said["chosen_round"] == 2
    assert [one["valid_ndcg_before"] for one in said["rounds"]] == [0.05, 0.1]


def test_no_prompt_comes_again_before_all_have_come():
    params = world.align_params(steps=2, prompts_per_step=3, micro_batch=4)
    one, two = (rounds.order_of(begin, 12, params, seed=1) for begin in (FIRST, FIRST.then()))
    assert sorted(one + two) == list(range(12))
    assert one == rounds.prompt_order(12, params, seed=1)
