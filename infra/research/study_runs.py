"""One writer of a study of alignment: train a policy with a setting of the reward, let it write, rank its rows.

Everything lies below the folder of the study and is not made again after a kill. Training is stage `align`'s own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from infra.research.material import Material
from rporec import tables
from rporec.align.gather import Texts, load_head
from rporec.align.heldout import sample_groups
from rporec.align.ship import texts_by_group
from rporec.backbone.source import Writer, load_writer
from rporec.backbone.write import groups_of, write_completions
from rporec.config import Params
from rporec.evaluation.metrics import Ranks, ndcg
from rporec.evaluation.scoring import TestSet, rank_rechead, reasoning_of
from rporec.evaluation.study import AS_SET, AVERAGED, BACKBONE, GREEDY, SAMPLED
from rporec.files import read_json, write_json
from rporec.reasoning import lookup
from rporec.rechead.model import Rechead
from steps.align import SLICES, Given, first_round, learn
from steps.stage import Stage

SAMPLES = 4
TEMPERATURES = (0.3, 0.5, 0.7, 1.0)


@dataclass(frozen=True)
class Setting:
    """What a policy is trained with.

    Args:
        says: a clause for people.
        changes: to the section `align`; None = no training at all.
        weights: changes to the weights of the reward's terms.
    """

    says: str
    changes: Mapping[str, Any] | None
    weights: Mapping[str, float]


_RANK_ALONE = dict.fromkeys(("outside", "concise", "similar", "entropy", "grounded"), 0.0)


def _paid_by_rank(kind: str) -> Setting:
    return Setting(f"rank reward {kind}, and no other term but format", {"rank_reward": kind}, _RANK_ALONE)


SETTINGS = {
    BACKBONE: Setting("stage 1, not trained further", None, {}),
    AS_SET: Setting("the run's own parameters", {}, {}),
    **{kind: _paid_by_rank(kind) for kind in ("ndcg", "ndcg_1000", "reciprocal_log", "log_probability")},
    "published": Setting("the published form of all terms", {"form": "published"}, {"grounded": 0.0}),
    "truth_0": Setting("what the thought claims does not count", {}, {"grounded": 0.0}),
    "cool": Setting("rollouts at temperature .5, nearer to what is served", {"temperature": 0.5}, {}),
    "gentle": Setting("a fifth of the learning rate, twice the KL weight", {"learning_rate": 1e-4, "beta": 0.1}, {}),
}  # fmt: skip


@dataclass(frozen=True)
class Desk:
    """What all runs of a study share.

    Args:
        material: what the run left; its `work` is the study's folder.
        root: workspace.
    """

    material: Material
    root: Path

    def stage(self, params: Params, work: Path) -> Stage:
        """Return the frame in which stage `align` trains, with a work folder of this study."""
        return Stage("align", params, self.root, work / "new", work, self.material.home, None)

    def texts(self, params: Params) -> Texts:
        """Return the items' texts and how the backbone was let write."""
        rows = pl.concat([self.material.train, self.material.valid])
        kinds = lookup.kinds_of(params.backbone.evidence)
        evidence = lookup.as_of(SLICES, rows, kinds, self.material.catalogue, self.material.near())
        return Texts.of(self.material.catalogue, params, evidence)

    @cached_property
    def heads(self) -> dict[str, Rechead]:
        """The Recheads that rank valid (not refitted on it) and test."""
        return {
            part: load_head(self.material.outputs / "rechead" / name, self.material.catalogue, self.vectors)
            for part, name in (("valid", "chosen"), ("test", "final"))
        }

    @property
    def vectors(self) -> Path:
        """Where a pretrained encoder's vectors are kept."""
        return self.material.home / "vectors"


class Run:
    """One setting and seed.

    Args:
        desk: shared.
        name: of SETTINGS.
        seed: of the reinforcement learning and of the samples.
    """

    def __init__(self, desk: Desk, name: str, seed: int) -> None:
        self.desk, self.name, self.seed = desk, name, seed
        self.work = desk.material.work / f"{name}-{seed}"
        setting, params = SETTINGS[name], desk.material.params
        align = params.align.model_dump() | dict(setting.changes or {})
        align["weights"] = align["weights"] | dict(setting.weights)
        self.params = params.model_copy(update={
            "run": params.run.model_copy(update={"seed": seed}), "align": type(params.align).model_validate(align),
        })  # fmt: skip
        self.texts = desk.texts(self.params)

    def make(self, done: Path, *, tested: bool) -> dict[str, Any]:
        """Train, write and rank; leave `<done>.parquet` and last `<done>.json`, and return what the latter says.

        Args:
            done: path without suffix.
            tested: whether test is written too, in every decoding; else valid alone, greedily.
        """
        self.work.mkdir(parents=True, exist_ok=True)
        told, folder = self._policy()
        writer = load_writer(folder, self.params.backbone.dtype, self.params.run.device)
        frames = [self._rows(writer, "valid", GREEDY, 0.0)]
        if tested:
            heat, tried = self._heat(writer)
            told |= {"temperature": heat, "valid_by_temperature": tried}
            frames += [self._rows(writer, "test", GREEDY, 0.0)]
            frames += [self._rows(writer, "test", name, heat[name]) for name in (SAMPLED, AVERAGED)]
        tables.write(pl.concat(frames), done.with_suffix(".parquet"), tables.STUDIED)
        write_json(done.with_suffix(".json"), told)
        return told

    def _policy(self) -> tuple[dict[str, Any], Path]:
        """Return figures of the training and the folder of what it brought."""
        backbone, kept = self.desk.material.outputs / "backbone/model", self.work / "trained.json"
        if SETTINGS[self.name].changes is None:
            return {}, backbone
        if not kept.exists():
            material, stage = self.desk.material, self.desk.stage(self.params, self.work)
            given = Given(
                material.train, material.valid, material.test, material.written(), self.texts, self.desk.heads["valid"]
            )
            trained = learn(stage, given, first_round(stage))  # one round, whatever `align.rounds` says
            write_json(kept, {
                "best_step": trained.best, "ended": trained.ended, "rows": trained.rows,
                "folder": "" if trained.best == 0 else trained.folder.relative_to(self.work).as_posix(),
            })  # fmt: skip
        told = dict(read_json(kept))
        folder = told.pop("folder")
        return told, self.work / folder if folder else backbone

    def _heat(self, writer: Writer) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        """Return the best temperature of one sample and of four averaged, on some of valid, and all that was seen."""
        rows = sample_groups(self.desk.material.valid, self.params.align.eval_groups // 2, self.seed)
        tried: dict[str, dict[str, float]] = {SAMPLED: {}, AVERAGED: {}}
        for heat in TEMPERATURES:
            written = self._write(writer, rows, "heat", heat, SAMPLES)
            alone = [self._ndcg(rows, written.filter(pl.col("sample") == number), "valid") for number in range(SAMPLES)]
            tried[SAMPLED][str(heat)] = float(np.mean(alone))
            tried[AVERAGED][str(heat)] = self._ndcg(rows, written, "valid")
        best = {name: float(max(seen, key=lambda heat: seen[heat])) for name, seen in tried.items()}
        return best, tried

    def _rows(self, writer: Writer, part: str, decoding: str, heat: float) -> pl.DataFrame:
        """Return the STUDIED rows of a part; texts are measured over all samples that the ranking reads."""
        rows = {"valid": self.desk.material.valid, "test": self.desk.material.test}[part].sort("group", "row_id")
        written = self._write(writer, rows, part, heat, 1 if decoding == GREEDY else SAMPLES)
        if decoding == SAMPLED:
            written = written.filter(pl.col("sample") == 0)
        ranks = self._ranks(rows, written, part)
        texts = texts_by_group(written)
        known = rows.select("row_id", "group", "user_id").join(texts, on="group", how="left", maintain_order="left")
        return known.select(
            pl.lit(part).alias("slice"), pl.lit(decoding).alias("decoding"), "row_id", "user_id",
            pl.Series("above", ranks.above, dtype=pl.Int32), pl.Series("ties", ranks.ties, dtype=pl.Int32),
            "grounded", "named", "words", "well_formed",
        )  # fmt: skip

    def _write(self, writer: Writer, rows: pl.DataFrame, what: str, heat: float, samples: int) -> pl.DataFrame:
        own = self.texts.writing
        sampling = replace(
            own.sampling, num_samples=samples, temperature=heat, batch_size=self.params.cot.batch_size * samples
        )
        kept = self.work / f"{what}-{heat}-{samples}"
        if SETTINGS[self.name].changes is None and not heat:  # the backbone's greedy texts know no seed
            kept = self.desk.material.work / f"{self.name}-{what}"
        writing = replace(own, sampling=sampling)
        return write_completions(
            writer, groups_of(rows), self.texts.catalogue, writing, kept, self.texts.evidence
        ).completions

    def _ranks(self, rows: pl.DataFrame, written: pl.DataFrame, part: str) -> Ranks:
        test = TestSet.from_rows(rows)
        ranks, _ = rank_rechead(self.desk.heads[part], test, {"own": reasoning_of(written, test.groups)})
        return ranks["own"]

    def _ndcg(self, rows: pl.DataFrame, written: pl.DataFrame, part: str) -> float:
        return float(ndcg(self._ranks(rows, written, part), 10).mean())
