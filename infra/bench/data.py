"""How fast the data stages are and how they grow: `make bench-data`. Prints one JSON line a size, then the growth.

Each size runs `steps.ingest` (the market's fast path) and `steps.sequence` as the pipeline does, each in a process of
its own, in an empty folder that is removed afterwards. The exponent is the slope of log seconds over log rows.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from infra import overlay
from infra.worktree import find_checkout
from rporec import config
from rporec.files import read_json, write_json, write_text

_SIZES = (100_000, 1_000_000, 10_000_000)  # interactions
_EVENTS_PER_USER, _EVENTS_PER_ITEM = 10, 50
_DAYS, _LOOKED_AT = 365, 8
_THREADS = 2


def main() -> None:
    """Measure every size and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=list(_SIZES), help="interactions, ascending")
    sizes = parser.parse_args().rows
    checkout = find_checkout(Path.cwd())
    found = []
    for size in sizes:
        found.append(measure(checkout, size))
        sys.stdout.write(json.dumps(found[-1]) + "\n")
        sys.stdout.flush()
    if len(found) > 1:
        sys.stdout.write(json.dumps({"exponent": growth(found), "exponent_of_last_step": growth(found[-2:])}) + "\n")


def measure(checkout: Path, size: int) -> dict[str, Any]:
    """Run both stages on a market of about `size` interactions; return rows, seconds, rows_per_s and peak_mb."""
    with tempfile.TemporaryDirectory(prefix="rporec-bench-") as folder:
        root = Path(folder)
        _workspace(checkout, root, size)
        seconds, peaks = {}, []
        for stage in ("ingest", "sequence"):
            seconds[stage], peak = _run(checkout, root, stage)
            peaks.append(peak)
            if stage == "ingest":  # validate is not measured here: what sequence needs of it
                source = read_json(root / "outputs/ingest/source.json")
                write_json(root / "outputs/validate/validate.json", {"passed": True, "end": source["end"]})
        rows = source["counts"]["interactions"]["kept"]
    total = sum(seconds.values())
    return {
        "rows": rows, "users": source["users"], "rows_per_s": round(rows / total), "peak_mb": round(max(peaks)),
        "seconds": round(total, 1), **{f"{stage}_s": round(taken, 1) for stage, taken in seconds.items()},
    }  # fmt: skip


def growth(found: list[dict[str, Any]]) -> float:
    """Return the least-squares slope of log seconds over log rows."""
    x = [math.log(one["rows"]) for one in found]
    y = [math.log(one["seconds"]) for one in found]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    up = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return round(up / sum((a - mean_x) ** 2 for a in x), 3)


def _workspace(checkout: Path, root: Path, size: int) -> None:
    market = {
        "users": size // _EVENTS_PER_USER, "items": size // _EVENTS_PER_ITEM, "days": _DAYS,
        "events_per_user": float(_EVENTS_PER_USER), "looked_at": _LOOKED_AT,
    }  # fmt: skip
    changes = {"run": {"threads": _THREADS}, "ingest": {"market": market}}
    write_text(root / "params.yaml", overlay.apply(checkout / "params.yaml", changes))
    config.load(root / "params.yaml")
    shutil.copyfile(checkout / "dvc.yaml", root / "dvc.yaml")


def _run(checkout: Path, root: Path, stage: str) -> tuple[float, float]:
    """Return wall seconds and peak MB (resident) of one stage's process."""
    threads = {name: str(_THREADS) for name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS")}
    environment = {**os.environ, **threads, "PYTHONPATH": str(checkout), "RPOREC_DATA": "", "PYTHONHASHSEED": "0"}
    started = time.monotonic()
    child = os.posix_spawn(
        sys.executable, [sys.executable, "-c", _ENTRY.format(root=str(root), stage=stage)], environment
    )  # fmt: skip
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(f"stage {stage} failed")
    return time.monotonic() - started, usage.ru_maxrss / 1024


_ENTRY = "import os, runpy; os.chdir({root!r}); runpy.run_module('steps.{stage}', run_name='__main__')"


if __name__ == "__main__":
    main()
