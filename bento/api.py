"""The routes: typed requests in, typed answers out. What an answer is, is `rporec.serving`; who may ask, `bento.guard`.

One FastAPI application for all routes, mounted in the BentoML service: BentoML's own routes know neither GET nor path
parameters, and so errors, limits and the OpenAPI document are one for all.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable
from typing import Annotated, TypeVar

import anyio
import anyio.to_thread
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.security import APIKeyHeader
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from bento import answers, schemas
from bento.runtime import Runtime
from rporec.errors import InputError
from rporec.serving.added import admit

log = logging.getLogger("rporec.service")
router = APIRouter()
admin_key = APIKeyHeader(name="X-Admin-Key", auto_error=False, description="RPOREC_ADMIN_KEY of the service")
T = TypeVar("T")
ItemPath = Annotated[str, Path(min_length=1, max_length=512, description="an item's id")]


async def runtime(request: Request) -> Runtime:  # asynchronous, else FastAPI would ask a thread for it
    """Return the parts of the service that a route works with."""
    found: Runtime = request.app.state.runtime
    return found


Parts = Annotated[Runtime, Depends(runtime)]


async def work(parts: Runtime, task: Callable[[], T]) -> T:
    """Do blocking work in a thread; as many threads as requests are let in, so that none waits for another's budget."""
    return await anyio.to_thread.run_sync(task, limiter=_limiter(parts))


def sent(model: BaseModel, status: int = 200) -> Response:
    """Return a schema as it goes over the wire; it was built here, so it is not checked again."""
    return Response(model.model_dump_json(), status_code=status, media_type="application/json")


@router.post("/recommend", response_model=schemas.Recommended, tags=["recommend"])
async def recommend(query: schemas.Query, parts: Parts) -> Response:
    """Rank the catalogue for a history, or for a known user's."""
    served, ask = parts.served, answers.asked(query)
    # What is kept is told at once: handing it to a thread and back would take as long as all the rest.
    answer = parts.desk.at_once(served, ask) or await work(parts, lambda: parts.desk.answer(served, [ask])[0])
    parts.meters.answer(answer)
    if parts.shadow is not None:
        parts.shadow.offer(answer)
    return sent(answers.told(answer))


@router.post("/recommend_batch", response_model=schemas.RecommendedBatch, tags=["recommend"])
async def recommend_batch(batch: schemas.BatchQuery, parts: Parts) -> Response:
    """Answer several requests by one model; reasoning that is not stored is written for all of them together."""
    most = parts.settings.serve.max_batch
    if len(batch.queries) > most:
        raise InputError(
            "the batch is too large", field="queries", value=len(batch.queries), rule=f"at most {most} queries",
            cure="ask in several batches",
        )  # fmt: skip

    def task() -> schemas.RecommendedBatch:
        served = parts.served
        found = parts.desk.answer(served, [answers.asked(query) for query in batch.queries])
        for answer in found:
            parts.meters.answer(answer)
        return schemas.RecommendedBatch(answers=[answers.told(one) for one in found], model=answers.info(served))

    return sent(await work(parts, task))


@router.get("/items", response_model=schemas.FoundItems, tags=["items"])
async def search(
    parts: Parts,
    query: Annotated[
        str, Query(max_length=256, description="words; all must occur in title, brand, category or id")
    ] = "",
    limit: Annotated[int, Query(ge=1, le=100, description="items")] = 20,
) -> Response:
    """Search the catalogue; without words, the most bought items."""
    return sent(await work(parts, lambda: answers.found(parts.served, query, limit)))


@router.get("/items/{item_id:path}/similar", response_model=schemas.Similar, tags=["items"])
async def similar(
    item_id: ItemPath, parts: Parts, k: Annotated[int, Query(ge=1, le=100, description="items")] = 10
) -> Response:
    """Return the items whose texts are most like an item's."""
    return sent(await work(parts, lambda: answers.similar(parts.served, item_id, k)))


@router.post("/items", response_model=schemas.CatalogueItem, status_code=201, tags=["items"])
async def add_item(
    body: schemas.ItemBody, parts: Parts, key: Annotated[str | None, Depends(admin_key)] = None
) -> Response:
    """Add an item that the model has never seen to the running catalogue; it is ranked from its text."""
    check_key(parts.settings.admin_key, key)

    def task() -> schemas.CatalogueItem:
        admit(parts.champion, parts.store, answers.new_item(body))
        return answers.catalogue_item(parts.served, body.item_id)

    return sent(await work(parts, task), 201)


@router.get("/model", response_model=schemas.About, tags=["model"])
async def model(parts: Parts) -> Response:
    """Say which model answers: version, lineage, verdict, freshness, limits, and what was refused last."""
    return sent(schemas.About.model_validate(await work(parts, parts.describe)))


def check_key(expected: str, given: str | None) -> None:
    """Refuse whoever does not hold the admin key.

    Raises:
        HTTPException: 403 where the service was given none, 401 where the caller's is missing or wrong.
    """
    if not expected:
        raise HTTPException(403, "admin routes are closed: the service was started without RPOREC_ADMIN_KEY")
    # In constant time, else the key could be guessed letter by letter.
    if not hmac.compare_digest((given or "").encode(), expected.encode()):
        raise HTTPException(401, "the header X-Admin-Key is missing or wrong")


_LIMITERS: dict[int, anyio.CapacityLimiter] = {}


def _limiter(parts: Runtime) -> anyio.CapacityLimiter:
    most = parts.settings.serve.max_concurrency
    if most not in _LIMITERS:
        _LIMITERS[most] = anyio.CapacityLimiter(most)
    return _LIMITERS[most]
