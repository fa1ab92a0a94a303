"""Who is told of a failed task and a late night: Airflow notifiers by connection id (`nights.notify`).

The type of the connection says how: `smtp` by Airflow's own mail notifier, `slackwebhook` as Slack wants it, anything
else as JSON over HTTP. Addresses and secrets stay in the connections. The callback of a deadline runs in Airflow's
triggerer, which finds this module by PYTHONPATH alone; see docs/nights.md. No DAG.
"""

from __future__ import annotations

import asyncio
import html
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import AsyncCallback, BaseHook, BaseNotifier, DeadlineAlert, DeadlineReference

if TYPE_CHECKING:
    from airflow.sdk import Connection

_SECONDS = 10.0  # that a receiver may take


class Notice(BaseNotifier):
    """Tells one connection of a failed task.

    Args:
        connection: its id in Airflow.
    """

    def __init__(self, connection: str) -> None:
        super().__init__()
        self.connection = connection

    def notify(self, context: Mapping[str, Any]) -> None:
        """Send what failed; an error of the sending is logged by Airflow, which goes on with the next notifier."""
        send(BaseHook.get_connection(self.connection), failed(context))


def notifiers(connections: Sequence[str]) -> list[Notice]:
    """Return one notifier for each connection id."""
    return [Notice(connection) for connection in connections]


def deadline(minutes: float, connections: Sequence[str]) -> DeadlineAlert:
    """Return the alert of a run that is not done so many minutes after it began."""
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(minutes=minutes),
        callback=AsyncCallback(late, kwargs={"connections": list(connections), "minutes": minutes}),
    )


async def late(connections: Sequence[str], minutes: float, context: Mapping[str, Any]) -> str:
    """Tell every connection that a run is late; what is returned stands with the callback in Airflow."""
    run = context["dag_run"]
    text = f"RPORec: {run['dag_id']} is late: not done after {minutes:g} minutes (run {run['dag_run_id']})"
    told = {"text": text, "event": "late", "dag_id": run["dag_id"], "run_id": run["dag_run_id"]}
    sent = await asyncio.gather(*(_send(connection, told) for connection in connections), return_exceptions=True)
    for outcome in sent:
        if isinstance(outcome, BaseException):
            raise outcome  # only now: one that cannot be reached keeps nothing from the others
    return text


async def _send(connection: str, told: Mapping[str, str]) -> None:
    await asyncio.to_thread(send, await BaseHook.aget_connection(connection), told)


def failed(context: Mapping[str, Any]) -> dict[str, str]:
    """Return what is told of a failed task: `text` for people, ids for machines."""
    task = context["ti"]
    first = (str(context.get("exception") or "").splitlines() or [""])[0]
    text = f"RPORec: task {task.task_id} of {task.dag_id} failed (run {task.run_id}, try {task.try_number}): {first}"
    return {"text": text, "event": "failed", "dag_id": task.dag_id, "task_id": task.task_id, "run_id": task.run_id}


def send(connection: Connection, told: Mapping[str, str]) -> None:
    """Send a notice the way that the connection's type wants it.

    Raises:
        httpx.HTTPError: the receiver did not answer or refused.
    """
    if connection.conn_type == "smtp":
        from airflow.providers.smtp.notifications.smtp import SmtpNotifier

        to, body = connection.extra_dejson["to"], html.escape(told["text"])
        SmtpNotifier(to, subject=told["text"], html_content=body, smtp_conn_id=connection.conn_id).notify({})
        return
    import httpx

    slack = connection.conn_type == "slackwebhook"
    secret = connection.password or ""
    headers = {} if slack or not secret else {"Authorization": f"Bearer {secret}"}
    path = secret if slack else connection.extra_dejson.get("endpoint", "")
    body = {"text": told["text"]} if slack else dict(told)
    httpx.post(_url(connection, path), json=body, headers=headers, timeout=_SECONDS).raise_for_status()


def _url(connection: Connection, path: str) -> str:
    host = connection.host or ""
    base = host if "://" in host else f"{connection.schema or 'http'}://{host}"
    port = f":{connection.port}" if connection.port else ""
    return f"{base.rstrip('/')}{port}/{path.lstrip('/')}"
