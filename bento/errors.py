"""How a refusal looks: `{"error": ..., "detail": [{"loc", "msg", "type"}]}`, and never what went on inside."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from bento.answers import UnknownItemError
from rporec.errors import InputError
from rporec.serving.added import FullError, TakenError
from rporec.serving.desk import UnknownUserError
from rporec.serving.store import StoreError

log = logging.getLogger("rporec.service")
_MOST_PROBLEMS = 10  # a batch can be wrong in ten thousand places


def refuse(status: int, error: str, detail: Sequence[dict[str, object]] = (), **headers: str) -> Response:
    """Return a refusal. What the caller sent is not repeated: it may be large, or no valid text."""
    body = json.dumps({"error": error, "detail": list(detail)})
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(body, status_code=status, media_type="application/json", headers=named)


def install(app: FastAPI) -> None:
    """Give every kind of failure its status and body."""

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> Response:
        problems = [
            {"loc": [part for part in one["loc"] if part != "body"], "msg": one["msg"], "type": one["type"]}
            for one in error.errors()[:_MOST_PROBLEMS]
        ]
        return refuse(400, "the request breaks its schema", problems)

    @app.exception_handler(InputError)
    async def _input(_: Request, error: InputError) -> Response:
        rule = f"{error.problem}: {error.rule}" if error.rule else error.problem
        return refuse(400, error.problem, [{"loc": [error.field or ""], "msg": rule, "type": "out_of_range"}])

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> Response:
        return refuse(error.status_code, str(error.detail), [_problem([], str(error.detail), "http")])

    @app.exception_handler(StoreError)
    async def _store(_: Request, error: StoreError) -> Response:
        log.warning("the store failed: %s", error)
        told = "the store cannot be reached now"
        return refuse(503, told, [_problem([], told, "store")], Retry_After="5")

    _plain(app, UnknownUserError, 404, "unknown user: send a history", ["user_id"])
    _plain(app, UnknownItemError, 404, "no item has this id", ["item_id"])
    _plain(app, TakenError, 409, "an item of this id is in the catalogue already", ["item_id"])
    _plain(app, FullError, 409, "too many items were added; a new model should learn them", ["item_id"])

    @app.exception_handler(Exception)
    async def _ours(_: Request, error: Exception) -> Response:  # noqa: ARG001 - Starlette logs it with its traceback
        return refuse(500, "internal error", [_problem([], "internal error", "internal")])


def _plain(app: FastAPI, kind: type[Exception], status: int, told: str, loc: list[str]) -> None:
    async def answer(_: Request, error: Exception) -> Response:  # noqa: ARG001 - what was asked is not repeated
        return refuse(status, told, [_problem(loc, told, kind.__name__)])

    app.add_exception_handler(kind, answer)


def _problem(loc: list[str], told: str, kind: str) -> dict[str, object]:
    return {"loc": loc, "msg": told, "type": kind}
