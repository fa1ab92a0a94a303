"""The application: routes, page, the guard before them, the form of refusals, the OpenAPI document, the metrics."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.responses import JSONResponse, Response

from bento import api, errors, front, openapi
from bento.guard import Guard
from bento.runtime import Runtime


def application(runtime: Runtime) -> FastAPI:
    """Return the application of a running service."""
    app = FastAPI(openapi_url=None)
    app.state.runtime = runtime
    app.include_router(api.router)
    app.add_middleware(Guard)
    errors.install(app)
    front.install(app)

    @app.get("/docs.json", include_in_schema=False)
    async def document() -> JSONResponse:
        return JSONResponse(openapi.document(app, runtime))

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(runtime.meters.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return app
