"""The nightly schedule: the stages of dvc.yaml as tasks, one after another, in the night's own git worktree.

Which tasks there are, when they run and how often they are tried again is read when Airflow parses this file, from
dvc.yaml and section `nights` of params.yaml as they stand in this checkout. What a task does is read when it runs, from
what is committed: code, parameters and profile of the night's worktree.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

import yaml
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Asset, task
from rporec_defaults import CHECKOUT, NIGHTS, PYTHON, defaults
from rporec_notices import deadline

STAGES = yaml.safe_load((CHECKOUT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
POOLS = dict.fromkeys(NIGHTS["heavy"], NIGHTS["pool"])
PACKAGE = Asset("rporec_package")
NIGHT = f"{PYTHON} infra.night"

with DAG(
    dag_id="nightly_retrain",
    doc_md="""\
### Nightly retraining
`prepare` makes the night's worktree from what is committed (profile: `RPOREC_PROFILE`, data: `RPOREC_DATA`), then
comes one task for each DVC stage, then `finish` commits the lock file on the branch `nights/<date>`, and `hand_over`
tells the DAG `promote` of the package. A retry, or a cleared task, goes on where the killed one stood.

When nothing came in since the last finished night, `ingest` says so and is skipped with all that follows: nothing is
trained and nothing is judged. A finished night that runs again is never skipped and gives its old bytes. Heavy stages
take a slot of the pool `nights.pool`; a night that is not done after `nights.deadline_minutes` is told.
""",
    schedule=NIGHTS["schedule"],
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=defaults(NIGHT="{{ (dag_run.logical_date or dag_run.run_after) | ds }}"),
    deadline=deadline(NIGHTS["deadline_minutes"], NIGHTS["notify"]),
    tags=["rporec"],
) as dag:

    @task(outlets=[PACKAGE])
    def hand_over(handed: dict[str, str], *, outlet_events: dict[Asset, object]) -> None:
        """Attach the night's paths, ids and hashes to the asset's event."""
        outlet_events[PACKAGE].extra = handed

    last = BashOperator(task_id="prepare", bash_command=f'{NIGHT} prepare --date "$NIGHT"')
    for stage in STAGES:
        last = last >> BashOperator(
            task_id=stage,
            bash_command=f'{NIGHT} stage --date "$NIGHT" {stage}',
            pool=POOLS.get(stage, "default_pool"),
        )
    finish = BashOperator(task_id="finish", bash_command=f'{NIGHT} finish --date "$NIGHT"', output_processor=json.loads)
    last >> finish
    hand_over(finish.output)
