"""One night from start to end in one process: `python -m infra.replay.night --date 2011-09-01`, in the replay's clone.

The same parts in the same order as the tasks of the DAGs `nightly_retrain` and `promote` (infra/night.py), but for the
reasoning that is written ahead for users. The last line printed tells what came of it, as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from infra import night, pipeline
from rporec import parent
from rporec.files import read_json
from rporec.release import summary
from steps.stage import guarded


def main() -> None:
    """Run the night that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--date", required=True, help="logical date, YYYY-MM-DD")
    date = parser.parse_args().date

    def whole() -> None:
        sys.stdout.write(json.dumps(run(Path.cwd(), date)) + "\n")

    guarded(whole)


def run(clone: Path, date: str) -> dict[str, Any]:
    """Prepare, run every stage, commit, judge, and promote or refuse.

    Returns:
        `package_hash`, `commit`, `verdict`, `failed` (gates and their reasons), `reason`, `start` (warm, scratch or
        partly warm), `seconds` (wall clock of this process), `cpu_seconds` (its own and its children's), `stages`
        (seconds of each, of those from the cache as they once were), `cached`.
    """
    started, data = time.monotonic(), os.environ["RPOREC_DATA"]

    def call(part: Any, *words: str) -> Any:  # noqa: ANN401 - any of a night's parts
        os.environ["RPOREC_DATA"] = data  # a part blanks it for its stages, and changes the folder
        os.chdir(clone)
        return part(date, *words)

    call(night.prepare)
    root = call(night.prepared).root
    before = pipeline.record_times(root)
    for stage in pipeline.stage_names(root):
        call(night.stage, stage)
    handed = call(night.finish)
    for name in ("gate", "promote"):
        call(lambda date, act: night.act(date, act, handed["package_hash"]), name)
    ran = pipeline.written_since(root, before)
    records = {path.stem: read_json(path) for path in sorted((root / "records").glob("*.json"))}
    return {
        **{name: handed[name] for name in ("package_hash", "commit")},
        **_judged(root),
        "reason": records["promote"]["closing"],
        "start": _start(root),
        "seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(_cpu_seconds(), 1),
        "stages": {name: record["seconds"] for name, record in records.items()},
        "cached": sorted(set(records) - ran),
    }


def _judged(root: Path) -> dict[str, Any]:
    gates = read_json(root / summary.GATES)
    failed = {gate["name"]: gate["reason"] for gate in gates["gates"] if gate["status"] == "fail"}
    return {"verdict": gates["verdict"], "failed": failed}


def _start(root: Path) -> str:
    """Return `warm` where backbone and Rechead went on from the champion's weights, `scratch` where neither did."""
    warm = [
        read_json(root / "outputs" / stage / f"{stage}.json")["start"].startswith("warm") for stage in parent.STAGES
    ]
    return "warm" if all(warm) else "partly warm" if any(warm) else "scratch"


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    main()
