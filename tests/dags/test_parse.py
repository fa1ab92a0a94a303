from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.project import ROOT, environment

STAGES = list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
HEAVY = ("torch", "mlflow", "great_expectations", "transformers", "polars", "pandas", "bentoml", "dvc")
PARSE = """
import json, sys, time
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
import airflow.providers.standard.operators.bash
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
            "doc": bool(dag.doc_md),
        }
    assert not bag.import_errors, bag.import_errors
print(json.dumps({"dags": found, "loaded": sorted({m.split(".")[0] for m in set(sys.modules) - before})}))
"""


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> dict:
    home = tmp_path_factory.mktemp("airflow")
    files = [str(ROOT / "dags" / name) for name in ("nightly_retrain.py", "promote.py")]
    extra = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
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
    assert set(parsed["dags"]) == {"nightly_retrain", "promote"}
    assert all(dag["seconds"] < 1 for dag in parsed["dags"].values())
    assert not set(HEAVY) & set(parsed["loaded"])


def test_one_task_a_stage_in_their_order(parsed: dict) -> None:
    tasks = parsed["dags"]["nightly_retrain"]["tasks"]
    order = ["prepare", *STAGES, "finish", "hand_over"]
    assert tasks == {name: order[place + 1 : place + 2] for place, name in enumerate(order)}
    assert parsed["dags"]["promote"]["tasks"] == {
        "gate": ["promote"], "promote": ["reasoning"], "reasoning": [],
    }  # fmt: skip


def test_tasks_are_retried_with_backoff_one_night_at_a_time(parsed: dict) -> None:
    nights = yaml.safe_load((ROOT / "params.yaml").read_text())["nights"]
    for dag in parsed["dags"].values():
        assert dag["retries"] == [nights["retries"]]
        assert dag["backoff"]
        assert dag["max_active_runs"] == 1
        assert dag["doc"]


@pytest.mark.parametrize("name", ["nightly_retrain.py", "promote.py"])
def test_a_dag_file_holds_no_logic(name: str) -> None:
    tree = ast.parse((ROOT / "dags" / name).read_text())
    banned = (ast.If, ast.While, ast.Try, ast.Lambda, ast.ListComp)
    assert not [node for node in ast.walk(tree) if isinstance(node, banned)]
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {module for module in imported if module.split(".")[0] in {"rporec", "steps", "infra", "bento"}}
    assert len(Path(ROOT / "dags" / name).read_text().splitlines()) < 100
