"""Stage validate: the two tables in; contract findings, Data Docs, profile and drift out. A broken contract stops."""

from __future__ import annotations

import logging
import shutil
from dataclasses import asdict

from rporec.data import contracts, drift
from rporec.errors import InputError
from rporec.files import read_json, write_json
from rporec.tables import INTERACTIONS, ITEMS, read
from steps.stage import Outcome, Stage, run_stage

log = logging.getLogger(__name__)
_NEWEST = 0.25  # share of rows that is compared with the older ones


def validate(stage: Stage) -> Outcome:
    """Check the contracts, then look for drift between the older and the newest rows."""
    params = stage.params.validate_
    interactions = read(stage.inputs("ingest/interactions.parquet"), INTERACTIONS)
    items = read(stage.inputs("ingest/items.parquet"), ITEMS)
    end = read_json(stage.inputs("ingest/source.json"))["end"]
    findings = contracts.check(interactions, items, params, end, stage.work / "contracts")
    docs = stage.work / "contracts" / "docs"
    broken = [finding for finding in findings if not finding.passed]
    if broken:
        first = broken[0]
        raise InputError(
            f"a data contract is broken ({len(broken)} of {len(findings)} rules)",
            file=f"outputs/ingest/{first.table}.parquet", field=first.column or first.table, value=first.observed,
            rule=first.rule, cure=f"mend the source, or the limit in section validate; details: {docs}/index.html",
        )  # fmt: skip
    older, newest = drift.halves(interactions, _NEWEST)
    before = drift.profile(older, items)
    moved = drift.compare(before, drift.profile(newest, items, before), params.drift_psi)
    warned = [one.feature for one in moved if one.warned]
    for feature in warned:
        log.warning("drift: %s of the newest rows differs from the older ones", feature)
    shutil.copytree(docs, stage.new / "docs")
    write_json(stage.new / "profile.json", drift.profile(interactions, items))
    write_json(
        stage.new / "validate.json",
        {
            "passed": True,  # a broken contract stops the stage before this line
            "end": end,
            "findings": [asdict(finding) for finding in findings],
            "drift": [asdict(one) for one in moved],
            "drift_warnings": warned,
        },
    )
    return Outcome(
        f"{len(findings)} contract rules kept, {len(warned)} drift warnings",
        {"rules": len(findings), "drift_warnings": len(warned), **{f"psi_{d.feature}": d.psi for d in moved}},
        ("validate.json", "profile.json"),
    )


if __name__ == "__main__":
    run_stage("validate", validate, uses_torch=False)
