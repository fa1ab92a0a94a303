"""Promote: send the run to MLflow, make a passing package the champion, load it back and ask it.

No DVC stage: it acts on the world. A failing verdict is a result (exit 0); with `--must` it is a refusal (exit 1), and
so is a version that was rolled back: only a person brings it back, with `--again`.
"""

from __future__ import annotations

import argparse
import getpass
import logging
import os
import resource
import time
from pathlib import Path

from rporec import config, tables
from rporec.errors import InputError
from rporec.files import write_json, write_text
from rporec.release import commit, lookup, record, signature, summary
from rporec.release.place import Place, locate
from rporec.release.registry import Aim
from rporec.release.settle import Actor, Settled, settle
from steps.stage import guarded

log = logging.getLogger("rporec")


def promote(root: Path, *, must: bool, aim: Aim = "champion", again: bool = False) -> Settled:
    """Record the run below `root`, promote its package when its verdict passed, and tell the outcome in one line.

    Raises:
        InputError: the promotion was refused (a failing verdict or a version that was rolled back only with `must`), or
            MLflow stayed away too long.
    """
    started = time.monotonic()
    params = config.load(root / "params.yaml")
    place = locate(root, os.environ, signature.trust_of(params.package.signature, os.environ))
    actor = Actor(getpass.getuser(), commit.git_commit(root), aim, again)
    done = record.patiently(lambda: settle(root, place, params, actor), params.promote.outage_seconds, place.uri)
    write_json(root / summary.PROMOTION, done.note())
    if done.version is not None and aim != "challenger":
        ask(root, place, params)
    seconds = time.monotonic() - started
    leave_record(root, params, done, seconds)
    if must and done.verdict == "fail":
        raise InputError(done.told, file=root / summary.GATES, rule="every gate passes", cure="improve it, run again")
    if must and done.taken_back:
        raise InputError(
            done.told, field="AGAIN", rule="a version that was rolled back comes back only by hand",
            cure="make promote AGAIN=1",
        )  # fmt: skip
    log.info("promote: %s (%.1f s)", done.told, seconds)
    return done


def ask(root: Path, place: Place, params: config.Params) -> None:
    """Write the champion's answer for one test user to reports/recommendation.txt."""
    from rporec.release import showcase

    rows = tables.read(root / "outputs/sequence/test.parquet", tables.ROWS)
    model = lookup.model_name(params.run.profile)
    text = showcase.ask(place, model, rows, params.promote.show_items, params.serve.threads)
    if text is not None:
        write_text(root / "reports/recommendation.txt", text)


def leave_record(root: Path, params: config.Params, done: Settled, seconds: float) -> None:
    """Leave the record of this act for the table of the run."""
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    about = {"stage": "promote", "params": params.promote.model_dump(mode="json"), "metrics": {}, "files": []}
    timing = {"closing": done.told, "seconds": round(seconds, 2), "peak_mb": round(peak_mb, 1)}
    write_json(root / "records/promote.json", {**about, **timing})


def main() -> None:
    """Promote in the current folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--must", action="store_true", help="exit 1 when the verdict is fail")
    parser.add_argument("--again", action="store_true", help="promote a version that was rolled back")
    parser.add_argument("--challenger", action="store_true", help="make it the challenger; the champion stays")
    given = parser.parse_args()
    aim: Aim = "challenger" if given.challenger else "champion"
    os.environ.setdefault(record.RETRIES, record.FEW)
    guarded(lambda: promote(Path.cwd(), must=given.must, aim=aim, again=given.again))


if __name__ == "__main__":
    main()
