from __future__ import annotations

import ast
import json
import subprocess
import sys

import pytest
import yaml

from infra.kubernetes import pod_hook
from tests.project import ROOT, environment

STAGES = list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
DAGS = ("nightly_retrain", "promote", "reproduce", "monitor", "housekeeping")
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
HEAVY = ("torch", "mlflow", "great_expectations", "transformers", "polars", "pandas", "bentoml", "dvc")
PARSE = """
import json, sys, time
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
import airflow.providers.standard.operators.bash
import rporec_notices
before = set(sys.modules)
found = {}
for path in sys.argv[1:]:
    start = time.perf_counter()
    bag = DagBag(path)
    seconds = time.perf_counter() - start
    for name, dag in bag.dags.items():
        found[name] = {
            "seconds": seconds,
            "tasks": {t.task_id: sorted(t.downstream_task_ids) for t in dag.tasks},
            "retries": sorted({t.retries for t in dag.tasks}),
            "backoff": all(t.retry_exponential_backoff for t in dag.tasks),
            "max_active_runs": dag.max_active_runs,
            "pools": {t.task_id: t.pool for t in dag.tasks},
            "told": [[one.connection for one in t.on_failure_callback] for t in dag.tasks],
            "late": dag.deadline and [dag.deadline[0].interval.total_seconds(), dag.deadline[0].callback.path],
            "schedule": str(dag.schedule),
            "doc": bool(dag.doc_md),
        }
    assert not bag.import_errors, bag.import_errors
print(json.dumps({"dags": found, "loaded": sorted({m.split(".")[0] for m in set(sys.modules) - before})}))
"""


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> dict:
    home = tmp_path_factory.mktemp("airflow")
    files = [str(ROOT / "dags" / f"{name}.py") for name in DAGS]
    extra = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "PYTHONPATH": str(ROOT / "dags"),  # Airflow puts the folder of DAGs on the path of what parses and runs them
    }
    done = subprocess.run(
        [sys.executable, "-c", PARSE, *files],
        env=environment(extra),
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_dags_parse_in_under_a_second_without_heavy_imports(parsed: dict) -> None:
    assert set(parsed["dags"]) == set(DAGS)
    assert all(dag["seconds"] < 1 for dag in parsed["dags"].values())
    assert not set(HEAVY) & set(parsed["loaded"])


def test_one_task_a_stage_in_their_order(parsed: dict) -> None:
    tasks = parsed["dags"]["nightly_retrain"]["tasks"]
    order = ["prepare", *STAGES, "finish", "hand_over"]
    assert tasks == {name: order[place + 1 : place + 2] for place, name in enumerate(order)}
    assert parsed["dags"]["promote"]["tasks"] == {
        "gate": ["promote"], "promote": ["reasoning"], "reasoning": ["smoke"], "smoke": [],
    }  # fmt: skip


def test_heavy_stages_and_no_others_share_the_pool(parsed: dict) -> None:
    nights = PARAMS["nights"]
    pools = parsed["dags"]["nightly_retrain"]["pools"]
    assert {name for name, pool in pools.items() if pool == nights["pool"]} == set(nights["heavy"]) <= set(STAGES)
    assert {pool for name, pool in pools.items() if name not in nights["heavy"]} == {"default_pool"}
    assert tuple(nights["heavy"]) == pod_hook.HEAVY, "the pods with a GPU are those of the heavy stages"


def test_a_late_night_and_failures_are_told_to_the_connections(parsed: dict) -> None:
    late = parsed["dags"]["nightly_retrain"]["late"]
    assert late == [60 * PARAMS["nights"]["deadline_minutes"], "rporec_notices.late"]
    assert all(told == PARAMS["nights"]["notify"] for dag in parsed["dags"].values() for told in dag["told"])


def test_schedules_are_those_of_the_parameters(parsed: dict) -> None:
    nights, monitor = PARAMS["nights"], PARAMS["monitor"]
    schedules = {name: dag["schedule"] for name, dag in parsed["dags"].items()}
    assert schedules["nightly_retrain"] == nights["schedule"]
    assert (schedules["monitor"], schedules["housekeeping"]) == (monitor["watch_schedule"], nights["clean_schedule"])
    assert schedules["reproduce"] == "None"


def test_tasks_are_retried_with_backoff_one_night_at_a_time(parsed: dict) -> None:
    nights = PARAMS["nights"]
    for dag in parsed["dags"].values():
        assert dag["retries"] == [nights["retries"]]
        assert dag["backoff"]
        assert dag["max_active_runs"] == 1
        assert dag["doc"]


@pytest.mark.parametrize("name", DAGS)
def test_a_dag_file_holds_no_logic(name: str) -> None:
    file = ROOT / "dags" / f"{name}.py"
    tree = ast.parse(file.read_text())
    banned = (ast.If, ast.While, ast.Try, ast.Lambda, ast.ListComp)
    assert not [node for node in ast.walk(tree) if isinstance(node, banned)]
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {module for module in imported if module.split(".")[0] in {"rporec", "steps", "infra", "bento"}}
    assert len(file.read_text().splitlines()) < 100
