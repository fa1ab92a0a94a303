"""reasoning.json: how the written reasoning is, before anybody ranks with it: form, truth, variety, length, copying.

Pure functions of texts. Whether the writer was told the target is asked in `told`; whether reasoning helps a ranking is
asked in `rporec.evaluation`.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from rporec.reasoning.diversity import distinct, self_bleu
from rporec.reasoning.ground import words_of

Json = dict[str, Any]

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_BLEU_TEXTS = 500  # the cost is linear, but more texts would also make self-BLEU higher


@dataclass(frozen=True)
class Known:
    """Texts that a completion may be a copy of.

    Attributes:
        thoughts, answers: composed for the fine-tuning examples; empty where there was no fine-tuning.
        lines: the catalogue's items as lines, N.
    """

    thoughts: Collection[str]
    answers: Collection[str]
    lines: Collection[str]


def figures(completions: pl.DataFrame, known: Known, count_tokens: Callable[[str], int], seed: int) -> Json:
    """Return the figures of one slice.

    Args:
        completions: rows of the COMPLETIONS table.
        known: what may be copied.
        count_tokens: length of a completion in tokens.
        seed: of the sample for self-BLEU.

    Returns:
        `completions`, `groups` (counts), `form`, `diversity`, `lengths` and `copies`; None where nothing was written.
        All but `well_formed` and the tokens are of well-formed completions.
    """
    good = completions.filter("well_formed")
    thoughts, answers = good["thought"].to_list(), good["answer"].to_list()
    return {
        "completions": completions.height,
        "groups": completions["group"].n_unique(),
        "form": form(completions),
        "diversity": {"thoughts": _diversity(thoughts, seed), "answers": _diversity(answers, seed)},
        "lengths": {
            "thought_words": quantiles([len(text.split()) for text in thoughts]),
            "thought_characters": quantiles([len(text) for text in thoughts]),
            "answer_words": quantiles([len(text.split()) for text in answers]),
            "answer_characters": quantiles([len(text) for text in answers]),
            "completion_tokens": quantiles([count_tokens(text) for text in completions["completion"]]),
        },
        "copies": {
            "thoughts_composed": share_in(thoughts, known.thoughts),
            "answers_composed": share_in(answers, known.answers),
            "answers_lines": share_in(answers, known.lines),
        },
    }


def form(completions: pl.DataFrame) -> dict[str, float | None]:
    """Return the share well formed and, of these, grounded and true names (means) and the share grounded in all."""
    grounded = completions.filter("well_formed")["grounded"].to_numpy()
    return {
        "well_formed": _mean(completions["well_formed"].to_numpy()),
        "grounded": _mean(grounded),
        "fully_grounded": _mean(grounded == 1.0),
        "named": _mean(completions.filter("well_formed")["named"].to_numpy()),
    }


def quantiles(values: Sequence[int]) -> list[float] | None:
    """Return the QUANTILES of some counts, interpolated; None where there are none."""
    return [float(value) for value in np.quantile(values, QUANTILES)] if values else None


def share_in(texts: Sequence[str], known: Collection[str]) -> float | None:
    """Return the share of texts that equal a known one, letter by letter; None without texts or without known ones."""
    lookup = frozenset(known)
    return sum(text in lookup for text in texts) / len(texts) if texts and lookup else None


def _diversity(texts: Sequence[str], seed: int) -> Json:
    words = [words_of(text) for text in texts]
    return {
        "different": len(set(texts)) / len(texts) if texts else None,
        "distinct_1": distinct(words, 1),
        "distinct_2": distinct(words, 2),
        "self_bleu_4": self_bleu(words, _BLEU_TEXTS, seed),
    }


def _mean(values: np.ndarray) -> float | None:
    return float(np.mean(values)) if len(values) else None
