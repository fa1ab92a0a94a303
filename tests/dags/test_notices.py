"""Notices really reach a server: JSON over HTTP and Slack's form; one that cannot be sent hides nothing."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace

import httpx
import pytest

from infra import children
from tests.dags.mailbox import Mailbox
from tests.dags.receiver import Receiver
from tests.in_thread import running
from tests.project import ROOT

CONTEXT = {
    "ti": SimpleNamespace(task_id="align", dag_id="nightly_retrain", run_id="night", try_number=3),
    "exception": RuntimeError("exit code 1\nmore"),
}
TEXT = "RPORec: task align of nightly_retrain failed (run night, try 3): exit code 1"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running(Receiver()) as server:
        yield server


@pytest.fixture(scope="module")
def notices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
        spec = importlib.util.spec_from_file_location("rporec_notices", ROOT / "dags/rporec_notices.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


def _connect(monkeypatch: pytest.MonkeyPatch, name: str, **told: object) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps({"host": "127.0.0.1", **told}))


def test_a_failed_task_is_posted(notices: ModuleType, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    _connect(monkeypatch, "hook", conn_type="http", port=receiver.server_port, password="key",
             extra={"endpoint": "/told"})  # fmt: skip
    (notice,) = notices.notifiers(["hook"])
    notice(dict(CONTEXT))
    told = {"event": "failed", "dag_id": "nightly_retrain", "task_id": "align", "run_id": "night"}
    assert receiver.got == [("/told", "Bearer key", {"text": TEXT, **told})]


def test_slack_gets_its_own_form(notices: ModuleType, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    host = f"http://127.0.0.1:{receiver.server_port}/services"
    _connect(monkeypatch, "slack", conn_type="slackwebhook", host=host, password="T0/B0/secret")
    notices.Notice("slack")(dict(CONTEXT))
    assert receiver.got == [("/services/T0/B0/secret", None, {"text": TEXT})]


def test_mail_is_sent_by_airflows_notifier(notices: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    context = {**CONTEXT, "exception": RuntimeError("<b>exit code 1")}
    with running(Mailbox()) as server:
        extra = {
            "to": "ops@shop.example",
            "from_email": "rporec@shop.example",
            "disable_ssl": True,
            "disable_tls": True,
        }
        _connect(monkeypatch, "mail", conn_type="smtp", port=server.server_address[1], extra=extra)
        notices.Notice("mail")(context)
    ((to, mail),) = server.got
    assert (to, mail["From"]) == (["ops@shop.example"], "rporec@shop.example")
    assert mail["Subject"] == TEXT.replace("exit code 1", "<b>exit code 1")
    body = mail.get_body()
    assert body is not None
    assert "&lt;b&gt;exit code 1" in body.get_content()


def test_a_late_night_is_told_to_all(notices: ModuleType, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        _connect(monkeypatch, name, conn_type="http", port=receiver.server_port, extra={"endpoint": name})
    context = {"dag_run": {"dag_id": "nightly_retrain", "dag_run_id": "night"}, "deadline": {}}
    alert = notices.deadline(90.0, ["one", "two"])
    said = asyncio.run(notices.late(**alert.callback.kwargs, context=context))
    assert said == "RPORec: nightly_retrain is late: not done after 90 minutes (run night)"
    assert sorted((path, body["text"], body["event"]) for path, _, body in receiver.got) == [
        ("/one", said, "late"), ("/two", said, "late"),
    ]  # fmt: skip


def test_a_receiver_that_refuses_keeps_nothing_from_the_others(
    notices: ModuleType, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Airflow's own caller of notifiers."""
    import structlog
    from airflow.sdk.execution_time import task_runner

    _connect(monkeypatch, "away", conn_type="http", port=children.free_port())
    _connect(monkeypatch, "hook", conn_type="http", port=receiver.server_port)
    told = SimpleNamespace(on_failure_callback=notices.notifiers(["away", "nobody_knows_it", "hook"]))
    task_runner._run_task_state_change_callbacks(told, "on_failure_callback", dict(CONTEXT), structlog.get_logger())
    assert [body["text"] for _, _, body in receiver.got] == [TEXT]
    context = {"dag_run": {"dag_id": "d", "dag_run_id": "r"}}
    with pytest.raises(httpx.ConnectError):
        asyncio.run(notices.late(["away", "hook"], 1.0, context))
    assert receiver.got[-1][2]["event"] == "late"
