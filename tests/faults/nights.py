"""Nights of a platform, asked for and watched over Airflow's REST interface."""

from __future__ import annotations

import urllib.error
from collections.abc import Callable
from typing import Any

from tests import airflow_api
from tests.faults.platform import Platform
from tests.waiting import until

NIGHT, PROMOTE = "nightly_retrain", "promote"
SECONDS = 2400  # the limit only ends a test that hangs
_ENDED = {"success", "failed"}


class Nights:
    """The runs of the two DAGs."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform

    def call(self, path: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
        """Call the REST interface."""
        return airflow_api.call(self.platform.url("airflow"), path, body, method)

    def wait(self, what: str, ready: Callable[[], Any], seconds: float = SECONDS) -> Any:
        """Wait for a condition and return it; a server that does not answer counts as no."""
        return until(what, ready, seconds, told=self.logs, pause=0.5)

    def unpause(self) -> None:
        """Wait until Airflow knows the DAGs, and let the two run."""
        self.wait("the DAGs are known", lambda: {NIGHT, PROMOTE} <= {d["dag_id"] for d in self.call("dags")["dags"]})
        for dag in (PROMOTE, NIGHT):
            self.call(f"dags/{dag}", {"is_paused": False}, "PATCH")

    def begin(self, date: str, hour: int = 2) -> str:
        """Ask for a night and return the run's name."""
        asked = self._asked(date, hour)

        def there() -> bool:
            try:
                self.call(f"dags/{NIGHT}/dagRuns", asked)
            except urllib.error.HTTPError as error:
                return error.code == 409  # an earlier answer was lost
            return True

        self.wait("the night is asked for", there)
        return asked["dag_run_id"]

    def asked_again(self, date: str) -> int:
        """Ask for a night that there is; return the status with which it is refused."""
        try:
            self.call(f"dags/{NIGHT}/dagRuns", self._asked(date, 2))
        except urllib.error.HTTPError as error:
            return error.code
        raise AssertionError("it was not refused")

    @staticmethod
    def _asked(date: str, hour: int) -> dict[str, str]:
        return {"logical_date": f"{date}T{hour:02d}:00:00Z", "dag_run_id": f"{date}-{hour}"}

    def runs(self, dag: str) -> list[dict[str, Any]]:
        """Runs of a DAG, oldest first."""
        found: list[dict[str, Any]] = self.call(f"dags/{dag}/dagRuns?order_by=id&limit=100")["dag_runs"]
        return found

    @staticmethod
    def over(run: dict[str, Any]) -> bool:
        """Whether a run has ended."""
        return run["state"] in _ENDED

    def state(self, run: str, dag: str = NIGHT) -> str:
        return str(self.call(f"dags/{dag}/dagRuns/{run}")["state"])

    def task(self, run: str, task: str, dag: str = NIGHT) -> dict[str, Any]:
        found: dict[str, Any] = self.call(f"dags/{dag}/dagRuns/{run}/taskInstances/{task}")
        return found

    def reaches(self, run: str, task: str, state: str, dag: str = NIGHT) -> dict[str, Any]:
        """Wait until a task is in a state."""

        def there() -> dict[str, Any] | None:
            found = self.task(run, task, dag)
            return found if found["state"] == state else None

        found: dict[str, Any] = self.wait(f"{dag} {task} {state}", there)
        return found

    def ended(self, run: str, dag: str = NIGHT) -> str:
        """Wait for a run's end and return its state."""
        return str(self.wait(f"the end of {dag} {run}", lambda: self._ended(run, dag)))

    def promotions(self) -> list[str]:
        return [run["dag_run_id"] for run in self.runs(PROMOTE)]

    def promoted(self, before: list[str]) -> str:
        """Wait for the promotion that a night wakes; return how it ended."""
        run = self.wait("a promotion", lambda: [one for one in self.promotions() if one not in before])[0]
        return self.ended(run, PROMOTE)

    def said(self, dag: str, task: str, words: str) -> bool:
        """Whether a task of the newest run of a DAG has logged these words."""
        run = self.runs(dag)[-1]["dag_run_id"]
        folder = self.platform.folder / "logs" / f"dag_id={dag}" / f"run_id={run}" / f"task_id={task}"
        return any(words in path.read_text(errors="replace") for path in folder.glob("*.log"))

    def logs(self) -> str:
        """The ends of the newest logs."""
        files = [path for path in self.platform.folder.rglob("*.log") if path.is_file()]
        newest = sorted(files, key=lambda path: path.stat().st_mtime)[-6:]
        return "\n".join(f"== {path}\n{path.read_text(errors='replace')[-2500:]}" for path in newest)

    def _ended(self, run: str, dag: str) -> str | None:
        state = self.state(run, dag)
        return state if state in _ENDED else None
