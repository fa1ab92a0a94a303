"""Rollouts as traces, in a real MLflow store, read back by MLflow's own client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from rporec import tables
from rporec.release import record, registry, rollouts
from rporec.release.place import Place
from rporec.release.record import RunRecord
from rporec.release.rollouts import JUDGED

STEPS, PROMPTS, G = 3, 2, 2


def _table(steps: int = STEPS, prompts: int = PROMPTS, samples: int = G) -> pl.DataFrame:
    rows = [
        {
            "step": step, "group": 100 * step + prompt, "sample": sample,
            "prompt": f"bought {'lamp ' * 400}{step}", "completion": f"<think>\0 {prompt} é</think> {sample}",
            "reward": 0.25 * sample, **{term: place / 8 for place, term in enumerate(JUDGED[1:])},
            "advantage": -0.5 * sample,
        }
        for step in range(1, steps + 1) for prompt in range(prompts) for sample in range(samples)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=tables.ROLLOUTS.columns)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    tables.write(_table(), tmp_path / "rollouts.parquet", tables.ROLLOUTS)
    return tmp_path / "rollouts.parquet"


def _run(file: Path, key: str = "k1") -> RunRecord:
    return RunRecord(
        experiment="rporec-demo", key=key, tags={}, params={}, metrics={}, curves={}, files={}, package=None,
        rollouts=file,
    )  # fmt: skip


def _traces(place: Place, run_id: str | None = None) -> list[Any]:
    client = registry.client(place)
    experiment = client.get_experiment_by_name("rporec-demo").experiment_id
    return list(client.search_traces(locations=[experiment], run_id=run_id, max_results=500))


def test_a_rollout_is_a_trace_of_the_run_with_its_terms(place: Place, file: Path) -> None:
    sent = record.send(place, _run(file))
    found = _traces(place, sent.run_id)
    assert len(found) == STEPS * PROMPTS * G
    of = {tuple(int(one.info.tags[f"rporec.{key}"]) for key in ("step", "group", "sample")): one for one in found}
    wanted = _table().row(by_predicate=(pl.col("group") == 301) & (pl.col("sample") == 1), named=True)
    trace = of[3, 301, 1]
    (span,) = trace.data.spans
    assert span.inputs == {"prompt": wanted["prompt"]}
    assert span.outputs == wanted["completion"]
    judged = {one.name: one for one in trace.info.assessments}
    assert set(judged) == set(JUDGED)
    for name, one in judged.items():
        assert one.feedback.value == span.attributes[f"rporec.{name}"] == wanted[name]
        assert (one.source.source_type, one.source.source_id) == ("CODE", "rporec.align.rewards")
    assert span.attributes["rporec.advantage"] == -0.5
    assert (trace.info.state, trace.info.trace_metadata["mlflow.trace.session"]) == ("OK", "step 3, prompt 301")
    assert trace.info.trace_metadata["mlflow.sourceRun"] == sent.run_id


def test_sending_again_doubles_nothing_and_a_run_of_cached_rollouts_is_linked(place: Place, file: Path) -> None:
    first = record.send(place, _run(file))
    record.send(place, _run(file))
    second = record.send(place, _run(file, key="k2"))
    assert second.run_id != first.run_id
    names = {one.info.trace_id for one in _traces(place)}
    assert len(_traces(place)) == len(names) == STEPS * PROMPTS * G
    for run in (first, second):
        assert {one.info.trace_id for one in _traces(place, run.run_id)} == names
    assert all(len(one.info.assessments) == len(JUDGED) for one in _traces(place))


def test_a_send_that_is_cut_off_is_completed(place: Place, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store fails after five traces: all have their span, some their feedback."""
    start, calls = SqlAlchemyStore.start_trace, []

    def failing(self: SqlAlchemyStore, trace_info: Any) -> Any:
        calls.append(trace_info.trace_id)
        if len(calls) > 5:
            raise ConnectionError("gone")
        return start(self, trace_info)

    with monkeypatch.context() as broken:
        broken.setattr(SqlAlchemyStore, "start_trace", failing)
        with pytest.raises(ConnectionError):
            record.send(place, _run(file))
    sent = record.send(place, _run(file))
    found = _traces(place, sent.run_id)
    assert len(found) == len({one.info.trace_id for one in found}) == STEPS * PROMPTS * G
    for one in found:
        assert len(one.data.spans) == 1
        assert sorted(judged.name for judged in one.info.assessments) == sorted(JUDGED)


def test_a_server_without_traces_keeps_the_run(
    place: Place, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise NotImplementedError("log_spans is not supported: MLflow server version 3.0 is less than 3.4")

    monkeypatch.setattr(SqlAlchemyStore, "log_spans", refuse)
    sent = record.send(place, _run(file))
    assert registry.client(place).get_run(sent.run_id).info.status == "FINISHED"
    assert "less than 3.4" in caplog.text
    assert _traces(place) == []


def test_an_alignment_without_rollouts_sends_none(place: Place, tmp_path: Path) -> None:
    tables.write(_table().clear(), tmp_path / "rollouts.parquet", tables.ROLLOUTS)
    record.send(place, _run(tmp_path / "rollouts.parquet"))
    assert _traces(place) == []


@pytest.mark.parametrize(
    ("shape", "steps"),
    [
        ((5, 2, 3), {1, 2, 3, 4, 5}),
        ((200, 2, 16), {1, 67, 134, 200}),
        ((9, 1, 100), {1}),  # whole prompts, one at least
    ],
)
def test_a_sample_holds_whole_prompts_over_all_steps(shape: tuple[int, int, int], steps: set[int]) -> None:
    found = rollouts.sample(_table(*shape))
    assert found.height <= max(rollouts.MOST, shape[2])
    assert set(found.group_by("step", "group").len()["len"]) == {shape[2]}
    assert set(found["step"]) == steps
