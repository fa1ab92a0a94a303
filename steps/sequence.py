"""Stage sequence: the two tables in; train, valid and test rows and the leak audit's report out."""

from __future__ import annotations

from rporec.data import leakage, sequences
from rporec.errors import InputError
from rporec.files import read_json, write_json
from rporec.tables import INTERACTIONS, ITEMS, ROWS, read, write
from steps.stage import Outcome, Stage, run_stage


def sequence(stage: Stage) -> Outcome:
    """Cut histories and targets, audit them, and write them only when nothing leaks."""
    report = stage.inputs("validate/validate.json")
    if not report.is_file():
        raise InputError("the data were not validated", file=report, cure="run validate first (make run)")
    interactions = read(stage.inputs("ingest/interactions.parquet"), INTERACTIONS)
    items = read(stage.inputs("ingest/items.parquet"), ITEMS)
    found = sequences.build(interactions, items, stage.params.sequence, read_json(report)["end"])
    leaks = leakage.audit(found, interactions, items)
    if not leaks.passed:
        write_json(stage.work / "leakage.json", leaks.report())
        leakage.refuse(leaks, stage.work / "leakage.json")
    parts = found.parts()
    for name, rows in parts.items():
        write(rows, stage.new / f"{name}.parquet", ROWS)
    slices = {str(key[0]): part.height for key, part in found.train.group_by("slice", maintain_order=True)}
    sizes = {**slices, "valid": found.valid.height, "test": found.test.height}
    write_json(
        stage.new / "leakage.json",
        {
            **leaks.report(),
            "valid_start": found.cut.valid if found.cut else None,
            "test_start": found.cut.test if found.cut else None,
            "rows": sizes,
            "groups": {name: rows["group"].n_unique() for name, rows in parts.items()},
            "users": {name: rows["user_id"].n_unique() for name, rows in parts.items()},
            "first_purchases": found.firsts,
            "repeats_dropped": found.repeats_dropped,
            "outside_core": found.outside_core,
        },
    )
    return Outcome(
        ", ".join(f"{size} {name}" for name, size in sizes.items()) + " rows, no leak",
        {f"rows_{name}": size for name, size in sizes.items()},
        ("leakage.json",),
    )


if __name__ == "__main__":
    run_stage("sequence", sequence, uses_torch=False)
