"""Tidying up: files of old nights go, never those that a registered version needs."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Param
from rporec_defaults import NIGHTS, PYTHON, defaults

with DAG(
    dag_id="housekeeping",
    doc_md="""\
### Housekeeping
Removes worktrees, objects of the DVC cache and MLflow artefacts of nights that ended more than `nights.keep_days` days
ago. What a registered version, a younger night or any other workspace names stays, and so do branches, the audit, the
ledger and all figures in MLflow. With `dry_run` it only tells what it would remove.
""",
    schedule=NIGHTS["clean_schedule"],
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params={"dry_run": Param(False, type="boolean", description="tell, remove nothing")},
    default_args=defaults(),
    tags=["rporec"],
) as dag:
    BashOperator(
        task_id="housekeeping",
        bash_command=f"{PYTHON} infra.housekeeping {{{{ '--dry-run' if params.dry_run else '' }}}}",
    )
