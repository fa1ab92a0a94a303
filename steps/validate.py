"""Stage validate: the two tables in; contract findings, Data Docs, profile and drift out. A broken contract stops."""

from __future__ import annotations

import logging
import shutil
from dataclasses import asdict

import polars as pl

from rporec.data import contracts, drift, profiles
from rporec.data.profiles import Profile
from rporec.errors import InputError
from rporec.files import read_json, write_json
from rporec.tables import INTERACTIONS, ITEMS, read
from steps.stage import Outcome, Stage, run_stage

log = logging.getLogger(__name__)
SILENT = "silent_days"  # a warning beside those of the features


def validate(stage: Stage) -> Outcome:
    """Check the contracts, then look for drift between tonight's newest days and those of the last night."""
    interactions = read(stage.inputs("ingest/interactions.parquet"), INTERACTIONS)
    items = read(stage.inputs("ingest/items.parquet"), ITEMS)
    end = read_json(stage.inputs("ingest/source.json"))["end"]
    findings = _checked(stage, interactions, items, end)
    window = drift.newest(interactions, end, stage.params.validate_.drift_days)
    reference, name = _reference(stage, window, items)
    moved = _moved(stage, window, items, reference)
    messages = {one.feature: f"{one.message}; compared with {name}" for one in moved if one.warned}
    if silence := drift.silence(window):
        messages[SILENT] = silence
    for message in messages.values():
        log.warning("drift: %s", message)
    shutil.copytree(stage.work / "contracts" / "docs", stage.new / "docs")
    write_json(stage.new / "profile.json", drift.profile(window, items).as_json())
    write_json(
        stage.new / "validate.json",
        {
            "passed": True,  # a broken contract stops the stage before this line
            "end": end,
            "findings": [asdict(finding) for finding in findings],
            "compared_with": name,
            "drift": [asdict(one) for one in moved],
            "drift_warnings": list(messages),
            "drift_messages": list(messages.values()),
        },
    )
    return Outcome(
        f"{len(findings)} contract rules kept, {len(messages)} drift warnings",
        {
            "rules": len(findings),
            "drift_warnings": len(messages),
            **{f"psi_{one.feature}": one.psi for one in moved if one.psi is not None},
        },
        ("validate.json", "profile.json"),
    )


def _checked(stage: Stage, interactions: pl.DataFrame, items: pl.DataFrame, end: int | None) -> list[contracts.Finding]:
    """Return the findings of contracts that are all kept; else raise InputError with the first broken one."""
    params, folder = stage.params, stage.work / "contracts"
    once = params.ingest.duplicates != "keep"
    findings = contracts.check(interactions, items, params.validate_, end, folder, once=once)
    broken = [finding for finding in findings if not finding.passed]
    if broken:
        first = broken[0]
        raise InputError(
            f"a data contract is broken ({len(broken)} of {len(findings)} rules)",
            file=f"outputs/ingest/{first.table}.parquet", field=first.column or first.table, value=first.observed,
            rule=first.rule,
            cure=f"mend the source, or the limit in section validate; details: {folder}/docs/index.html",
        )  # fmt: skip
    return findings


def _reference(stage: Stage, window: drift.Window, items: pl.DataFrame) -> tuple[Profile | None, str]:
    """Return what tonight is compared with and its name: the last night, else the rows just before; None if neither."""
    file = stage.root / "last_night.json"  # written by the driver before the stages run (infra/last_night.py)
    if window.end is not None and file.exists():
        try:
            kept = read_json(file)
            if kept:
                return profiles.parse(kept["profile"]), f"the night of {kept['as_of']}"
        except (ValueError, KeyError, TypeError) as error:
            log.warning("drift: %s cannot be used (%s); comparing within tonight's own rows", file.name, error)
    earlier = drift.before(window)
    if earlier is None:
        return None, "nothing: the rows do not reach back far enough"
    name = "the rows just before" if window.days is None else f"the {window.days} days before"
    return drift.profile(earlier, items), name


def _moved(stage: Stage, window: drift.Window, items: pl.DataFrame, reference: Profile | None) -> list[drift.Drift]:
    if reference is None:
        return []
    params = stage.params.validate_
    tonight = drift.profile(window, items, reference)
    return drift.compare(reference, tonight, params.drift_psi, params.drift_volume)


if __name__ == "__main__":
    run_stage("validate", validate, uses_torch=False)
