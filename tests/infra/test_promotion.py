"""Which package the DAG `promote` handles when several wake it, and that its template hands all of them over."""

from __future__ import annotations

import datetime as dt
import json
import re

import jinja2
import pytest

from infra import promotion
from infra.promotion import Handed
from rporec.errors import InputError
from tests.project import ROOT

A, B, C = Handed("2026-01-05", "a" * 64), Handed("2026-01-06", "b" * 64), Handed("2026-01-06", "c" * 64)


def _events(*handed: Handed) -> str:
    return json.dumps([{"date": one.date, "package_hash": one.package_hash, "commit": "0"} for one in handed])


@pytest.mark.parametrize(
    ("given", "chosen", "others"),
    [
        ([A], A, []),
        ([A, B], B, [A]),
        ([B, A], B, [A]),
        ([B, C], C, [B]),  # a night that ran again: its last package
        ([C, B, C, A], C, [B, A]),
        ([A, A], A, []),
    ],
)
def test_the_newest_night_is_handled_and_the_others_are_superseded(
    given: list[Handed], chosen: Handed, others: list[Handed]
) -> None:
    assert promotion.choose(promotion.read(_events(*given))) == (chosen, others)


@pytest.mark.parametrize("events", ["", "{}", "[]", '[{"date": "2026-01-05"}]', "[1]"])
def test_events_that_no_night_handed_over_are_refused(events: str) -> None:
    with pytest.raises(InputError, match=r"cannot be read|no package woke"):
        promotion.read(events)


def test_superseded_packages_are_named(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    acted = []
    monkeypatch.setattr(promotion.night, "act", lambda *given: acted.append(given))
    caplog.set_level("INFO", logger="rporec")
    promotion.act("gate", _events(A, B))
    assert acted == [(B.date, "gate", B.package_hash)]
    assert f"package {'a' * 12} of night 2026-01-05 is superseded by night 2026-01-06" in caplog.text


def test_the_dags_template_hands_over_every_event_that_woke_it() -> None:
    """Rendered with Airflow's own accessor over its own events."""
    from airflow.sdk.api.datamodels._generated import AssetReferenceAssetEventDagRun as Named
    from airflow.sdk.execution_time.comms import AssetEventDagRunReferenceResult as Event
    from airflow.sdk.execution_time.context import TriggeringAssetEventsAccessor

    asset = Named(name="rporec_package", uri="rporec_package", extra={})
    events = [
        Event(
            asset=asset, extra={"date": one.date, "package_hash": one.package_hash}, source_task_id=None,
            source_dag_id=None, source_run_id=None, source_map_index=None, source_aliases=[],
            timestamp=dt.datetime(2026, 1, 7, tzinfo=dt.UTC),
        )
        for one in (A, B)
    ]  # fmt: skip
    template = re.search(r'^EVENTS = "(.*)"$', (ROOT / "dags/promote.py").read_text(), re.MULTILINE)
    assert template is not None
    built = TriggeringAssetEventsAccessor.build(events)
    text = jinja2.Environment(autoescape=False).from_string(template[1]).render(triggering_asset_events=built)
    assert promotion.read(text) == [A, B]
