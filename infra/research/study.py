"""Does alignment pay? `make study PROFILE=…` on what a run left, with `ARMS=` (settings) and `SEEDS=` to choose.

Settings of the reward are compared on valid; the run's own (`as_set`) also on test, against the backbone in three ways
of decoding. Every setting and seed leaves a small file below work/study/<hash of inputs, parameters and code>, so that
a killed call goes on; table and figures go to reports/. Nothing here is served or judged by a gate.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from infra import deps
from infra.research import lastrun
from infra.research.lastrun import asked_seeds, reports_of
from infra.research.material import Material
from infra.research.study_runs import SETTINGS, Desk, Run
from infra.workspace import Workspace
from rporec import tables
from rporec.errors import InputError
from rporec.evaluation import study
from rporec.evaluation.study import AS_SET, AVERAGED, BACKBONE, GREEDY, SAMPLED
from rporec.files import read_json, write_json, write_text

log = logging.getLogger("rporec")
_NEEDED = ("rechead/chosen", "rechead/reward", "rechead/final")


def main() -> None:
    """Run what is asked for; bad input is one message and exit code 1."""
    lastrun.command("study", study_of)


def study_of(space: Workspace) -> None:
    """Run the settings that ARMS and SEEDS ask for and are not done, then write the reports."""
    seeds, names = asked_seeds(os.environ.get("SEEDS", ""), space), asked_settings(os.environ.get("ARMS", ""))
    with lastrun.opened(space, "study", inputs_hash, _NEEDED) as material:
        _run(Desk(material, space.root), names, seeds)
        report(space, material)


def asked_settings(text: str) -> list[str]:
    """Return the settings of ARMS, or what the claim needs (`as_set`), always with the backbone.

    Raises:
        InputError: there is no such setting.
    """
    words = text.replace(",", " ").split() or [AS_SET]
    for word in words:
        if word not in SETTINGS:
            raise InputError(
                "there is no such setting", field="ARMS", value=word, rule=f"some of {', '.join(SETTINGS)}",
                cure=f"leave ARMS empty for {AS_SET}",
            )  # fmt: skip
    return [name for name in SETTINGS if name in words or name == BACKBONE]


def inputs_hash(space: Workspace) -> str:
    """Return what names the folder of the study: a hash of the run's outputs, parameters and code."""
    modules = {
        *deps.stage_modules(space.checkout, "align"),
        "infra/research/study_runs.py",
        "infra/research/material.py",
    }
    sections = ("run", "backbone", "cot", "rechead", "align")
    return lastrun.digest_of(space, _NEEDED, sections, modules).hexdigest()[:16]


def _run(desk: Desk, names: list[str], seeds: list[int]) -> None:
    todo = [(seed, name) for seed in seeds for name in names if not _done(desk.material.work, name, seed).exists()]
    log.info("study: %d settings x %d seeds, %d left", len(names), len(seeds), len(todo))
    for place, (seed, name) in enumerate(todo):
        begun = time.monotonic()
        done = _done(desk.material.work, name, seed)
        told = Run(desk, name, seed).make(done.with_suffix(""), tested=name in (BACKBONE, AS_SET))
        log.info("study: %s, seed %d: best step %s (%.0f s; %d of %d)", name, seed, told.get("best_step", "none"),
                 time.monotonic() - begun, place + 1, len(todo))  # fmt: skip


def report(space: Workspace, material: Material) -> None:
    """Write study.json and study.md into the profile's reports, of all calls so far; print the tables."""
    work = material.work
    runs: dict[str, dict[str, Any]] = {
        name: {path.stem.rpartition("-")[2]: read_json(path) for path in sorted(work.glob(f"{name}-*.json"))}
        for name in SETTINGS
    }
    found = {
        name: {int(seed): tables.read(work / f"{name}-{seed}.parquet", tables.STUDIED) for seed in own}
        for name, own in runs.items() if own
    }  # fmt: skip
    params, seed = space.params.evaluate, space.params.run.seed
    tested = {name: found[name] for name in (BACKBONE, AS_SET) if name in found}
    told: dict[str, Any] = {
        "profile": space.params.run.profile, "inputs": work.name, "confidence": params.confidence,
        "align": space.params.align.model_dump(mode="json"),
        "says": {name: SETTINGS[name].says for name in found}, "runs": {name: runs[name] for name in found},
        "valid": study.compared(found, "valid", GREEDY, params, seed),
        "test": {
            decoding: study.compared(tested, "test", decoding, params, seed)
            for decoding in (GREEDY, SAMPLED, AVERAGED) if AS_SET in tested
        },
    }  # fmt: skip
    folder = reports_of(space)
    table = study.markdown(told)
    write_json(folder / "study.json", told)
    write_text(folder / "study.md", table)
    sys.stdout.write(f"\n{table}\n{folder / 'study.md'}, study.json\n")


def _done(work: Path, name: str, seed: int) -> Path:
    return work / f"{name}-{seed}.json"  # written last


if __name__ == "__main__":
    main()
