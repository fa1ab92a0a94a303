"""The best step, and why a run ends before its last: stalls, collapses and gamed rewards, each with a name."""

import dataclasses

import pytest

from rporec.align.ending import best_step, collapse, why_ended
from tests.align import runs, world


def rows(*heldout, **changes):
    """Rows of steps 0, 1, …: held-out NDCG@10 (None = not checked), the rest sound unless `changes` says otherwise."""
    sound = {"heldout_well_formed": 1.0, "heldout_grounded": 0.9, "heldout_named": 4.0, "heldout_length": 20.0,
             "reward": 0.5}  # fmt: skip
    made = [{"step": float(i), "heldout_ndcg@10": value, **sound} for i, value in enumerate(heldout)]
    for column, values in changes.items():
        for row, value in zip(made, values, strict=True):
            row[column] = value
    return made


@pytest.mark.parametrize(
    ("heldout", "best", "ended"),
    [
        ((0.9,), 0, ""),  # step 0 is the backbone
        ((0.9, 0.1), 1, ""),
        ((0.0, 0.3, None, 0.2), 1, ""),
        ((0.0, 0.3, 0.2, 0.3), 1, "no better step"),  # the earliest of equals
        ((0.0, 0.3, 0.2, 0.4), 3, ""),
        ((0.0, None, None), 0, ""),
    ],
)
def test_best_step_and_stall(heldout, best, ended):
    seen = rows(*heldout)
    assert best_step(seen, world.align_params(), seen[0]) == best
    assert why_ended(seen, world.align_params(patience=2), seen[0]) == ended


@pytest.mark.parametrize(
    ("heldout", "truth", "best"),
    [
        ((0.2, 0.3000, 0.2998), (0.9, 0.8, 0.9), 2),  # within the margin the truer step is better
        ((0.2, 0.3000, 0.3004), (0.9, 0.9, 0.8), 1),
        ((0.2, 0.3000, 0.2990), (0.9, 0.8, 0.9), 1),  # beyond it NDCG@10 decides
        ((0.2, 0.3000, 0.3010), (0.9, 0.9, 0.8), 2),
        ((0.2, 0.3000, 0.2996, 0.2992), (0.9, 0.86, 0.87, 0.88), 2),  # no creeping down
        ((0.2, 0.3000, 0.3002, 0.3006), (0.9, 0.89, 0.88, 0.87), 3),  # never one whose weights were not kept
    ],
)
def test_of_steps_as_good_the_truer_is_best(heldout, truth, best):
    seen = rows(*heldout, heldout_grounded=truth)
    params = world.align_params(near_margin=0.0005)
    assert best_step(seen, params, seen[0]) == best
    kept = 0
    for count in range(2, len(seen) + 1):
        kept = count - 1 if best_step(seen[:count], params, seen[0]) == count - 1 else kept
    assert kept == best


def test_a_step_that_is_truer_because_it_names_less_is_no_better():
    seen = rows(0.2, 0.3, 0.3, heldout_grounded=(0.8, 0.8, 0.95), heldout_named=(4.0, 4.0, 3.5))
    assert best_step(seen, world.align_params(collapse_margin=0.1), seen[0]) == 1
    assert best_step(seen, world.align_params(collapse_margin=0.2), seen[0]) == 2


@pytest.mark.parametrize(
    ("column", "value", "name"),
    [
        ("heldout_well_formed", 0.95, ""),
        ("heldout_well_formed", 0.85, "form"),
        ("heldout_grounded", 0.85, ""),
        ("heldout_grounded", 0.75, "truth"),
        ("heldout_named", 2.1, ""),
        ("heldout_named", 1.9, "names"),
        ("heldout_length", 39.0, ""),
        ("heldout_length", 41.0, "length"),
        ("heldout_length", 9.0, "length"),
    ],
)
def test_a_collapse_has_a_name_ends_the_run_and_is_not_the_best(column, value, name):
    sound = rows(0.2)[0][column]
    seen = rows(0.2, 0.1, 0.3, **{column: [sound, sound, value]})
    assert collapse(seen[0], seen[2], 0.1) == name
    assert why_ended(seen, world.align_params(), seen[0]) == (f"collapse of {name}" if name else "")
    assert best_step(seen, world.align_params(), seen[0]) == (1 if name else 2)


def test_a_later_round_collapses_by_what_it_has_lost_since_the_backbone():
    """Within the margin of its own start, but beyond that of the backbone which the rounds before had come near."""
    backbone = rows(0.2, heldout_well_formed=[1.0])[0]
    seen = rows(0.2, 0.3, 0.4, heldout_well_formed=[0.92, 0.91, 0.85])
    params = world.align_params(collapse_margin=0.1)
    assert (why_ended(seen, params, seen[0]), best_step(seen, params, seen[0])) == ("", 2)
    assert (why_ended(seen, params, backbone), best_step(seen, params, backbone)) == ("collapse of form", 1)


@pytest.mark.parametrize(
    ("heldout", "reward", "ended"),
    [
        ((0.2, 0.2, 0.19, 0.19), (0, 0.5, 0.6, 0.7), "a gamed reward"),
        ((0.2, 0.2, 0.19, 0.2), (0, 0.5, 0.6, 0.7), ""),  # one bad check is a bad draw
        ((0.2, 0.2, 0.19, 0.19), (0, 0.5, 0.4, 0.4), ""),  # the reward fell with it
        ((0.2, 0.2, 0.199, 0.199), (0, 0.5, 0.6, 0.7), ""),  # within ship_margin
    ],
)
def test_a_reward_that_rises_while_the_measure_falls_ends_the_run(heldout, reward, ended):
    seen = rows(*heldout, reward=reward)
    assert why_ended(seen, world.align_params(), seen[0]) == ended


class Talkative:
    """A reward that pays for tokens alone."""

    def __init__(self, inner):
        self.inner = inner

    def score(self, groups, completions, entropies):
        scored = self.inner.score(groups, completions, entropies)
        return [
            dataclasses.replace(one, reward=float("</think>" not in text) + len(text.split()) / 100)
            for one, text in zip(scored, completions, strict=True)
        ]


def test_a_policy_that_learns_to_break_the_form_is_stopped_by_name(backbone, tmp_path, monkeypatch):
    scorer = world.scorer
    monkeypatch.setattr(world, "scorer", lambda *given: Talkative(scorer(*given)))
    params = runs.small(steps=40, eval_every=2, learning_rate=0.01, beta=0.0, top_entropy_quantile=1.0)
    trained = runs.run(backbone, tmp_path, params)
    assert trained.ended.startswith("collapse of ")
    assert trained.rows[-1]["step"] < 40
    assert runs.run(backbone, tmp_path, params) == trained


def test_a_run_that_stalls_stops(backbone, tmp_path):
    # a rate so small that held-out completions never change
    params = runs.small(learning_rate=1e-9, eval_every=1, patience=2)
    trained = runs.run(backbone, tmp_path, params)
    assert trained.ended == "no better step"
    assert (trained.best, trained.rows[-1]["step"]) == (1, 3)
    assert runs.run(backbone, tmp_path, params) == trained
