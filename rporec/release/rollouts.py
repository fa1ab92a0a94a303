"""A sample of rollouts as MLflow traces: prompt, completion, and every term of the reward as attribute and feedback.

A trace's id is a hash of what it holds: sending again, or for another run of the same (cached) alignment, adds none;
the run is linked to those that are there. All is written at once and in order, so nothing waits to be flushed: a trace
counts as whole when its tag is there, which comes with the feedback, last. Not here: metrics (`record`).
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from rporec import tables
from rporec.align.rewards import TERMS
from rporec.release.place import Place, client

log = logging.getLogger(__name__)
MOST = 64  # traces a run, whole prompts with all their completions; one prompt at least
JUDGED = ("reward", "well_formed", "valid", *TERMS)  # the two are factors of the reward
_MARK = "rporec.rollouts"  # tag: the sample that a trace belongs to
_SHOWN = 1000  # characters of a text in the list of traces
_PAGE = 100  # traces asked for, or linked, at once

Row = dict[str, Any]


def sample(rollouts: pl.DataFrame, most: int = MOST) -> pl.DataFrame:
    """Return the rollouts of some prompts, spread evenly over the steps, the first and the last among them.

    Args:
        rollouts: ROLLOUTS.
        most: rows at most, unless one prompt has more.
    """
    if rollouts.is_empty():
        return rollouts
    prompts = rollouts.select("step", "group").unique(maintain_order=True)
    wanted = max(1, most * prompts.height // rollouts.height)
    places = np.unique(np.linspace(0, prompts.height - 1, min(wanted, prompts.height)).round().astype(int))
    kept = prompts[places.tolist()]
    return rollouts.join(kept, on=["step", "group"], how="semi", maintain_order="left")


def send(place: Place, run: Any, file: Path) -> list[str]:  # noqa: ANN401 - MLflow ships no types
    """Bring a sample of the rollouts to the experiment of a run as traces, and link the run to them.

    Args:
        place: the tracking server.
        run: the run's info.
        file: a ROLLOUTS table.

    Returns:
        The ids of the traces; [] where there are no rollouts, or the server is too old for traces.
    """
    from mlflow.tracing.client import TracingClient

    rows = sample(tables.read(file, tables.ROLLOUTS)).to_dicts()
    experiment = str(run.experiment_id)
    by_id = {_identity(experiment, row): row for row in rows}
    mark = hashlib.sha256("".join(by_id).encode()).hexdigest()
    tracing = TracingClient(place.uri)
    there = _present(tracing, experiment, mark) if by_id else set()
    missing = {name: row for name, row in by_id.items() if name not in there}
    moment = int(run.start_time)
    spans = [_span(name, row, moment) for name, row in missing.items()]
    try:
        tracing.log_spans(experiment, spans)
    except NotImplementedError as error:
        log.warning("the rollouts of stage align are not sent as traces: %s", error)
        return []
    for name, row in missing.items():
        tracing.start_trace(_info(name, row, experiment, str(run.run_id), mark, moment))
    _link(place, list(by_id), str(run.run_id))
    return list(by_id)


def _identity(experiment: str, row: Row) -> str:
    told = json.dumps([experiment, row], sort_keys=True)
    return f"tr-{hashlib.sha256(told.encode()).hexdigest()[:32]}"


def _present(tracing: Any, experiment: str, mark: str) -> set[str]:  # noqa: ANN401 - MLflow ships no types
    """Return the ids of the sample's traces that are whole."""
    found: set[str] = set()
    token = None
    while True:
        page = tracing.search_traces(
            locations=[experiment], filter_string=f"tags.`{_MARK}` = '{mark}'", max_results=_PAGE, page_token=token,
            include_spans=False,
        )  # fmt: skip
        found |= {str(trace.info.trace_id) for trace in page}
        token = page.token
        if not token:
            return found


def _span(name: str, row: Row, moment: int) -> Any:  # noqa: ANN401 - MLflow ships no types
    """Return the one span of a rollout: texts in and out, numbers as attributes."""
    from mlflow.entities import Span, SpanType
    from mlflow.tracing.constant import SpanAttributeKey

    told = {
        SpanAttributeKey.REQUEST_ID: name,
        SpanAttributeKey.SPAN_TYPE: SpanType.LLM,
        SpanAttributeKey.INPUTS: {"prompt": row["prompt"]},
        SpanAttributeKey.OUTPUTS: row["completion"],
        **{f"rporec.{key}": row[key] for key in ("step", "group", "sample", "advantage", *JUDGED)},
    }
    whole = name.removeprefix("tr-")
    return Span.from_dict(
        {
            "trace_id": name, "span_id": whole[:16], "parent_span_id": None, "name": "rollout",
            "start_time_unix_nano": moment * 1_000_000, "end_time_unix_nano": moment * 1_000_000,
            "status": {"code": "OK"}, "attributes": {key: json.dumps(value) for key, value in told.items()},
        }
    )  # fmt: skip


def _info(name: str, row: Row, experiment: str, run_id: str, mark: str, moment: int) -> Any:  # noqa: ANN401 - as above
    from mlflow.entities import AssessmentSource, Feedback, TraceInfo, TraceLocation, TraceState
    from mlflow.tracing.constant import TraceMetadataKey

    source = AssessmentSource(source_type="CODE", source_id="rporec.align.rewards")
    judged = [
        Feedback(name=term, value=row[term], source=source, trace_id=name, create_time_ms=moment,
                 last_update_time_ms=moment)
        for term in JUDGED
    ]  # fmt: skip
    tags: Mapping[str, str] = {f"rporec.{key}": str(row[key]) for key in ("step", "group", "sample")}
    return TraceInfo(
        trace_id=name,
        trace_location=TraceLocation.from_experiment_id(experiment),
        request_time=moment,
        execution_duration=0,
        state=TraceState.OK,
        request_preview=_shown(row["prompt"]),
        response_preview=_shown(row["completion"]),
        trace_metadata={
            TraceMetadataKey.SOURCE_RUN: run_id,
            TraceMetadataKey.TRACE_SESSION: f"step {row['step']}, prompt {row['group']}",
        },
        tags={"mlflow.traceName": "rollout", **tags, _MARK: mark},
        assessments=judged,
    )


def _shown(text: str) -> str:
    """Return the start of a text, without NUL, which a database may refuse."""
    return text[:_SHOWN].replace("\0", "\N{REPLACEMENT CHARACTER}")


def _link(place: Place, names: list[str], run_id: str) -> None:
    mlflow_client = client(place)
    for start in range(0, len(names), _PAGE):
        mlflow_client.link_traces_to_run(names[start : start + _PAGE], run_id)
