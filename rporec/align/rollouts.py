"""One generation batch as it was scored: what the trainer tells those who watch it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from rporec.align.scorer import Scored


@dataclass(frozen=True)
class Rollouts:
    """One generation batch as it was scored: B*G rows, the G completions of a prompt side by side.

    Args:
        step: optimizer steps done before this batch was sampled.
        groups, samples: the prompt's group and the completion's number below G, per row.
        prompts, completions: texts.
        scored: reward and terms per row.
        advantages: per row.
        lengths: generated tokens per row.
        flat: whether all completions of the row's group earned the same when they were drawn first, per row.
    """

    step: int
    groups: list[int]
    samples: list[int]
    prompts: list[str]
    completions: list[str]
    scored: list[Scored]
    advantages: list[float]
    lengths: list[int]
    flat: list[bool]

    @staticmethod
    def joined(parts: Sequence[Rollouts]) -> Rollouts:
        """Put the rows of several processes behind one another."""
        names = [one.name for one in fields(Rollouts) if one.name != "step"]
        return Rollouts(parts[0].step, **{name: [x for one in parts for x in one.__dict__[name]] for name in names})
