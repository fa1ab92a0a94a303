"""What a run of alignment starts from: the two Recheads, the prompts of the align slice, and what is known of each.

Reads what earlier stages left; trains nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from rporec.align.heldout import HeldOut, sample_groups
from rporec.align.scorer import USUAL_WORDS, Facts, RewardHead
from rporec.backbone.source import Writer
from rporec.backbone.write import Writing, groups_of, write_completions, writing_of
from rporec.catalogue import Catalogue
from rporec.config import AlignParams, Params
from rporec.errors import InputError
from rporec.evaluation.scoring import TestSet
from rporec.reasoning.ground import Grounder
from rporec.reasoning.lookup import Evidence
from rporec.reasoning.prompt import split_prompt
from rporec.rechead.model import Rechead


@dataclass(frozen=True)
class Texts:
    """The items' texts and how the backbone was let write about them.

    Args:
        catalogue: the items.
        writing: the settings of stage cot.
        evidence: what prompts may show of each slice, as in stage cot; {} = nothing.
    """

    catalogue: Catalogue
    writing: Writing
    evidence: Mapping[str, Evidence]

    @staticmethod
    def of(catalogue: Catalogue, params: Params, evidence: Mapping[str, Evidence]) -> Texts:
        """Take the settings of stage cot, so that policy and backbone are compared as they write there."""
        return Texts(catalogue, writing_of(params.cot, params.backbone, params.run.seed), evidence)

    def greedy(self) -> Writing:
        """Return the settings with one greedy sample."""
        return replace(self.writing, sampling=replace(self.writing.sampling, num_samples=1, temperature=0.0))


@dataclass(frozen=True)
class Known:
    """Prompt and facts by group."""

    prompts: dict[int, str]
    facts: dict[int, Facts]


def load_head(folder: Path, catalogue: Catalogue, vectors: Path | None = None) -> Rechead:
    """Load a Rechead that must have been trained for exactly this catalogue.

    Args:
        folder: of the Rechead.
        catalogue: as it is now.
        vectors: where a pretrained encoder's vectors are kept; None = nowhere.

    Raises:
        InputError: another number of items, or the same number with other texts.
    """
    head = Rechead.load(folder, vectors)
    cure = "run the stage rechead again (make run)"
    if head.n_items != catalogue.n:
        raise InputError(
            "the Rechead was trained for another catalogue", file=folder, value=f"{head.n_items} items",
            rule=f"{catalogue.n} items", cure=cure,
        )  # fmt: skip
    other = head.reader.changed([catalogue.full_text(item) for item in range(catalogue.n)])
    if other:
        raise InputError(
            "the Rechead was trained for another catalogue", file=folder, field="item texts",
            value=f"{len(other)} items differ, the first is {catalogue.item_ids[other[0]]}",
            rule="the texts of items.parquet", cure=cure,
        )  # fmt: skip
    return head


def gather_prompts(writer: Writer, rows: pl.DataFrame, texts: Texts, kept: Path) -> Known:
    """Return prompt and facts of each group; the backbone writes the reference thoughts, greedily.

    Args:
        writer: the backbone.
        rows: ROWS of the align slice.
        texts: catalogue, and how prompts are built.
        kept: folder for the shards of reference thoughts.
    """
    groups = groups_of(rows)
    written = write_completions(writer, groups, texts.catalogue, texts.greedy(), kept, texts.evidence)
    references = written.completions
    thoughts = dict(references.select("group", "thought").iter_rows())  # "" where malformed
    prompts = dict(references.select("group", "prompt").iter_rows())
    targets = dict(rows.group_by("group").agg(pl.col("target").sort()).iter_rows())
    facts = {
        group: Facts(
            history=tuple(history),
            targets=tuple(targets[group]),
            reference=thoughts[group],
            words=len(thoughts[group].split()) or USUAL_WORDS,
            shown=tuple(history[-texts.writing.prompt_items :]),
            evidence=split_prompt(prompts[group])[1],
        )
        for group, history in groups.select("group", "history").iter_rows()
    }
    return Known(prompts, facts)


def gather_heldout(
    head: RewardHead, valid: pl.DataFrame, completions: pl.DataFrame, texts: Texts, params: AlignParams
) -> HeldOut:
    """Return the held-out check: a sample of the groups of valid with the prompts that the backbone had.

    Args:
        head: the Rechead `chosen`.
        valid: ROWS of valid, at least one.
        completions: the backbone's COMPLETIONS, those of valid among them.
        texts: catalogue, and how prompts are built.
        params: `eval_groups`.
    """
    sampling = texts.greedy().sampling
    test = TestSet.from_rows(sample_groups(valid, params.eval_groups, sampling.seed))
    prompts = dict(completions.select("group", "prompt").iter_rows())
    shown = [history[-texts.writing.prompt_items :] for history in test.histories]
    return HeldOut(head, test, [prompts[group] for group in test.groups], shown, Grounder(texts.catalogue), sampling)
