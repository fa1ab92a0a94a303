"""Calls of Airflow's REST interface, as a user who has logged in."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from typing import Any

_SECONDS = 60  # a busy machine answers late


def call(
    base: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    method: str | None = None,
    login: Mapping[str, str] | None = None,
) -> Any:
    """Return what Airflow answers: to GET, to POST where there is a body, or to another method.

    Args:
        base: address of the API server.
        path: below /api/v2/.
        body: what is sent as JSON.
        method: of the request.
        login: `username` and `password`; None where Airflow lets everybody in.
    """
    token = _json(f"{base}/auth/token", login)["access_token"]
    return _json(f"{base}/api/v2/{path}", body, method, Authorization=f"Bearer {token}")


def _json(address: str, body: Mapping[str, Any] | None, method: str | None = None, **headers: str) -> Any:
    request = urllib.request.Request(
        address, method=method, data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **headers},
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
        return json.load(answer)
