"""The next token of a row: shares follow the probabilities, rounding never chooses the impossible, NaN is said."""

import numpy as np
import pytest
import torch

from rporec.backbone.choose import pick
from rporec.backbone.randomness import uniforms
from rporec.errors import InputError


def test_sampled_shares_follow_the_distribution():
    logits = torch.log(torch.tensor([0.5, 0.0, 0.3, 0.2])).expand(20_000, 4)
    numbers = torch.from_numpy(uniforms(3, np.arange(20_000)))
    tokens, logprobs = pick(logits, numbers, 1.0)
    shares = torch.bincount(tokens, minlength=4) / 20_000
    np.testing.assert_allclose(shares, [0.5, 0.0, 0.3, 0.2], atol=0.012)
    np.testing.assert_allclose(logprobs.exp().unique(), [0.2, 0.3, 0.5], atol=1e-6)


def test_sampled_shares_follow_the_distribution_over_many_tokens():
    weights = torch.rand(300, generator=torch.Generator().manual_seed(5)) ** 4
    weights[64:128] = 0.0  # nothing in the whole of a block
    numbers = (torch.arange(100_000) + 0.5) / 100_000
    tokens, _ = pick(weights.log().expand(100_000, 300), numbers, 1.0)
    shares = torch.bincount(tokens, minlength=300) / 100_000
    np.testing.assert_allclose(shares, weights / weights.sum(), atol=2e-5)
    assert bool((tokens.diff() >= 0).all())  # inverse CDF: a larger number never chooses an earlier token


def test_extreme_numbers_never_choose_an_impossible_token():
    logits = torch.tensor([[-torch.inf, 0.0, 1.0, -torch.inf]] * 3)
    tokens, _ = pick(logits, torch.tensor([0.0, 1.0 - 2**-24, 1.0]), 1.0)
    assert tokens.tolist() == [1, 2, 2]


def test_temperature_sharpens():
    logits = torch.tensor([[0.0, 1.0]]).expand(5_000, 2)
    numbers = torch.from_numpy(uniforms(1, np.arange(5_000)))
    cold, warm = (pick(logits, numbers, temperature)[0].float().mean() for temperature in (0.25, 4.0))
    assert cold > 0.95 > 0.7 > warm > 0.5


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0, 2.0])
def test_entropies_are_those_of_the_distribution_drawn_from(temperature):
    logits = 3 * torch.randn(50, 130, generator=torch.Generator().manual_seed(1)) + 40
    logits[7], logits[8, 3:] = 5.0, -torch.inf
    found = torch.empty(50)
    pick(logits, torch.rand(50, generator=torch.Generator().manual_seed(2)), temperature, found)
    expected = torch.distributions.Categorical(logits=logits.double() / (temperature or 1.0)).probs
    torch.testing.assert_close(found, torch.special.entr(expected).sum(dim=-1).float(), atol=2e-5, rtol=0)
    assert found[7] == pytest.approx(np.log(130), abs=2e-5)
    assert found[8] < np.log(3)


def test_greedy_takes_the_first_of_the_best_whatever_the_width():
    logits = torch.randn(50, 130, generator=torch.Generator().manual_seed(1))
    logits[7, [20, 90]] = 9.0
    tokens, logprobs = pick(logits, torch.zeros(50), 0.0)
    assert tokens.tolist() == logits.argmax(dim=-1).tolist()
    assert tokens[7] == 20
    torch.testing.assert_close(logprobs, torch.log_softmax(logits, dim=-1).amax(dim=-1))


@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_scores_that_are_no_numbers_are_said(temperature, bad):
    logits = torch.zeros(2, 5)
    logits[1, 3] = bad
    with pytest.raises(InputError, match="no numbers"):
        pick(logits, torch.zeros(2), temperature)
