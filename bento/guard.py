"""The guard at the door: what a request may weigh and how often one may ask, decided before anything is parsed.

Health and readiness are BentoML's own routes and pass by it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import MutableMapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_KB = 1024
_BUSY_SECONDS = 1  # until a refused client may try again
_BODY_SECONDS = 10.0  # in which a body must have come: who sends slowly would keep others out of the room


class _RefusedError(Exception):
    def __init__(self, status: int, reason: str, told: str, retry_seconds: int = 0) -> None:
        super().__init__(told)
        self.status, self.reason, self.told, self.retry_seconds = status, reason, told, retry_seconds


class Guard:
    """ASGI middleware.

    Args:
        app: what is guarded; `app.state.runtime` holds the limits.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer 408, 413, 415, 429 or 503."""
        runtime = scope["app"].state.runtime if scope["type"] == "http" else None
        if runtime is None:
            await self._app(scope, receive, send)
            return
        status, begun, entered = 500, time.perf_counter(), False

        def leave() -> None:
            nonlocal entered
            if entered:
                entered = False
                runtime.room.leave()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                leave()  # the work is done: who reads the answer slowly keeps nobody out
            await send(message)

        try:
            wait = runtime.rate.wait_seconds(_client(scope))
            if wait:
                raise _RefusedError(429, "rate", "too many requests from this client", wait)
            entered = runtime.room.enter()
            if not entered:
                raise _RefusedError(503, "busy", "the service is busy", _BUSY_SECONDS)
            body = await _in_time(scope, receive, runtime.settings.serve.max_body_kb * _KB)
            await self._app(scope, _again(body, receive), noting)
        except _RefusedError as refused:
            runtime.meters.refusal(refused.reason)
            await _refuse(refused, noting)
        finally:
            leave()
            runtime.meters.request(_pattern(scope.get("route")), status, time.perf_counter() - begun)


def _pattern(route: Any) -> str:  # noqa: ANN401 - Starlette's routes share no base with a path
    """Return a route's pattern, "unmatched" where no route was reached."""
    return str(vars(route).get("path", "unmatched")) if route is not None else "unmatched"


def _client(scope: Scope) -> str:
    # The peer alone: a header that names another client can be written by anybody (`bento.service` sees to it).
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


async def _in_time(scope: Scope, receive: Receive, most: int) -> bytes:
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            return await _read(scope, receive, most)
    except TimeoutError:
        raise _RefusedError(408, "slow", f"the body did not come in {_BODY_SECONDS:g} s") from None


async def _read(scope: Scope, receive: Receive, most: int) -> bytes:
    headers = {name.lower(): value for name, value in scope["headers"]}
    too_large = _RefusedError(413, "size", f"the body is larger than {most} bytes")
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > most:
        raise too_large
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message: MutableMapping[str, Any] = await receive()
        if message["type"] != "http.request":
            break
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise too_large
        more = message.get("more_body", False)
    kind = headers.get(b"content-type", b"application/json").split(b";")[0].strip().lower()
    if scope["method"] == "POST" and kind != b"application/json":
        raise _RefusedError(415, "type", "the body must be application/json")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise _RefusedError(415, "type", "the body must not be compressed")
    return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    handed = False

    async def again() -> Message:
        nonlocal handed
        if handed:
            return await receive()
        handed = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _refuse(refused: _RefusedError, send: Send) -> None:
    headers = [(b"content-type", b"application/json")]
    if refused.retry_seconds:
        headers.append((b"retry-after", str(refused.retry_seconds).encode()))
    detail = [{"loc": [], "msg": refused.told, "type": refused.reason}]
    body = json.dumps({"error": refused.told, "detail": detail}).encode()
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
