"""The rows and texts that ablations read: what a run left, samples of its backbone, and a backbone with a memory.

Everything that is written here lies below the folder of the ablations and is not written again after a kill.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from infra.workspace import Workspace
from rporec import tables
from rporec.backbone import learn
from rporec.backbone.generate import Sampling
from rporec.backbone.source import load_writer
from rporec.backbone.write import Writing, groups_of, write_completions
from rporec.catalogue import Catalogue
from rporec.config import Params
from rporec.files import replace_folder
from rporec.reasoning import lookup
from rporec.reasoning.parse import parse
from rporec.rechead.examples import Examples
from rporec.rechead.reasoning import Told
from steps import cot

PARTS = ("train", "valid", "test")
SAMPLES, TEMPERATURE = 8, 0.5  # at 1 the samples of a small writer are mostly noise (docs/log.md)


@dataclass(frozen=True)
class Material:
    """What a run left, and where ablations keep theirs.

    Args:
        params: of the run.
        outputs: of the run.
        work: folder of the ablations of exactly these inputs.
        home: RPOREC_HOME.
        catalogue: texts of N items.
        train, valid, test: ROWS tables.
    """

    params: Params
    outputs: Path
    work: Path
    home: Path
    catalogue: Catalogue
    train: pl.DataFrame
    valid: pl.DataFrame
    test: pl.DataFrame

    @staticmethod
    def load(space: Workspace, work: Path) -> Material:
        """Read it.

        Raises:
            InputError: a table is missing or breaks its contract.
        """
        outputs = space.root / "outputs"
        rows = [tables.read(outputs / f"sequence/{part}.parquet", tables.ROWS) for part in PARTS]
        items = tables.read(outputs / "ingest/items.parquet", tables.ITEMS)
        return Material(space.params, outputs, work, space.home, Catalogue.from_table(items), *rows)

    def near(self) -> np.ndarray:
        """Return the items' neighbours in text [N, K]; K is 0 where no prompt shows any."""
        return lookup.load_neighbours(self.outputs / "backbone/neighbours.safetensors")

    def written(self) -> pl.DataFrame:
        """Return the completions of the run itself."""
        return tables.read(self.outputs / "cot/completions.parquet", tables.COMPLETIONS)

    def sampled(self, seed: int) -> pl.DataFrame:
        """Return eight samples a group by the run's backbone."""
        model, params = self.outputs / "backbone/model", self.params.cot
        sampling = Sampling(
            SAMPLES, TEMPERATURE, self.params.backbone.max_completion_tokens, params.batch_size * params.samples, seed
        )
        return self._write(model, sampling, self.work / f"sampled-{seed}")

    def memorised(self) -> pl.DataFrame:
        """Return what a backbone writes that also learned the slice reason, made as the run's own."""
        model, params, seed = self.work / "memorised/model", self.params.cot, self.params.run.seed
        if not model.exists():
            learned = learn.learn_to_write(
                learn.Material(
                    fit=self.train.filter(pl.col("slice").is_in(["fit", "reason"])),
                    held_out=self.train.filter(pl.col("slice") == "align"),
                    catalogue=self.catalogue,
                    near=self.near(),
                ),
                self.params.backbone,
                seed,
                learn.Means(self.work / "memorised", self.home / "teacher"),
            )
            new = self.work / "memorised/model.new"
            shutil.rmtree(new, ignore_errors=True)
            learned.writer.save(new)
            replace_folder(new, model)
        sampling = Sampling(
            params.samples, params.temperature, self.params.backbone.max_completion_tokens,
            params.batch_size * params.samples, seed,
        )  # fmt: skip
        return self._write(model, sampling, self.work / "memorised/shards")

    def _write(self, model: Path, sampling: Sampling, kept: Path) -> pl.DataFrame:
        backbone = self.params.backbone
        rows = pl.concat([self.train, self.valid, self.test])
        kinds = lookup.Kinds(**backbone.evidence.model_dump())
        evidence = lookup.as_of(cot.SLICES, rows, kinds, self.catalogue, self.near())
        writing = Writing(sampling, backbone.prompt_items, backbone.max_prompt_tokens, self.params.cot.shard_groups)
        chosen = groups_of(rows).filter(pl.col("slice").is_in(cot.SLICES))
        writer = load_writer(model, backbone.dtype)
        return write_completions(writer, chosen, self.catalogue, writing, kept, evidence).completions


@dataclass(frozen=True)
class Spoken:
    """The reasoning of the three slices that an arm reads."""

    reason: Told
    valid: Told
    test: Told

    @staticmethod
    def of(material: Material, completions: pl.DataFrame) -> Spoken:
        """Join the rows with parsed completions, samples in their order."""
        lines = completions.sort("group", "sample").select("group", "completion").iter_rows()
        pairs = [(group, parse(text)) for group, text in lines]
        parts = material.train.filter(pl.col("slice") == "reason"), material.valid, material.test
        return Spoken(*(Told.of(Examples.from_rows(part), pairs) for part in parts))
