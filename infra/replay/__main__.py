"""`make replay`: nights of the past run again one after another, each scored on the day that then really came.

Each night is the real one (infra/replay/night.py), in a clone with a registry of its own (infra/replay/place.py). What
a night left is kept, so a replay that was stopped goes on where it stood, and one with more NIGHTS adds them.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import polars as pl

from infra import workspace
from infra.replay import chart, place, report, score
from infra.replay.place import Replay
from infra.replay.score import Service
from infra.worktree import git
from rporec import tables
from rporec.errors import InputError
from rporec.files import read_json, write_json, write_text
from rporec.release import registry
from steps.stage import guarded

log = logging.getLogger("rporec")
_NO_SALES = "no sales since the night before: nothing to learn from"


def main() -> None:
    """Replay what the environment asks for; bad input is one message and exit code 1."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        guarded(drive)
    except KeyboardInterrupt:
        sys.stderr.write("replay: stopped; the same command goes on with the night where it stood\n")
        sys.exit(130)


def drive() -> None:
    """Run the nights that are not done, then write table, plot and reports/replay.json after each."""
    asked = place.ask(os.environ, Path.cwd())
    folder = place.folder_of(asked)
    with workspace.locked(asked.checkout, folder):
        replay = place.open_replay(asked, folder)
        log.info("replay: %d nights from %s in %s", asked.nights, asked.first, folder)
        for date in asked.dates:
            if not _file(replay, date).exists():
                _play(replay, date)
            built = write_report(replay)
        sys.stdout.write(f"\n{report.table(built)}\nplot: {asked.checkout / 'reports' / 'replay.svg'}\n")


def _play(replay: Replay, date: str) -> None:
    """Run one night and score the day that follows; its file appears last."""
    known = score.look(replay.params, replay.asked.data, date, replay.folder)
    before = _bytes(replay)
    first = date == replay.asked.dates[0]
    made = _night(replay, date) if known.new or first else None
    added = _bytes(replay) - before
    now = registry.champion_package(replay.registry, replay.model)
    promoted = made is not None and now is not None and now[0].package_hash == made["package_hash"]
    frozen = _frozen(replay) or (now[0].package_hash if now else None)
    scored = score.score(known, replay.params, Service(replay.registry, replay.model, frozen))
    tables.write(scored, _file(replay, date).with_suffix(".parquet"), score.SCORED)
    told = {
        "date": date,
        "rows": scored.height,
        "users": scored["user_id"].n_unique(),
        "rows_without_history": int((scored["history_length"] == 0).sum()),
        "rows_of_new_items": int(scored["item_new"].sum()),
        **score.means(scored),
        "promoted": promoted,
        "reason": made["reason"] if made else _NO_SALES,
        "version": now[0].number if now else None,
        "champion_as_of": now[0].as_of if now else None,
        "champion_hash": now[0].package_hash if now else None,
        "bytes": added,
        **_told(made),
    }
    write_json(_file(replay, date), told)
    log.info("replay: night %s: %s", date, json.dumps({name: told[name] for name in ("promoted", "reason", "minutes")}))


def _told(made: dict[str, Any] | None) -> dict[str, Any]:
    """Return what a night tells of itself; one that trained nothing cost nothing."""
    if made is None:
        nothing = dict.fromkeys(("package_hash", "commit", "verdict", "start"))
        return {"minutes": 0.0, "cpu_minutes": 0.0, **nothing, "failed": {}, "stages": {}}
    # A stage that a killed try had finished comes from the cache now: its time counts as it was then.
    earlier = sum(made["stages"][name] for name in made["cached"])
    kept = ("package_hash", "commit", "verdict", "failed", "start", "stages")
    return {
        "minutes": round((made["seconds"] + earlier) / 60, 2),
        "cpu_minutes": round(made["cpu_seconds"] / 60, 2),
        **{name: made[name] for name in kept},
    }


def _night(replay: Replay, date: str) -> dict[str, Any]:
    """Run one night in the clone and return what it told.

    Raises:
        InputError: it failed; its own message stands above.
    """
    done = subprocess.run(
        place.command(date), cwd=replay.clone, env=replay.environment(os.environ), stdout=subprocess.PIPE,
        text=True, check=False,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    sys.stderr.write("".join(f"{line}\n" for line in lines[:-1]))
    if done.returncode or not lines:
        raise InputError(
            f"night {date} failed", file=replay.clone, value=done.returncode,
            cure="mend what its last lines above say; the same command goes on with this night",
        )  # fmt: skip
    told: dict[str, Any] = json.loads(lines[-1])
    return told


def _frozen(replay: Replay) -> str | None:
    """Return the hash of the replay's first champion, None before there was one."""
    for date in replay.asked.dates:
        file = _file(replay, date)
        if file.exists() and (champion := read_json(file)["champion_hash"]) is not None:
            return str(champion)
    return None


def write_report(replay: Replay) -> dict[str, Any]:
    """Write reports/replay.json, .md and .svg of the nights that are done; return the first."""
    files = [_file(replay, date) for date in replay.asked.dates if _file(replay, date).exists()]
    nights = [read_json(file) for file in files]
    scored = pl.concat([tables.read(file.with_suffix(".parquet"), score.SCORED) for file in files])
    about = {
        "profile": replay.asked.name,
        "model": replay.model,
        "commit": git(replay.clone, "rev-parse", "HEAD~1").strip(),
        "folder": str(replay.folder.relative_to(replay.asked.checkout)),
        "rankers": list(score.RANKERS),
    }
    built = report.build(about, nights, scored, replay.params.evaluate, replay.params.run.seed)
    reports = replay.asked.checkout / "reports"
    write_json(reports / "replay.json", built)
    write_text(reports / "replay.md", report.table(built))
    title = f"{replay.asked.name}: {report.PRIMARY} of the next day's purchases"
    write_text(reports / "replay.svg", chart.draw(title, nights, report.PRIMARY))
    return built


def _file(replay: Replay, date: str) -> Path:
    return replay.folder / "nights" / f"{date}.json"


def _bytes(replay: Replay) -> int:
    """Return what the replay's nights take on disk, their caches included."""
    places = (replay.home, (replay.home / "dvc").resolve(), replay.clone / "runs")
    files = (path for place in places for path in place.rglob("*"))
    return sum(path.stat().st_size for path in files if path.is_file() and not path.is_symlink())


def _stop(number: int, frame: object) -> NoReturn:  # noqa: ARG001 - the signature of a handler
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
