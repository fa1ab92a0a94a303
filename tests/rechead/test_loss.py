"""The in-place loss equals the plain one, in value and in gradient."""

import torch
import torch.nn.functional as F

from rporec.rechead.loss import catalogue_cross_entropy, grouped_cross_entropy

OWNER, TARGETS = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([1, 1, 4, 0, 3])  # one target is named twice


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return (torch.randn(n, 6, generator=rng, dtype=torch.float64).requires_grad_() for n in (3, 5))


def test_value_and_gradient_equal_plain_cross_entropy():
    (queries, vectors), (q, v) = inputs(), inputs()
    loss = catalogue_cross_entropy(queries, vectors, OWNER, TARGETS)
    plain = F.cross_entropy((q @ v.T)[OWNER], TARGETS)
    torch.testing.assert_close(loss, plain)
    (loss * 3).backward()
    (plain * 3).backward()
    torch.testing.assert_close(queries.grad, q.grad)
    torch.testing.assert_close(vectors.grad, v.grad)


def test_grouped_by_hand():
    logits = torch.tensor([[0.0, 0.0], [0.0, torch.tensor(3.0).log()]])
    loss = grouped_cross_entropy(logits, torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0]))
    expected = -(torch.tensor(0.5).log() + torch.tensor(0.75).log() + torch.tensor(0.25).log()) / 3
    torch.testing.assert_close(loss, expected)
