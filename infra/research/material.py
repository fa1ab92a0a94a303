"""What ablations and studies read: rows and texts of a run, samples of its backbone, and a backbone with a memory.

Everything that is written here lies below the folder of the ablations and is not written again after a kill.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from infra.workspace import Workspace
from rporec import tables
from rporec.backbone import learn
from rporec.backbone.generate import generate
from rporec.backbone.source import load_writer
from rporec.backbone.write import Writing, groups_of, prompts_of, write_completions, writing_of
from rporec.catalogue import Catalogue
from rporec.config import Params
from rporec.errors import InputError
from rporec.evaluation.slices import Mask, label_rows, slice_masks, text_masks
from rporec.files import read_json, replace_folder, write_json
from rporec.reasoning import lookup
from rporec.reasoning.lookup import Evidence
from rporec.reasoning.parse import parse
from rporec.rechead.examples import Examples
from rporec.rechead.reasoning import Told
from steps import cot

PARTS = ("train", "valid", "test")
_CHECKED, _REWRITTEN = 64, 16  # groups whose prompts are rebuilt, and of which completions are written again
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

    def slices(self) -> dict[str, Mask]:
        """Return the named slices of the test rows, in order of `row_id`, as of all rows before the test."""
        rows = self.test.sort("row_id")
        masks = slice_masks(label_rows(rows, pl.concat([self.train, self.valid])))
        return masks | text_masks(rows["history"].to_list(), rows["target"].to_list(), self.catalogue)

    def near(self) -> np.ndarray:
        """Return the items' neighbours in text [N, K]; K is 0 where no prompt shows any."""
        return lookup.load_neighbours(self.outputs / "backbone/neighbours.safetensors")

    def written(self) -> pl.DataFrame:
        """Return the completions of the run itself."""
        return tables.read(self.outputs / "cot/completions.parquet", tables.COMPLETIONS)

    def sampled(self) -> pl.DataFrame:
        """Return eight samples a group by the run's backbone; the same ones for every seed, as the run's own are."""
        own = self._writing()
        sampling = replace(own.sampling, num_samples=SAMPLES, temperature=TEMPERATURE)
        return self._write(self._model(), replace(own, sampling=sampling), self.work / "sampled")

    def memorised(self) -> pl.DataFrame:
        """Return what a backbone writes that also learned the slice reason, made as the run's own."""
        model, parts = self.work / "memorised/model", self.train.partition_by("slice", as_dict=True)
        if not model.exists():
            empty = self.train.clear()
            fit, reason, align = (parts.get((name,), empty) for name in ("fit", "reason", "align"))
            learned = learn.learn_to_write(
                learn.Material(fit=fit, held_out=align, catalogue=self.catalogue, near=self.near(), beside=reason),
                self.params.backbone,
                self.params.run.seed,
                learn.Means(self.work / "memorised", self.home / "teacher", self.params.run.device),
            )
            taught = reason.join(learned.composed, on="row_id", how="semi")
            shares = {
                "rows": taught.height, "of_rows": reason.height,
                "groups": taught["group"].n_unique(), "of_groups": reason["group"].n_unique(),
            }  # fmt: skip
            write_json(self._learned(), shares)
            new = self.work / "memorised/model.new"
            shutil.rmtree(new, ignore_errors=True)
            learned.writer.save(new)
            replace_folder(new, model)
        return self._write(model, self._writing(), self.work / "memorised/shards")

    def learned(self) -> dict[str, Any]:
        """Return how much of the slice reason `memorised` learned: `rows` `of_rows`, `groups` `of_groups`."""
        return dict(read_json(self._learned()))

    def check(self, cure: str) -> None:
        """See that the completions are of these rows and this backbone: a killed run leaves new ones beside old texts.

        Args:
            cure: for people.

        Raises:
            InputError: the groups differ, a prompt is not the one that these rows give, or most completions are not
                what the backbone writes.
        """
        wrong = self._strange()
        if wrong:
            raise InputError(
                "the completions are of other rows or another backbone",
                file=self.outputs / "cot/completions.parquet", value=wrong,
                rule="the groups and prompts of sequence/, written by backbone/model", cure=cure,
            )  # fmt: skip

    def _strange(self) -> str:
        asked, written = self._asked(), self.written().unique("group", maintain_order=True)
        strange = asked.join(written, on=["group", "slice"], how="anti").height
        strange += written.join(asked, on=["group", "slice"], how="anti").height
        if strange:
            return f"{strange} groups differ"
        some = asked.gather_every(max(1, asked.height // _CHECKED))
        writer = load_writer(self._model(), self.params.backbone.dtype, self.params.run.device)
        built = prompts_of(writer, some, self.catalogue, self._writing(), self._evidence()).prompts
        read = dict(written.select("group", "prompt").iter_rows())
        other = [group for group, prompt in zip(some["group"], built, strict=True) if read[group] != prompt]
        if other:
            return f"{len(other)} of {some.height} prompts differ, the first is of group {other[0]}"
        keys, said = some["group"].to_list()[:_REWRITTEN], dict(written.select("group", "completion").iter_rows())
        again = generate(writer, built[: len(keys)], keys, self._writing().sampling)
        # In another batch a few may differ by rounding.
        same = sum(said[key] == samples[0].text for key, samples in zip(keys, again, strict=True))
        return "" if 2 * same >= len(keys) else f"{len(keys) - same} of {len(keys)} completions differ"

    def _write(self, model: Path, writing: Writing, kept: Path) -> pl.DataFrame:
        writer = load_writer(model, self.params.backbone.dtype, self.params.run.device)
        return write_completions(writer, self._asked(), self.catalogue, writing, kept, self._evidence()).completions

    def _writing(self) -> Writing:
        return writing_of(self.params.cot, self.params.backbone, self.params.run.seed)

    def _evidence(self) -> dict[str, Evidence]:
        kinds = lookup.kinds_of(self.params.backbone.evidence)
        return lookup.as_of(cot.SLICES, self._rows(), kinds, self.catalogue, self.near())

    def _asked(self) -> pl.DataFrame:
        return groups_of(self._rows()).filter(pl.col("slice").is_in(cot.SLICES))

    def _rows(self) -> pl.DataFrame:
        return pl.concat([self.train, self.valid, self.test])

    def _model(self) -> Path:
        return self.outputs / "backbone/model"

    def _learned(self) -> Path:
        return self.work / "memorised/learned.json"


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
