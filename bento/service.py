"""The BentoML service: its life, and the application that it carries. Routes are `bento.api`, logic `rporec.serving`.

Health and readiness (`/healthz`, `/readyz`) are BentoML's own.
"""

from __future__ import annotations

import logging

import bentoml
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from bento import api, errors, openapi, settings
from bento.guard import Guard
from bento.runtime import Runtime, start
from rporec.errors import InputError

log = logging.getLogger("rporec.service")


def application() -> FastAPI:
    """Return the application with all routes; `state.runtime` is set when the service starts."""
    app = FastAPI(openapi_url=None)
    app.state.runtime = None
    app.include_router(api.router)
    app.add_middleware(Guard)
    errors.install(app)

    @app.get("/docs.json", include_in_schema=False)
    async def document(request: Request) -> JSONResponse:
        parts: Runtime = request.app.state.runtime
        return JSONResponse(openapi.document(app, parts))

    @app.get("/metrics", include_in_schema=False)
    async def metrics(request: Request) -> Response:
        parts: Runtime = request.app.state.runtime
        return Response(parts.meters.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return app


def speak() -> None:
    """Let our own log lines be seen: BentoML gives its own logger alone a handler."""
    logger = logging.getLogger("rporec")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False


app = application()


@bentoml.service(name="rporec", traffic={"timeout": 60}, metrics={"enabled": False})
@bentoml.asgi_app(app, path="/")
class RPORec:
    """Recommendations with their reasoning."""

    def __init__(self) -> None:
        try:
            self.runtime = start(settings.load())
        except InputError as error:
            log.error("%s", error.message())
            raise SystemExit(1) from None
        app.state.runtime = self.runtime
        speak()
        log.info("serving version %s of %s", self.runtime.served.version, self.runtime.served.name)

    def __is_ready__(self) -> bool:
        """Tell whether a model is loaded."""
        return self.runtime.champion.current is not None

    @bentoml.on_shutdown
    def close(self) -> None:
        """Stop threads, let go of the store."""
        self.runtime.close()
