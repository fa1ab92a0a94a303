"""The three Recheads of a run fitted again to other completions: reasoning module and weights anew, heads as they are.

For a round of alignment, whose policy writes otherwise than the backbone. The heads never read reasoning, so nothing
in them could change; fitting them is `rporec.rechead.arms`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rporec.rechead.arms import reward_weights
from rporec.rechead.model import Rechead
from rporec.rechead.reasoning import Frozen, ReasoningFit, Told, fit_final_weights, fit_reasoning


@dataclass(frozen=True)
class Recheads:
    """The Recheads `reward`, `chosen` and `final` (`rporec.rechead.arms`), one folder each."""

    reward: Rechead
    chosen: Rechead
    final: Rechead

    def save(self, folder: Path) -> None:
        """Write the three folders."""
        for name, one in vars(self).items():
            one.save(folder / name)

    @staticmethod
    def load(folder: Path, vectors: Path | None = None) -> Recheads:
        """Read what `save`, or the stage rechead, wrote.

        Args:
            folder: holds the three.
            vectors: where a pretrained encoder's vectors are kept; None = nowhere.

        Raises:
            InputError: a part is missing or does not fit the others.
        """
        reward, chosen, final = (Rechead.load(folder / name, vectors) for name in ("reward", "chosen", "final"))
        return Recheads(reward, chosen, final)


def refit(given: Recheads, reason: Told, valid: Told, fit: ReasoningFit, folder: Path) -> Recheads:
    """Return Recheads with the heads, readers and item vectors of `given` that read these completions.

    Args:
        given: as the stage rechead left them; their modules and weights are not looked at, and nothing is changed.
        reason: the slice reason, which neither the head of `reward` nor the writer has learned.
        valid: held-out rows, by which strength and calibrations are fitted; the head of `chosen` has not learned them.
        fit: how the module is fitted, as in the stage rechead.
        folder: checkpoints; a killed call goes on.
    """
    base, late = (Frozen(one.head, one.reader) for one in (given.reward, given.chosen))
    module = type(given.reward.reasoning)(base.reader.items, fit.seed)
    fit_reasoning(module, base, reason, fit, folder)
    early, weights = reward_weights(base, module, valid), fit_final_weights(late, module, valid)
    return Recheads(
        reward=Rechead(base.head, base.reader, module, early),
        chosen=Rechead(late.head, late.reader, module, weights),
        final=Rechead(given.final.head, given.final.reader, module, weights),
    )
