"""Logits to probabilities that can be believed: one sharpness a history, fitted on held-out rows.

A single temperature left the middling histories too sure and the surest ones not sure enough, and the cross-entropy of
the item alone, which the long tail rules, the top ten too sure; what people are shown is the top ten's probability, so
it weighs most (docs/log.md has the figures). No order of items changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rporec.rechead.examples import Examples
from rporec.rechead.loss import grouped_cross_entropy

_RIDGE = 1e-3  # on the slopes: a few held-out rows must not bend them
_STEPS = 50
_TOP, _TOP_WEIGHT = 10, 10.0  # chosen by halves of valid
_SURE = -1e-6  # log-probability at most, where the top ten are nearly all items
_MOST = 4.0  # |log sharpness|


@dataclass(frozen=True)
class Calibration:
    """Sharpness of a history: exp(level + by_peak * log of its best probability + by_entropy * entropy in nats)."""

    level: float
    by_peak: float
    by_entropy: float

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """Return calibrated log-probabilities [B, N] of logits [B, N]."""
        weights = torch.tensor([self.level, self.by_peak, self.by_entropy], dtype=logits.dtype)
        sharpness = (_features(logits) @ weights).clamp(-_MOST, _MOST).exp()  # [B]
        return torch.log_softmax(logits * sharpness[:, None], dim=1)


AS_IT_IS = Calibration(0.0, 0.0, 0.0)


def calibrate(logits: Tensor, held: Examples) -> Calibration:
    """Return the calibration that suits held-out rows best.

    By the cross-entropy of the item and, weighing ten times as much, of whether it is among the top ten.

    Args:
        logits: [E, N] of the E held-out groups, by a model that was not fitted on them.
        held: the groups; without any, logits stay as they are.
    """
    if not len(held.targets):
        return AS_IT_IS
    logits = logits.clone()  # one born in inference mode takes no part in a gradient
    features = _features(logits)
    center, spread = features.mean(dim=0), features.std(dim=0, correction=0).clamp(min=1e-3)
    center[0], spread[0] = 0.0, 1.0
    owner, targets = torch.from_numpy(held.owner), torch.from_numpy(held.targets)
    scaled = (features - center) / spread
    top = logits.topk(min(_TOP, logits.shape[1]), dim=1).indices  # [E, K]; calibration changes no order
    hit = (top[owner] == targets[:, None]).any(dim=1)  # [n]
    weights = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        sharpness = (scaled @ weights).clamp(-_MOST, _MOST).exp()
        sharpened = logits * sharpness[:, None]
        mass = torch.logsumexp(sharpened.gather(1, top), dim=1) - torch.logsumexp(sharpened, dim=1)  # [E]
        mass = mass.clamp(max=_SURE)[owner]  # [n]
        told = -torch.where(hit, mass, torch.log1p(-mass.exp())).mean()
        value = grouped_cross_entropy(sharpened, owner, targets) + _TOP_WEIGHT * told
        value = value + _RIDGE * weights[1:].square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    slopes = (weights.detach() / spread).tolist()
    level = float(weights[0].detach()) - sum(s * float(c) for s, c in zip(slopes[1:], center[1:], strict=True))
    return Calibration(level, slopes[1], slopes[2])


def _features(logits: Tensor) -> Tensor:
    log_p = torch.log_softmax(logits, dim=1)
    entropy = -(log_p.exp() * log_p).sum(dim=1)
    return torch.stack([torch.ones(len(logits)), log_p.amax(dim=1), entropy], dim=1)  # [B, 3]
