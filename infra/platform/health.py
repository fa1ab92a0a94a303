"""Whether a part of the platform does its work, asked from outside as its users do."""

from __future__ import annotations

import datetime as dt
import json
import urllib.error
import urllib.request
from typing import Any

from infra.platform.parts import SERVICE, WAITING, WORKER
from infra.platform.settings import Settings

_SECONDS = 10.0  # for one answer
_BEATS = {"scheduler": "scheduler", "dag-processor": "dag_processor", "triggerer": "triggerer"}
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the loopback is reached without a proxy


def healthy(name: str, settings: Settings, since: dt.datetime) -> bool:
    """Tell whether a part that was started at `since` (UTC) is healthy by now."""
    pages = settings.pages
    if name == "mlflow":
        return _answers(f"{pages['mlflow']}/health") is not None
    if name == SERVICE:
        return waits(settings) or _answers(f"{pages[SERVICE]}/readyz") is not None
    if name == "worker":
        return _worker(settings.redis or "")
    told = _answers(f"{pages['airflow']}/api/v2/monitor/health")
    if told is None:
        return False
    about = json.loads(told)
    return name == "airflow" or _beats(about[_BEATS[name]], _BEATS[name], since)


def waits(settings: Settings) -> bool:
    """Tell whether the service waits for the first champion."""
    return (settings.folder / WAITING).exists()


def _answers(address: str) -> bytes | None:
    try:
        with _DIRECT.open(address, timeout=_SECONDS) as answer:
            return bytes(answer.read())
    except (OSError, urllib.error.HTTPError):
        return None


def _beats(about: dict[str, Any], name: str, since: dt.datetime) -> bool:
    """Tell whether a heart beats; the last beat of an earlier start counts for nothing."""
    last = about.get(f"latest_{name}_heartbeat")
    return about["status"] == "healthy" and last is not None and dt.datetime.fromisoformat(last) >= since


def _worker(redis: str) -> bool:
    from celery import Celery

    with Celery(broker=redis, set_as_current=False) as app:
        return bool(app.control.ping(destination=[WORKER], timeout=2.0))
