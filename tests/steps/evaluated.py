"""A workspace up to the gate, made by the real stages on a toy world: package, evaluation, validation."""

from pathlib import Path

import polars as pl

from rporec import tables
from rporec.catalogue import Catalogue
from rporec.files import read_json, write_json
from rporec.reasoning.parse import render
from rporec.reasoning.prompt import item_line
from steps import evaluate, stage
from tests.release import world

SHORT = {
    "sasrec_epochs: 20": "sasrec_epochs: 2",
    "latency_requests: 30": "latency_requests: 3",
    "width: 64": "width: 16",
}


def prepare(root: Path) -> None:
    """Write what the stages before `evaluate` leave."""
    world.write_outputs(root)
    text = (root / "params.yaml").read_text()
    for long, short in SHORT.items():
        text = text.replace(long, short)
    (root / "params.yaml").write_text(text)
    outputs = root / "outputs"
    test = world.rows("test", 40, 2, 180)
    tables.write(test, outputs / "sequence/test.parquet", tables.ROWS)
    tables.write(tables.empty(tables.ORACLE), outputs / "ingest/oracle.parquet", tables.ORACLE)
    judged = pl.concat([tables.read(outputs / "sequence/valid.parquet", tables.ROWS), test])
    for name, ahead in (("cot", 1), ("align", 0)):
        tables.write(completions(judged, ahead), outputs / name / "completions.parquet", tables.COMPLETIONS)
    composed = pl.DataFrame([(0, "so", "Acme lamp")], schema=tables.COMPOSED.columns, orient="row")
    tables.write(composed, outputs / "backbone/composed.parquet", tables.COMPOSED)
    write_json(outputs / "align/align.json", {"ships": "policy"})
    write_json(outputs / "validate/validate.json", {"passed": True})
    write_json(outputs / "sequence/leakage.json", {"passed": True})


def completions(rows: pl.DataFrame, ahead: int) -> pl.DataFrame:
    """One completion a group; its answer is the target, or the item `ahead` places after it."""
    catalogue = Catalogue.from_table(world.items())
    told = []
    for group, target, name in rows.select("group", "target", "slice").iter_rows():
        thought, answer = "The buyer stays with a brand.", item_line((target + ahead) % world.N, catalogue)
        text = render(thought, answer)
        told.append((group, 0, name, "p", text, thought, answer, True, 1.0, 1))
    return pl.DataFrame(told, schema=tables.COMPLETIONS.columns, orient="row")


def judged_ready(root: Path) -> str:
    """Run the real stage `evaluate` and build the package; return its hash."""
    prepare(root)
    stage.execute("evaluate", evaluate.evaluate, root)
    return world.write_package(root / "outputs/package", root)


def gates_of(root: Path) -> dict[str, dict[str, object]]:
    """Return the gates of the last verdict by name."""
    return {gate["name"]: gate for gate in read_json(root / "reports/gates.json")["gates"]}
