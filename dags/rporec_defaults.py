"""What all DAGs share: where the checkout is, its parameters as they stand, how tasks run and who is told.

Lies beside the DAGs because Airflow puts their folder on its path, and nothing else of this repository. No DAG.
"""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from rporec_notices import notifiers

CHECKOUT = Path(__file__).resolve().parents[1]
PARAMS = yaml.safe_load((CHECKOUT / "params.yaml").read_text(encoding="utf-8"))
NIGHTS = PARAMS["nights"]
PROFILE = os.environ.get("RPOREC_PROFILE", "") or "nightly"
PYTHON = f"{sys.executable} -m"


def defaults(**variables: str) -> dict[str, Any]:
    """Return the default arguments of a DAG's tasks.

    Args:
        variables: of their environment, on top of Airflow's own; may be templates.
    """
    return {
        "cwd": str(CHECKOUT),
        "env": {"RPOREC_PROFILE": PROFILE, **variables},
        "append_env": True,
        "retries": NIGHTS["retries"],
        "retry_delay": timedelta(seconds=NIGHTS["retry_seconds"]),
        "retry_exponential_backoff": 2,
        "on_failure_callback": notifiers(NIGHTS["notify"]),
    }
