"""The watch over the service: health, freshness, fallbacks, and whether requests still look like the training data."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from rporec_defaults import PARAMS, PYTHON, defaults

with DAG(
    dag_id="monitor",
    doc_md="""\
### Monitor
Asks the service (`RPOREC_SERVICE_URL`, else the loopback) whether it is well, how old its data are, how many answers
fell back to popularity or lacked reasoning since the last look, and whether the histories that are asked for still look
like the training data. `reports/monitor.json` has the figures. What is beyond its limit (section `monitor`) fails the
task, and the connections of `nights.notify` are told.
""",
    schedule=PARAMS["monitor"]["watch_schedule"],
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=defaults(),
    tags=["rporec"],
) as dag:
    BashOperator(task_id="monitor", bash_command=f"{PYTHON} infra.monitor")
