"""Makes the registry's sqlite database ahead of its use: `python -m infra.registry <file>`.

MLflow's migrations take 20-30 s; the driver starts this beside the first stages. The file appears whole or not at all,
and never in the place of one that is there.
"""

from __future__ import annotations

import fcntl
import logging
import shutil
import sys
from pathlib import Path

from rporec.release import registry

log = logging.getLogger("rporec")


def make(file: Path) -> None:
    """Create and migrate the database in a folder of its own, then link it to `file`; nothing when it is there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    folder = file.with_name(f".{file.stem}.new")
    with file.with_name(f".{file.stem}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # runs of two profiles may start together
        if file.exists():
            return
        shutil.rmtree(folder, ignore_errors=True)  # left by a killed run
        registry.prepare(registry.Place(f"sqlite:///{folder / file.name}", folder))
        try:
            # A link, as a rename would replace the database that another process (MLflow's own first use, which does
            # not know this lock) made meanwhile, with all that it holds.
            file.hardlink_to(folder / file.name)
        except FileExistsError:
            log.info("registry: another process made %s meanwhile; its database stays", file)
        except OSError as error:  # a file system without links: MLflow makes the database at its first use
            log.info("registry: %s cannot be linked (%s); it is made when it is needed", file, error)
        shutil.rmtree(folder)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
