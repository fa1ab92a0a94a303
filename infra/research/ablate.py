"""Ablations of what a run left: `make ablate PROFILE=…`, with `ARMS=` and `SEEDS=` to choose.

Needs a finished `make run` of the profile (up to stage `cot`). Every arm and seed leaves a small file below
work/ablate/<hash of inputs, parameters and code>, so that a killed call goes on; the table, the figures and the plot
go to reports/. Nothing here is served or judged by a gate.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from infra import deps
from infra.research import lastrun
from infra.research.arms import ALONE, ARMS, BASELINE, Seed, left_out, other_encoder
from infra.research.lastrun import asked_seeds, reports_of
from infra.research.material import Material
from infra.workspace import Workspace
from rporec import tables
from rporec.encode.source import identity_of
from rporec.errors import InputError
from rporec.evaluation import ablation
from rporec.files import read_json, write_json, write_text

log = logging.getLogger("rporec")
_STAGES = ("backbone", "cot", "rechead")  # whose code and parameters an arm hangs on
_ARM, _PAPER, _BASELINES, _SAMPLED = 0.15, 0.8, 1.5, 4.0  # roughly, of the times of rechead (thrice) and cot


def main() -> None:
    """Run what is asked for; bad input is one message and exit code 1."""
    lastrun.command("ablate", ablate)


def ablate(space: Workspace) -> None:
    """Run the arms that ARMS and SEEDS ask for and are not done, then write the reports."""
    seeds, arms = asked_seeds(os.environ.get("SEEDS", ""), space), asked_arms(os.environ.get("ARMS", ""), space)
    with lastrun.opened(space, "ablate", inputs_hash) as material:
        _run(material, arms, seeds, _times(space.root))
        report(space, material)


def asked_arms(text: str, space: Workspace) -> list[str]:
    """Return the arms of ARMS, or all that say something for this profile, always with what they are compared to.

    Raises:
        InputError: an arm does not exist, or says nothing for this profile.
    """
    words, out = text.replace(",", " ").split(), left_out(space.params)
    for word in words:
        if word not in ARMS or word in out:
            known = ", ".join(name for name in ARMS if name not in out)
            raise InputError(
                f"the arm cannot be run: {out.get(word, 'there is no such arm')}",
                field="ARMS", value=word, rule=f"some of {known}", cure="leave ARMS empty for all of them",
            )  # fmt: skip
    return [name for name in ARMS if name not in out and (not words or name in words or name == "no_reasoning")]


def inputs_hash(space: Workspace) -> str:
    """Return what names the folder of the arms: a hash of the run's outputs, parameters, encoders and code."""
    modules = {name for stage in _STAGES for name in deps.stage_modules(space.checkout, stage)}
    own = {
        "infra/research/arms.py",
        "infra/research/material.py",
        "rporec/rechead/variants.py",
        "rporec/evaluation/scoring.py",
    }
    own |= {path.relative_to(space.checkout).as_posix() for path in (space.checkout / "rporec/baselines").glob("*.py")}
    digest = lastrun.digest_of(space, (), ("run", *_STAGES, "evaluate"), modules | own)
    for encoder in (space.params.rechead.encoder, other_encoder(space.params)):
        digest.update(f"{encoder and identity_of(encoder)}\n".encode())
    return digest.hexdigest()[:16]


def _run(material: Material, arms: list[str], seeds: list[int], times: dict[str, float]) -> None:
    """Run the arms that have left no figures yet, seed by seed."""
    todo = [(seed, arm) for seed in seeds for arm in arms if not _done(material.work, arm, seed).exists()]
    total = len(arms) * len(seeds)
    log.info("ablate: %d arms x %d seeds, %d done before; %s", len(arms), len(seeds), total - len(todo),
             estimate(todo, times))  # fmt: skip
    started = time.monotonic()
    for seed in dict.fromkeys(seed for seed, _ in todo):
        work = Seed(material, seed)
        for arm in [name for own, name in todo if own == seed]:
            begun = time.monotonic()
            reached = work.run(arm, material.work)
            count = sum(_done(material.work, name, own).exists() for own in seeds for name in arms)
            log.info("ablate: %s, seed %d: test NDCG@10 %.4f (%.0f s; %d of %d after %.0f min)", arm, seed, reached,
                     time.monotonic() - begun, count, total, (time.monotonic() - started) / 60)  # fmt: skip


def estimate(todo: list[tuple[int, str]], times: dict[str, float]) -> str:
    """Return how long arms may take, from the seconds that the run's stages took."""
    if not todo:
        return "nothing left to do"
    if not set(_STAGES) <= set(times):
        return "no time of the run's stages is known, so none can be told"
    head, cot = times["rechead"], times["cot"]
    seeds = {seed for seed, _ in todo}
    seconds = len(seeds) * head + len(todo) * _ARM * head
    seconds += _PAPER * head * len({seed for seed, arm in todo if ARMS[arm].head == "paper"})
    seconds += head * len({seed for seed, arm in todo if ARMS[arm].head == "encoder"})
    seconds += _BASELINES * head * len({seed for seed, arm in todo if ARMS[arm].head == BASELINE})
    seconds += _SAMPLED * cot * any(ARMS[arm].texts == "sampled" for _, arm in todo)
    seconds += (times["backbone"] + cot) * any(ARMS[arm].texts == "memorised" for _, arm in todo)
    return f"about {max(1, round(seconds / 60))} min by the times of the last run"


def widest(done: Mapping[str, Set[int]]) -> tuple[list[str], list[int]]:
    """Return the arms and seeds to report: as many arms as share a seed, with every seed that all of them have.

    So a call for some arms or seeds takes no arm out of a report that has them all.

    Args:
        done: the seeds of every arm that are done; at least one.
    """
    shared = {frozenset(seeds) for seeds in done.values() if seeds}
    while more := {one & other for one in shared for other in shared} - shared - {frozenset()}:
        shared |= more
    best = max(shared, key=lambda seeds: (sum(seeds <= own for own in done.values()), len(seeds), sorted(seeds)))
    return [arm for arm in done if best <= done[arm]], sorted(best)


def report(space: Workspace, material: Material) -> None:
    """Write ablate.json, ablate.md and ablate.svg into the profile's reports, of all calls so far; print the table."""
    work = material.work
    done = {arm: {int(path.stem.rpartition("-")[2]) for path in work.glob(f"{arm}-*.json")} for arm in ARMS}
    arms, seeds = widest(done)
    cells = [(arm, seed) for arm, own in done.items() for seed in sorted(own) if arm not in arms or seed not in seeds]
    if cells:
        log.info("ablate: the report has the seeds that its arms share; done, but not in it: %s",
                 ", ".join(f"{arm} {seed}" for arm, seed in cells))  # fmt: skip
    out = {arm: reason for arm, reason in left_out(space.params).items() if arm not in arms}
    found = {arm: {seed: tables.read(work / f"{arm}-{seed}.parquet", tables.ABLATED) for seed in seeds} for arm in arms}
    params = space.params.evaluate
    told: dict[str, Any] = {
        "profile": space.params.run.profile, "inputs": work.name, "seeds": seeds, "confidence": params.confidence,
        "says": {arm: ARMS[arm].says + _learned(work, arm, seeds[0]) for arm in arms}, "left_out": out,
        "strength": {arm: {str(s): read_json(_done(work, arm, s))["strength"] for s in seeds} for arm in arms},
        **ablation.summary(found, material.slices(), params, space.params.run.seed, ALONE),
    }  # fmt: skip
    folder = reports_of(space)
    table = ablation.markdown(told)
    write_json(folder / "ablate.json", told)
    write_text(folder / "ablate.md", table)
    write_text(folder / "ablate.svg", ablation.plot(told, {arm: ARMS[arm].apart for arm in arms if ARMS[arm].apart}))
    sys.stdout.write(f"\n{table}\n{folder / 'ablate.md'}, ablate.json, ablate.svg\n")


def _learned(work: Path, arm: str, seed: int) -> str:
    """Return how much the writer of an arm's texts learned by heart, "" where it may know nothing."""
    share = read_json(_done(work, arm, seed)).get("learned")
    if not share:
        return ""
    rows, groups = (f"{share[name]} of its {share[f'of_{name}']} {name}" for name in ("rows", "groups"))
    return f": {rows}, in {groups}"


def _done(work: Path, arm: str, seed: int) -> Path:
    return work / f"{arm}-{seed}.json"  # written last


def _times(root: Path) -> dict[str, float]:
    files = {stage: root / "records" / f"{stage}.json" for stage in _STAGES}
    return {stage: float(read_json(file)["seconds"]) for stage, file in files.items() if file.is_file()}


if __name__ == "__main__":
    main()
