"""The texts that an evaluation judges: what ships on test, what the backbone wrote for valid and test; no told targets.

Only for finished texts, since it needs their targets. What is measured, and how, is in `rporec.reasoning`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from transformers import AutoTokenizer

from rporec.reasoning import told
from rporec.reasoning.figures import Json
from rporec.reasoning.report import Finished, report


@dataclass(frozen=True)
class Written:
    """Completions of both writers.

    Args:
        ships: `policy` or `backbone`.
        policy: its COMPLETIONS, of slices valid and test.
        backbone: the COMPLETIONS of stage cot, of any slices.
    """

    ships: str
    policy: pl.DataFrame
    backbone: pl.DataFrame

    @property
    def before(self) -> pl.DataFrame:
        """What the backbone wrote for test."""
        return _of(self.backbone, "test")

    @property
    def shipped(self) -> pl.DataFrame:
        """What the writer that ships (which may be the backbone itself) wrote for test."""
        return _of(self.policy, "test") if self.ships == "policy" else self.before

    @property
    def named(self) -> dict[str, pl.DataFrame]:
        """The texts that are judged by writer and slice, what ships first and, where the backbone does, once."""
        judged = {f"{self.ships}_test": self.shipped}
        return {**judged, "backbone_valid": _of(self.backbone, "valid"), "backbone_test": self.before}


def judge(ships: str, finished: Finished, margin: float, seed: int) -> Json:
    """Return reasoning.json.

    Args:
        ships: `policy` or `backbone`.
        finished: the texts, named as by `Written.named`.
        margin: excess of named targets that is let pass (share of rows).
        seed: of the samples.

    Raises:
        InputError: texts name targets that their writer cannot have known.
    """
    found = report(finished, margin, seed)
    for name, one in found.told.items():
        told.refuse(one, name, margin)
    return {"ships": ships, **found.figures}


def token_counter(folder: Path) -> Callable[[str], int]:
    """Return what gives the length of a completion in tokens, by the tokenizer in a writer's folder."""
    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])


def _of(completions: pl.DataFrame, name: str) -> pl.DataFrame:
    return completions.filter(pl.col("slice") == name)
