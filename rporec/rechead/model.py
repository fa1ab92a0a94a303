"""The Rechead: history + reasoning to log-probabilities of the whole catalogue.

The one scorer of reward, evaluation and service; `score` is `history_logits` and `add_reasoning` in one. Frozen:
fitting is `rporec.rechead.train` and `reasoning`. All scores are computed without gradient on CPU, and a group's
scores do not depend on the other groups of the call (beyond rounding, 1e-4 nats).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rporec.encode.vectors import Encoder
from rporec.errors import InputError
from rporec.files import atomic_file, read_json, write_json
from rporec.rechead.calibration import AS_IT_IS, Calibration
from rporec.rechead.first_layout import is_first_layout, load_first_head
from rporec.rechead.head import FusedHead, Histories
from rporec.rechead.mixed import MixedHead
from rporec.rechead.paper import PaperReasoning
from rporec.rechead.products import with_all
from rporec.rechead.reader import Evidence, Reader, Reasoning
from rporec.rechead.residual import ReasoningResidual

Head = MixedHead | FusedHead
ReasoningModule = ReasoningResidual | PaperReasoning
ARCHITECTURES: dict[str, type[ReasoningResidual] | type[PaperReasoning]] = {
    "hybrid": ReasoningResidual,
    "paper": PaperReasoning,
}
_SETTINGS, _REASONING = "rechead.json", "reasoning.safetensors"


@dataclass(frozen=True)
class Weights:
    """Numbers fitted on held-out rows.

    Args:
        strength: factor on the reasoning's residual, at least 0; 0 = reasoning does not count.
        told: calibration of the sum of logits and residual.
        alone: calibration of the head that never sees reasoning.
    """

    strength: float
    told: Calibration
    alone: Calibration


class Rechead:
    """A frozen scorer of the whole catalogue.

    Args:
        head: the fitted history head.
        reader: of reasoning texts.
        reasoning: the fitted reasoning module.
        weights: strength of the reasoning, calibrations.
    """

    def __init__(self, head: Head, reader: Reader, reasoning: ReasoningModule, weights: Weights) -> None:
        self.head, self.reader, self.weights = head, reader, weights
        self.reasoning = reasoning.eval().requires_grad_(requires_grad=False)

    @property
    def n_items(self) -> int:
        """Catalogue size N."""
        return self.head.n_items

    @property
    def encoder(self) -> Encoder:
        """The text encoder."""
        return self.reader.encoder

    def history_logits(self, histories: Histories) -> Tensor:
        """Return the head's logits [B, N], to be completed by `add_reasoning`; not normalised.

        Args:
            histories: B lists of item indices, oldest first; an empty one gets the popularity.
        """
        return self.head.logits(histories)

    def add_reasoning(self, logits: Tensor, reasoning: Reasoning) -> Tensor:
        """Return calibrated log-probabilities [B, N].

        Args:
            logits: [B, N] from `history_logits`.
            reasoning: the parsed samples of each group, averaged; one that is not well formed counts as absent, and a
                group without any keeps exactly the head's own ranking.

        Raises:
            InputError: not one list of samples for each line of logits.
        """
        _require_groups(reasoning, len(logits))
        return self._told(logits, self.reader.read(reasoning))

    def score(self, histories: Histories, reasoning: Reasoning | None = None) -> Tensor:
        """Return log-probabilities [B, N]; `reasoning` None = taken away from every group.

        Raises:
            InputError: not one list of samples for each history, or an item index is not in the catalogue.
        """
        given: Reasoning = [[] for _ in histories] if reasoning is None else reasoning
        _require_groups(given, len(histories))
        evidence = self.reader.read(given)
        head, module = self.head, self.reasoning
        if not (isinstance(head, MixedHead) and isinstance(module, ReasoningResidual) and len(evidence.owner)):
            # Without reasoning exactly the head's own ranking.
            return self._told(self.history_logits(histories), evidence)
        with torch.inference_mode():  # both ask for the text of all items: most of the time that one history takes
            alike, taste = with_all([head.taste(histories), module.aim(evidence)], self.reader.items)
            return self._told(head.logits(histories, alike), evidence, taste)

    def _told(self, logits: Tensor, evidence: Evidence, *taste: Tensor) -> Tensor:
        with torch.inference_mode():
            residual = self.reasoning(logits, evidence, *taste)  # [B, N]
            return self.weights.told.log_probabilities(logits + self.weights.strength * residual)

    def no_reasoning(self, logits: Tensor) -> Tensor:
        """Return log-probabilities [B, N] of the head that never saw reasoning, with its own calibration.

        Args:
            logits: [B, N] from `history_logits`.
        """
        return self.weights.alone.log_probabilities(logits)

    def parameters(self) -> dict[str, int]:
        """Return the number of learned values of each part."""
        found = {
            "tower": sum(p.numel() for p in self.head.tower.parameters()),
            "reasoning": sum(p.numel() for p in self.reasoning.parameters()),
            "encoder": self.encoder.values,
            "transitions": int(self.head.transitions.counts.nnz),
        }
        if isinstance(self.head, MixedHead):
            found["mixer"] = sum(p.numel() for p in self.head.mixer.parameters())
        return found

    def save(self, folder: Path) -> None:
        """Write a self-contained folder: JSON and safetensors only."""
        folder.mkdir(parents=True, exist_ok=True)
        names = {kind: name for name, kind in ARCHITECTURES.items()}
        settings = {
            "architecture": names[type(self.reasoning)],
            "weights": asdict(self.weights),
        }
        write_json(folder / _SETTINGS, settings)
        self.reader.save(folder)
        self.head.save(folder)
        with atomic_file(folder / _REASONING) as temporary:
            save_file({key: value.contiguous() for key, value in self.reasoning.state_dict().items()}, temporary)

    @staticmethod
    def load(folder: Path, vectors: Path | None = None) -> Rechead:
        """Read what `save` wrote.

        Args:
            folder: of the Rechead.
            vectors: where a pretrained encoder's vectors are kept, so that no text is encoded twice; None = nowhere.

        Raises:
            InputError: a part is missing or does not fit the others.
        """
        cure = "run the stage rechead again, or fetch the package again"
        try:
            settings = read_json(folder / _SETTINGS)
            reader = Reader.load(folder, vectors)
            kind = ARCHITECTURES[settings["architecture"]]
            head, weights = _load_head(folder, settings, reader)
            reasoning = kind(reader.items, seed=0)
            reasoning.load_state_dict(load_file(folder / _REASONING))
        except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
            raise InputError(f"the Rechead cannot be read: {error}", file=folder, cure=cure) from error
        return Rechead(head, reader, reasoning, weights)


def _require_groups(reasoning: Reasoning, groups: int) -> None:
    if len(reasoning) != groups:
        raise InputError(
            "reasoning and logits are not of the same groups", value=len(reasoning),
            rule=f"{groups} lists of samples, one a group", cure="pass an empty list for a group without any",
        )  # fmt: skip


def _load_head(folder: Path, settings: dict[str, Any], reader: Reader) -> tuple[Head, Weights]:
    if is_first_layout(settings):
        old, strength, calibration = load_first_head(folder, settings)
        return old, Weights(strength, calibration, AS_IT_IS)
    paper = ARCHITECTURES[settings["architecture"]] is PaperReasoning
    head = FusedHead.load(folder) if paper else MixedHead.load(folder, reader.items)
    stored = settings["weights"]
    if not isinstance(stored["strength"], float):
        raise TypeError("the strength of reasoning is not a number")
    return head, Weights(stored["strength"], Calibration(**stored["told"]), Calibration(**stored["alone"]))
