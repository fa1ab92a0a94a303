"""The promotion schedule: woken by a night's package; judges it, makes it the champion when it passes, and then
writes its reasoning ahead of time.

How often a task is tried again is read when Airflow parses this file, from section `nights` of params.yaml as it stands
in this checkout; gate and promote read the parameters of the night's own worktree.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Asset

CHECKOUT = Path(__file__).resolve().parents[1]
NIGHTS = yaml.safe_load((CHECKOUT / "params.yaml").read_text(encoding="utf-8"))["nights"]
PACKAGE = Asset("rporec_package")
ACT = f'{sys.executable} -m infra.night act --date "$NIGHT" --package "$PACKAGE"'
EVENT = "(triggering_asset_events.values() | first | last).extra"

with DAG(
    dag_id="promote",
    doc_md="""\
### Promotion
Woken by `nightly_retrain`. `gate` judges the night's package beside the champion, `promote` makes it the champion when
the verdict is a pass. A refusal is a result, not a failure: the old champion stays and the log says why. `reasoning`
writes the new champion's reasoning for all active users into the store of the service; users need not wait for it.
""",
    schedule=[PACKAGE],
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={
        "cwd": str(CHECKOUT),
        "env": {"NIGHT": f"{{{{ {EVENT}['date'] }}}}", "PACKAGE": f"{{{{ {EVENT}['package_hash'] }}}}"},
        "append_env": True,
        "retries": NIGHTS["retries"],
        "retry_delay": timedelta(seconds=NIGHTS["retry_seconds"]),
        "retry_exponential_backoff": 2,
    },
    tags=["rporec"],
) as dag:
    gate = BashOperator(task_id="gate", bash_command=f"{ACT} gate")
    promote = BashOperator(task_id="promote", bash_command=f"{ACT} promote")
    reasoning = BashOperator(task_id="reasoning", bash_command=f"{ACT} reasoning")
    gate >> promote >> reasoning
