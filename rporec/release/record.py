"""The recorder: everything that a pipeline run left behind becomes one MLflow run.

Stages leave `records/<stage>.json` and never import MLflow; this sends them all, cached stages' included, and waits out
an outage. Sending again (after a kill, or for the same package and verdict) completes the same run, it makes no second
one and doubles nothing in it. Rollouts become traces (`rporec.release.rollouts`).
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rporec.data.sources.place import shown
from rporec.errors import InputError
from rporec.release import registry, rollouts
from rporec.release.place import Place

log = logging.getLogger(__name__)
T = TypeVar("T")
_KEY_TAG = "rporec.key"
_FORBIDDEN = re.compile(r"[^\w\-. :/]")
_LONGEST_PARAM = 6000
_METRICS_A_BATCH, _PARAMS_A_BATCH = 1000, 100
_SECRETS = re.compile(r"(?<=://)[^/\s]*@|(?<=\w)\?\S*")  # user:password@ and options in a URL
# For the environment, in place of MLflow's seven silent retries: who waits says so (`patiently`), or soon asks again.
RETRIES, FEW = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1"
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 15.0


@dataclass(frozen=True)
class RunRecord:
    """All that one MLflow run holds.

    Args:
        experiment: rporec-<profile>.
        key: what makes two runs the same one (package, verdict, commit, params).
        tags: text tags of the run.
        params: all parameters, as nested sections.
        metrics: numbers by name; names may hold dots, `@` becomes `_at_`.
        curves: (step, number) by name, as metrics with a history; names as those of metrics, none in both.
        files: folder in the artefacts to the small files put there.
        package: the package folder, sent only when it passed; None = not sent.
        rollouts: a ROLLOUTS table of which a sample becomes traces; None = there is none.
    """

    experiment: str
    key: str
    tags: Mapping[str, str]
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    curves: Mapping[str, Sequence[tuple[float, float]]]
    files: Mapping[str, Sequence[Path]]
    package: Path | None
    rollouts: Path | None


@dataclass(frozen=True)
class SentRun:
    """The MLflow run, and the address of the package in its artefacts ("" when none was sent)."""

    run_id: str
    package_source: str


def send(place: Place, record: RunRecord) -> SentRun:
    """Write the record as one MLflow run; a run with the same key is completed, not doubled."""
    from mlflow.entities import Param, RunTag

    client = registry.client(place)
    run = _same_run(client, place, record)
    run_id = str(run.info.run_id)
    params = [Param(name, value) for name, value in flatten(record.params)]
    for part in _batches(params, _PARAMS_A_BATCH):
        client.log_batch(run_id, params=part)
    for part in _batches(_metrics(run, record), _METRICS_A_BATCH):
        client.log_batch(run_id, metrics=part)
    if record.rollouts is not None:
        rollouts.send(place, run.info, record.rollouts)
    for folder, paths in record.files.items():
        for path in paths:
            client.log_artifact(run_id, str(path), folder)
    source = ""
    if record.package is not None:
        client.log_artifacts(run_id, str(record.package), "package")
        source = f"{run.info.artifact_uri}/package"
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in record.tags.items()])
    client.set_terminated(run_id, "FINISHED")
    return SentRun(run_id, source)


def patiently(action: Callable[[], T], seconds: float, uri: str) -> T:
    """Run an action against MLflow; where the registry does not answer, wait and try again.

    Args:
        action: safe to run again after a failure.
        seconds: how long an outage is waited out.
        uri: the tracking URI, for the message.

    Raises:
        InputError: the outage outlasts `seconds`.
    """
    deadline, wait = time.monotonic() + seconds, _FIRST_WAIT
    while True:
        try:
            return action()
        except Exception as error:
            if not _is_outage(error):
                raise
            left, told = deadline - time.monotonic(), _first_line(error)
            if left <= 0:
                raise InputError(
                    f"MLflow did not answer for {seconds:.0f} s: {told}",
                    field="MLFLOW_TRACKING_URI", value=shown(uri), rule="promote.outage_seconds",
                    cure="bring MLflow up and run the same command again; finished stages are kept",
                ) from error  # fmt: skip
            log.warning("MLflow at %s does not answer (%s); waiting, %.0f s left", shown(uri), told, left)
            time.sleep(min(wait, max(left, 0.1)))
            wait = min(2 * wait, _LONGEST_WAIT)


def flatten(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted name, text) of every leaf of nested params."""
    for name, value in nested.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)[:_LONGEST_PARAM]


def _same_run(client: Any, place: Place, record: RunRecord) -> Any:  # noqa: ANN401 - MLflow ships no types
    experiment = client.get_experiment_by_name(record.experiment)
    if experiment is None:
        identity = client.create_experiment(record.experiment, artifact_location=place.artifacts(record.experiment))
    else:
        identity = experiment.experiment_id
    found = client.search_runs([identity], filter_string=f"tags.`{_KEY_TAG}` = '{record.key}'", max_results=1)
    if found:
        return found[0]
    return client.create_run(identity, run_name=f"{record.experiment}-{record.key[:12]}", tags={_KEY_TAG: record.key})


def _metrics(run: Any, record: RunRecord) -> list[Any]:  # noqa: ANN401 - MLflow ships no types
    """Return what the run does not hold yet; MLflow drops a point of equal time, step and value by itself."""
    from mlflow.entities import Metric

    held, now = run.data.metrics, int(time.time() * 1000)
    numbers = {_metric_name(name): value for name, value in sorted(record.metrics.items())}
    points = [
        Metric(_metric_name(name), value, int(run.info.start_time), int(step))
        for name, curve in record.curves.items()
        for step, value in curve
    ]
    return [*points, *(Metric(name, value, now, 0) for name, value in numbers.items() if held.get(name) != value)]


def _metric_name(name: str) -> str:
    return _FORBIDDEN.sub("_", name.replace("@", "_at_"))


def _batches(values: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _is_outage(error: Exception) -> bool:
    """Tell an answer that never came from a refusal: connection trouble, a server's 5xx, a locked or busy database."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"ConnectionError", "Timeout", "OperationalError", "RetryError"}:
        return True
    signs = ("TEMPORARILY_UNAVAILABLE", "Max retries exceeded", "failed with exception", "error code 5")
    return "MlflowException" in names and any(sign in f"{vars(error).get('error_code')} {error}" for sign in signs)


def _first_line(error: Exception) -> str:
    """Return an error's first line without login and options of the address that it quotes."""
    lines = _SECRETS.sub("", str(error)).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
