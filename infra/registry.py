"""Makes the registry's sqlite database ahead of its use: `python -m infra.registry <file>`.

MLflow's migrations take 20-30 s; the driver starts this beside the first stages. The file appears whole or not at all.
"""

from __future__ import annotations

import fcntl
import shutil
import sys
from pathlib import Path

from rporec.release import registry


def make(file: Path) -> None:
    """Create and migrate the database in a folder of its own, then move it to `file`; does nothing when it is there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    folder = file.with_name(f".{file.stem}.new")
    with file.with_name(f".{file.stem}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # runs of two profiles may start together
        if file.exists():
            return
        shutil.rmtree(folder, ignore_errors=True)  # left by a killed run
        registry.prepare(registry.Place(f"sqlite:///{folder / file.name}", folder))
        (folder / file.name).replace(file)
        shutil.rmtree(folder)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
