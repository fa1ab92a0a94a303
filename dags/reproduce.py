"""Reproduction by hand: makes a registered version again from its number and compares. It never moves an alias."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Param
from rporec_defaults import NIGHTS, PROFILE, PYTHON, defaults

with DAG(
    dag_id="reproduce",
    doc_md="""\
### Reproduction
Give the number of a version when you trigger it. Its code, data and parameters are fetched by hash and its stages run
again; the end is `same`, `within tolerance` or `different`, and the last fails the task. `first` names the stage that
is to run again first; empty = all after `ingest`. The registry is only read.
""",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params={
        "version": Param(type="integer", minimum=1, description="version number, as make versions lists it"),
        "first": Param("", type="string", pattern="^[a-z]*$", description="first stage that runs again"),
    },
    default_args=defaults(VERSION="{{ params.version }}", FROM="{{ params.first }}", PROFILE=PROFILE),
    tags=["rporec"],
) as dag:
    BashOperator(task_id="reproduce", bash_command=f"{PYTHON} infra.reproduce", pool=NIGHTS["pool"])
