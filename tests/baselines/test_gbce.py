"""gBCE by hand: beta from the sampling rate, the loss of given scores, what is drawn, what is learnt."""

import math

import pytest
import torch
from safetensors.torch import load_file

from rporec.baselines.gbce import SampledBinary, generalised_binary_cross_entropy, sigmoid_power
from rporec.rechead import train as training
from rporec.rechead.examples import Examples
from rporec.rechead.loss import Batch
from rporec.rechead.tower import Noise
from rporec.rechead.train import choose_tower
from tests.kills import killed
from tests.rechead import world

torch.set_num_threads(1)
OWNER, TARGETS = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([1, 1, 4, 0, 3])


@pytest.mark.parametrize(
    ("calibration", "power"),
    [
        (0.0, 1.0),  # plain binary cross-entropy
        (1.0, 0.25),  # alpha = 10 / 40
        (0.5, 0.625),  # 1/4 (1/2 (1 - 4) + 4) = 1/4 x 2.5
    ],
)
def test_beta_by_hand(calibration, power):
    assert sigmoid_power(10, 41, calibration) == pytest.approx(power)


def test_all_negatives_need_no_calibration():
    assert sigmoid_power(40, 41, 0.3) == pytest.approx(1.0)


def test_loss_by_hand():
    """Scores log 3, 0 and -log 3 have sigmoids 3/4, 1/2 and 1/4.

    Row 1: beta x -log 3/4, and -log 1/2 - log 3/4 of the negatives 0 and -log 3. Row 2: beta x -log 1/2, and
    -log 1/4 twice of the negatives log 3. Two negatives: each row is divided by 3; two rows: the mean.
    """
    three = math.log(3)
    loss = generalised_binary_cross_entropy(
        torch.tensor([three, 0.0]), torch.tensor([[0.0, -three], [three, three]]), 0.625
    )
    first = 0.625 * math.log(4 / 3) + math.log(2) + math.log(4 / 3)
    second = 0.625 * math.log(2) + 2 * math.log(4)
    assert float(loss) == pytest.approx((first / 3 + second / 3) / 2)


def batch(step: int = 0, size: int = 5) -> Batch:
    rng = torch.Generator().manual_seed(1)
    queries, vectors = (torch.randn(n, 6, generator=rng, dtype=torch.float64).requires_grad_() for n in (3, size))
    return Batch(queries, vectors, OWNER, TARGETS, Noise(0.1, 7, step))


def drawn(step: int, negatives: int, size: int) -> torch.Tensor:
    """Return how hard each item's vector is pulled away: items that were not drawn stay where they are."""
    given = batch(step, size)
    SampledBinary(negatives, 0.75)(given).backward()
    return given.vectors.grad


def test_the_same_step_draws_the_same_items_and_another_step_others():
    assert torch.equal(drawn(3, 2, 50), drawn(3, 2, 50))
    assert not torch.equal(drawn(3, 2, 50), drawn(4, 2, 50))


def test_a_target_is_never_its_own_negative():
    """With one negative of two items, it is always the other one."""
    rng = torch.Generator().manual_seed(1)
    queries, vectors = (torch.randn(n, 6, generator=rng, dtype=torch.float64) for n in (3, 2))
    targets = torch.tensor([1, 1, 0, 0, 1])
    scores = queries @ vectors.T
    expected = generalised_binary_cross_entropy(scores[OWNER, targets], scores[OWNER, 1 - targets][:, None], 1.0)
    for step in range(5):
        given = Batch(queries, vectors, OWNER, targets, Noise(0.0, 1, step))
        assert float(SampledBinary(9, 0.75)(given)) == pytest.approx(float(expected))


def test_groups_with_one_row_each_give_what_repeated_groups_give():
    given = batch()
    apart = Batch(given.queries[OWNER], given.vectors, torch.arange(5), TARGETS, Noise(0.1, 7, 0))
    torch.testing.assert_close(SampledBinary(3, 0.75)(given), SampledBinary(3, 0.75)(apart))


def test_a_killed_fit_draws_on_as_if_it_had_not_been_killed(tmp_path):
    data = Examples.from_rows(world.rows(200, seed=1)), Examples.from_rows(world.rows(60, seed=2))
    fit = world.fit(shape=world.shape(text_dim=0), epochs=3, loss=SampledBinary(8, 0.75))
    whole = choose_tower(*data, None, fit, tmp_path / "whole")
    with killed(training, "_epoch", after=1):
        choose_tower(*data, None, fit, tmp_path / "cut")
    assert choose_tower(*data, None, fit, tmp_path / "cut").curve == whole.curve
    # Not the files' bytes: the two lines of metadata have no fixed order.
    cut, undisturbed = (load_file(tmp_path / name / "last.safetensors") for name in ("cut", "whole"))
    assert cut.keys() == undisturbed.keys()
    assert all(torch.equal(cut[name], tensor) for name, tensor in undisturbed.items())
    assert whole.curve[-1].train_loss < whole.curve[0].train_loss
