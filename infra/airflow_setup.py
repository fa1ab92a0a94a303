"""`python -m infra.airflow_setup`: makes in Airflow what the DAGs name and no DAG can make: the pool of heavy stages.

Safe to run again; it sets the pool's size to `nights.pool_slots`. A task whose pool is missing waits for ever, so this
belongs to every start of Airflow, after `airflow db migrate`. Connections for notices are the user's own.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

from rporec import config
from rporec.errors import InputError
from steps.stage import guarded

log = logging.getLogger("rporec")
_ABOUT = "heavy stages of nights; size: nights.pool_slots of params.yaml"


def set_up(root: Path) -> None:
    """Make the pool of section `nights`, or bring it to its size.

    Raises:
        InputError: Airflow refused; its own words are in the message.
    """
    nights = config.load(root / "params.yaml").nights
    command = [str(Path(sys.executable).with_name("airflow")), "pools", "set", nights.pool, str(nights.pool_slots)]
    done = subprocess.run([*command, _ABOUT], capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise InputError(
            f"Airflow did not make the pool: {words[-1]}", field="nights.pool", value=nights.pool,
            cure="run airflow db migrate first, with the same AIRFLOW_HOME",
        )  # fmt: skip
    log.info("airflow: pool %s has %d slots", nights.pool, nights.pool_slots)


def main() -> None:
    """Set up for the checkout in the current folder."""
    guarded(lambda: set_up(Path.cwd()))


if __name__ == "__main__":
    main()
