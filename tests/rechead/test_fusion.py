"""Late fusion finds the weights that made the data, keeps noise out, and ends calibrated."""

import numpy as np
import pytest
import torch

from rporec.rechead.fusion import Problem, fit_weights


def planted(weights: tuple[float, ...], groups: int = 3000, n_items: int = 12) -> tuple[list[torch.Tensor], np.ndarray]:
    rng = torch.Generator().manual_seed(1)
    signals = [torch.randn(groups, n_items, generator=rng) for _ in weights]
    logits = sum(w * s for w, s in zip(weights, signals, strict=True))
    return signals, torch.multinomial(torch.softmax(logits, 1), 1, generator=rng)[:, 0].numpy()


def problem(signals: list[torch.Tensor], targets: np.ndarray, chunk: int = 500) -> Problem:
    return Problem(
        lambda part: [s[part] for s in signals], len(signals), len(targets), chunk, np.arange(len(targets)), targets
    )


def test_planted_weights_are_found():
    fitted = fit_weights(problem(*planted((1.5, 0.5))), (1.0, 1.0))
    assert fitted.weights == pytest.approx((1.5, 0.5), abs=0.08)


def test_a_signal_that_helps_only_reversed_gets_zero():
    signals, targets = planted((1.0, -0.7))
    fitted = fit_weights(problem(signals, targets), (1.0, 0.5))
    assert fitted.weights[1] == 0
    assert fitted.weights[0] == pytest.approx(fit_weights(problem(signals[:1], targets), (1.0,)).weights[0], abs=1e-3)


def test_a_first_guess_of_zero_keeps_a_signal_out():
    fitted = fit_weights(problem(*planted((1.0, 1.0))), (0.5, 0.0))
    assert fitted.weights[1] == 0
    assert fitted.weights[0] > 0.5


def test_far_first_guesses_reach_the_same_point():
    posed = problem(*planted((1.0, 0.3)))
    near, far = fit_weights(posed, (1.0, 0.3)), fit_weights(posed, (20.0, 0.01))
    assert far.weights == pytest.approx(near.weights, abs=1e-3)
    assert far.loss == pytest.approx(near.loss, abs=1e-6)


def test_chunks_change_nothing_and_a_constant_signal_does_no_harm():
    signals, targets = planted((1.0, 0.5))
    whole, cut = (fit_weights(problem(signals, targets, chunk), (1.0, 1.0)) for chunk in (10_000, 170))
    assert cut.weights == pytest.approx(whole.weights, abs=1e-6)
    flat = fit_weights(problem([*signals, torch.zeros_like(signals[0])], targets), (1.0, 1.0, 0.5))
    assert flat.weights[:2] == pytest.approx(whole.weights, abs=1e-3)


def test_several_targets_a_group_by_hand():
    # One group, signal (1, 0): targets 0 three times and 1 once are likeliest at softmax = (3/4, 1/4): weight ln 3.
    posed = Problem(
        lambda part: [torch.tensor([[1.0, 0.0]])[part]], 1, 1, 10, np.zeros(4, dtype=int), np.array([0, 0, 0, 1])
    )
    assert fit_weights(posed, (0.1,)).weights[0] == pytest.approx(np.log(3), abs=1e-4)


def test_a_weight_that_overshoots_below_zero_comes_back():
    # Two signals that nearly cancel: the first Newton steps throw one of them below 0, where it does not belong.
    rng = torch.Generator().manual_seed(2)
    one = torch.randn(3000, 12, generator=rng)
    other = one + 0.3 * torch.randn(3000, 12, generator=rng)
    targets = torch.multinomial(torch.softmax(0.2 * one + 1.2 * other, 1), 1, generator=rng)[:, 0].numpy()
    fitted = [fit_weights(problem([one, other], targets), start) for start in ((0.2, 1.2), (9.0, 0.01), (0.01, 9.0))]
    for again in fitted:
        assert again.weights == pytest.approx((0.2, 1.2), abs=0.15)
        assert again.loss == pytest.approx(fitted[0].loss, abs=1e-6)
