"""Late fusion: weights of a few signals, fitted on held-out rows by cross-entropy.

The loss is convex in the weights, so Newton's method finds the one best point in a few steps, without a learning rate
or chance. Weights are kept at or above 0: a signal that only helps reversed is noise. Because the weights scale the
logits freely, they also set the temperature: what comes out is calibrated on the rows that it was fitted on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_STEPS = 25
_ENOUGH = 1e-8  # nats a row gained by a step
_RIDGE = 1e-8

Signals = Callable[[slice], list[Tensor]]


@dataclass(frozen=True)
class Fitted:
    """Weights [K], each at least 0, and the mean cross-entropy in nats a row that they reach."""

    weights: tuple[float, ...]
    loss: float


@dataclass(frozen=True)
class Problem:
    """Held-out rows and the signals to weigh.

    Args:
        signals: given a slice of the E groups, K tensors [e, N].
        count: K.
        groups: E.
        chunk: groups looked at together.
        owner: [n] place of each row's group.
        targets: [n] item indices.
    """

    signals: Signals
    count: int
    groups: int
    chunk: int
    owner: np.ndarray
    targets: np.ndarray


def fit_weights(problem: Problem, start: tuple[float, ...]) -> Fitted:
    """Return the best weights at or above 0.

    Args:
        problem: rows and signals.
        start: [K] first guess; a guess of exactly 0 keeps its signal out.
    """
    weights = np.array(start, dtype=np.float64)
    wanted = weights > 0
    moments = _Moments(problem)
    current = moments(weights)
    for _ in range(_STEPS):
        free = wanted & ((weights > 0) | (current.slope < 0))  # a weight at 0 comes back where the loss falls with it
        if not free.any():
            break
        curvature = current.curvature[np.ix_(free, free)] + _RIDGE * np.eye(int(free.sum()))
        step = np.zeros_like(weights)
        step[free] = np.linalg.solve(curvature, current.slope[free])
        moved, found = _descend(moments, weights, step, current)
        gained = current.loss - found.loss
        if gained > 0:
            weights, current = moved, found
        if gained < _ENOUGH:
            break
    return Fitted(tuple(float(w) for w in weights), current.loss)


@dataclass(frozen=True)
class _Point:
    loss: float
    slope: np.ndarray  # [K]
    curvature: np.ndarray  # [K, K]


class _Moments:
    """Loss, slope and curvature of the mean cross-entropy at given weights."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem

    def __call__(self, weights: np.ndarray) -> _Point:
        problem = self._problem
        K, n = problem.count, len(problem.targets)
        loss, slope, curvature = 0.0, np.zeros(K), np.zeros((K, K))
        for start in range(0, problem.groups, problem.chunk):
            part = slice(start, min(start + problem.chunk, problem.groups))
            rows = np.flatnonzero((problem.owner >= part.start) & (problem.owner < part.stop))
            owner = torch.from_numpy(problem.owner[rows] - part.start)
            targets = torch.from_numpy(problem.targets[rows])
            signals = problem.signals(part)
            logits = sum((float(w) * s for w, s in zip(weights, signals, strict=True)), torch.zeros_like(signals[0]))
            log_p = torch.log_softmax(logits, dim=1)  # [e, N]
            loss -= float(log_p[owner, targets].double().sum())
            p = log_p.exp()
            held = torch.bincount(owner, minlength=len(p)).double()  # [e] rows a group
            weighed = [p * signal for signal in signals]
            means = torch.stack([w.sum(dim=1).double() for w in weighed])  # [K, e]
            hits = np.array([float(s[owner, targets].double().sum()) for s in signals])
            slope += (means @ held).numpy() - hits
            for a in range(K):
                for b in range(a + 1):
                    both = (weighed[a] * signals[b]).sum(dim=1).double() - means[a] * means[b]
                    curvature[a, b] += float(both @ held)
                    curvature[b, a] = curvature[a, b]
        return _Point(loss / n, slope / n, curvature / n)


def _descend(moments: _Moments, weights: np.ndarray, step: np.ndarray, current: _Point) -> tuple[np.ndarray, _Point]:
    """Take the Newton step, cut off at 0, halved until the loss does not rise (far off it may overshoot)."""
    share = 1.0
    while True:
        moved = np.maximum(weights - share * step, 0.0)
        found = moments(moved)
        if found.loss <= current.loss or share < 1e-3:
            return moved, found
        share /= 2
