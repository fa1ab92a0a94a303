"""The calibration finds a planted sharpness, bends where sureness misleads, and changes no order."""

import numpy as np
import pytest
import torch

from rporec.rechead.calibration import AS_IT_IS, Calibration, calibrate
from rporec.rechead.examples import Examples

torch.set_num_threads(1)
E, N = 4000, 30


def drawn(logits: torch.Tensor, seed: int = 1) -> Examples:
    rng = torch.Generator().manual_seed(seed)
    targets = torch.multinomial(torch.softmax(logits, 1), 1, generator=rng)[:, 0].numpy()
    return Examples(np.arange(len(logits)), [np.array([0])] * len(logits), np.arange(len(logits)), targets)


@pytest.fixture(scope="module")
def truth() -> torch.Tensor:
    rng = torch.Generator().manual_seed(2)
    return torch.randn(E, N, generator=rng) * (0.5 + 2 * torch.rand(E, 1, generator=rng))


def test_logits_that_are_three_times_too_sure_are_cooled(truth):
    held = drawn(truth)
    found = calibrate(3 * truth, held).log_probabilities(3 * truth)
    expected = torch.log_softmax(truth, 1)
    assert (found.exp() - expected.exp()).abs().mean() < 0.003


def test_one_row_by_hand():
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))
    peak, entropy = np.log(0.5), 0.5 * np.log(2) + 0.5 * np.log(4)
    found = Calibration(0.1, 0.2, -0.3).log_probabilities(logits)
    sharpness = np.exp(0.1 + 0.2 * peak - 0.3 * entropy)
    expected = np.array([0.5, 0.25, 0.25]) ** sharpness
    np.testing.assert_allclose(found.exp()[0], expected / expected.sum(), atol=1e-6)
    torch.testing.assert_close(AS_IT_IS.log_probabilities(logits), logits)


def test_sure_rows_and_doubtful_ones_are_bent_apart(truth):
    bent = truth * torch.where(truth.amax(1, keepdim=True) > 3, 0.6, 1.6)  # the sure ones too mild, the others too wild
    held = drawn(truth)

    def loss(log_p: torch.Tensor) -> float:
        return -float(log_p[torch.arange(E), torch.from_numpy(held.targets)].mean())

    three = loss(calibrate(bent, held).log_probabilities(bent))
    one = min(loss(torch.log_softmax(bent * scale, 1)) for scale in np.linspace(0.3, 2, 60))
    assert three < one - 0.02


def test_the_top_tens_probability_is_right_where_the_tail_is_not_as_the_logits_say(truth):
    """The tail is flatter than a sharpness can make it: the item's cross-entropy alone leaves the top ten wrong."""
    order = truth.argsort(dim=1, descending=True)
    flat = truth.scatter(1, order[:, 10:], truth.gather(1, order[:, 10:]).mean(dim=1, keepdim=True).expand(-1, N - 10))
    told = 2.5 * truth
    held = drawn(flat)
    found = calibrate(told, held).log_probabilities(told)
    mass = found.exp().topk(10, dim=1).values.sum(dim=1).mean()
    hits = (order[:, :10] == torch.from_numpy(held.targets)[:, None]).any(dim=1).float().mean()
    assert abs(float(mass - hits)) < 0.01


def test_a_catalogue_of_ten_has_nothing_below_its_top(truth):
    few = truth[:, :10]
    assert torch.isfinite(calibrate(3 * few, drawn(few)).log_probabilities(few)).all()


def test_no_order_changes(truth):
    found = calibrate(3 * truth, drawn(truth)).log_probabilities(truth)
    falling = found.gather(1, truth.argsort(dim=1, descending=True))
    assert (falling.diff(dim=1) <= 0).all()  # equal where float32 tells two no longer apart


def test_without_rows_and_with_a_few_it_stays_sane(truth):
    nothing = Examples(np.arange(0), [], np.arange(0), np.arange(0))
    assert calibrate(truth[:0], nothing) == AS_IT_IS
    few = calibrate(truth[:3], drawn(truth[:3]))
    assert torch.isfinite(few.log_probabilities(truth * 50)).all()
