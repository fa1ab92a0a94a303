"""Stage cot: the backbone writes reasoning for the rows whose reasoning is read; it never sees their targets.

Nothing here judges the texts by targets: that is for `evaluate`, so that only what changes a text writes all again.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from rporec import tables
from rporec.backbone.cluster import crew_of
from rporec.backbone.device import require_device
from rporec.backbone.source import load_writer
from rporec.backbone.write import Written, groups_of, write_completions, writing_of
from rporec.catalogue import Catalogue
from rporec.files import write_json
from rporec.reasoning import lookup
from steps.stage import Outcome, Stage, run_stage

SLICES = ("reason", "valid", "test")


def cot(stage: Stage) -> Outcome:
    """Write the completions of slices reason, valid and test, and a summary."""
    params, backbone, run = stage.params.cot, stage.params.backbone, stage.params.run
    require_device(run.device)
    crew = crew_of(params, stage.inputs("backbone/model"), backbone.dtype, run.device, run.threads)
    catalogue = Catalogue.from_table(tables.read(stage.inputs("ingest/items.parquet"), tables.ITEMS))
    files = [stage.inputs(f"sequence/{name}.parquet") for name in ("train", "valid", "test")]
    rows = pl.concat([tables.read(file, tables.ROWS) for file in files])
    # `groups_of` leaves the targets behind: a completion must come from its history, and from older rows, alone.
    groups = groups_of(rows)
    near = lookup.load_neighbours(stage.inputs("backbone/neighbours.safetensors"))
    evidence = lookup.as_of(SLICES, rows, lookup.kinds_of(backbone.evidence), catalogue, near)
    writing = writing_of(params, backbone, run.seed)
    # In the number format that is served: what is judged must be what users get.
    writer = load_writer(stage.inputs("backbone/model"), backbone.dtype, run.device)
    asked = groups.filter(pl.col("slice").is_in(SLICES))
    written = write_completions(writer, asked, catalogue, writing, stage.work, evidence, crew)
    tables.write(written.completions, stage.new / "completions.parquet", tables.COMPLETIONS)
    summary = _summary(written)
    write_json(stage.new / "cot.json", summary)
    return Outcome(closing=_closing(summary), metrics=summary, files=("cot.json",))


def _closing(summary: Mapping[str, float]) -> str:
    withheld = summary["evidence_dropped"]
    told_what = (
        f"{summary['completions']:.0f} completions for {summary['groups']:.0f} groups, "
        f"{summary['well_formed']:.1%} well formed, {summary['grounded']:.1%} grounded"
        + (f"; {withheld:.0f} lines of evidence lost to the token budget" if withheld else "")
    )
    if not summary["prompts_shortened"]:
        return told_what
    lost = f"{summary['prompts_shortened']:.0f} prompts lost {summary['items_dropped']:.0f} of their oldest items"
    return f"{told_what}; {lost} to the token budget"


def _summary(written: Written) -> dict[str, float]:
    table = written.completions
    well_formed = table.filter("well_formed")
    return {
        "groups": table["group"].n_unique(),
        "completions": table.height,
        **{f"completions_{name}": table.filter(slice=name).height for name in SLICES},
        "well_formed": _mean(table["well_formed"]),
        "grounded": _mean(well_formed["grounded"]),
        "fully_grounded": _mean(well_formed["grounded"] == 1.0),
        "named": _mean(well_formed["named"]),
        "thought_characters": _mean(well_formed["thought"].str.len_chars()),
        "answer_characters": _mean(well_formed["answer"].str.len_chars()),
        "distinct_answers": well_formed["answer"].n_unique(),
        "prompts_shortened": written.shortened,
        "items_dropped": written.dropped,
        "evidence_dropped": written.withheld,
    }


def _mean(values: pl.Series) -> float:
    return float(values.cast(pl.Float64).to_numpy().mean()) if len(values) else 0.0


if __name__ == "__main__":
    run_stage("cot", cot)
