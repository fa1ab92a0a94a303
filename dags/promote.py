"""The promotion schedule: woken by a night's package; judges it, makes it the champion when it passes, writes its
reasoning ahead of time, and asks the service, which goes back to the version before when its answers are wrong.

How often a task is tried again is read when Airflow parses this file, from section `nights` of params.yaml as it stands
in this checkout; gate and promote read the parameters of the night's own worktree.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Asset
from rporec_defaults import PYTHON, defaults

PACKAGE = Asset("rporec_package")
EVENTS = "{{ triggering_asset_events.values() | map('list') | sum(start=[]) | map(attribute='extra') | list | tojson }}"
ACT = f'{PYTHON} infra.promotion --events "$EVENTS"'

with DAG(
    dag_id="promote",
    doc_md="""\
### Promotion
Woken by `nightly_retrain`. `gate` judges the night's package beside the champion, `promote` makes it the champion when
the verdict is a pass. A refusal is a result, not a failure: the old champion stays and the log says why. `reasoning`
writes the new champion's reasoning for all active users into the store of the service; users need not wait for it.
`smoke` asks the service on the new version real questions; when an answer is wrong it rolls back by itself and fails
with the number of the version that users have. Of packages that arrive together the one of the newest night is
handled; the log names the others as superseded.
""",
    schedule=[PACKAGE],
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=defaults(EVENTS=EVENTS),
    tags=["rporec"],
) as dag:
    gate = BashOperator(task_id="gate", bash_command=f"{ACT} gate")
    promote = BashOperator(task_id="promote", bash_command=f"{ACT} promote")
    reasoning = BashOperator(task_id="reasoning", bash_command=f"{ACT} reasoning")
    smoke = BashOperator(task_id="smoke", bash_command=f"{ACT} smoke")
    gate >> promote >> reasoning >> smoke
