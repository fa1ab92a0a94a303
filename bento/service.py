"""The BentoML service: its life, and the application that it carries. Routes are `bento.api`, logic `rporec.serving`.

Health and readiness (`/healthz`, `/readyz`) are BentoML's own.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import bentoml
from starlette.responses import JSONResponse

from bento import settings
from rporec.errors import InputError
from rporec.serving import memory

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

log = logging.getLogger("rporec.service")
# The server (uvicorn) takes a client's address from X-Forwarded-For where it trusts the peer, and unless it is told it
# trusts everything on this machine: anybody here could be another client with each request, and have no limit. It reads
# this variable after it has imported the service.
os.environ.setdefault("FORWARDED_ALLOW_IPS", "")


class Door:
    """Hands requests to the application, which stands behind it once a worker has loaded the model.

    So BentoML's parent process and the build, which read this file too, import neither torch nor the routes.
    """

    def __init__(self) -> None:
        self.app: ASGIApp = JSONResponse({"error": "the model is not loaded yet", "detail": []}, status_code=503)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request over."""
        await self.app(scope, receive, send)


door = Door()


@bentoml.service(name="rporec", traffic={"timeout": 60}, metrics={"enabled": False})
@bentoml.asgi_app(door, path="/")
class RPORec:
    """Recommendations with their reasoning."""

    def __init__(self) -> None:
        memory.few_arenas()  # first: libraries start threads when they are imported
        from bento.application import application
        from bento.runtime import start
        from rporec.release import record

        speak()
        logging.getLogger("bentoml.access").addFilter(OneLine())
        # Else a look for a new model that met an outage goes on for minutes after it.
        os.environ.setdefault(record.RETRIES, record.FEW)
        try:
            self.runtime = start(settings.load())
        except InputError as error:
            log.error("%s", error.message())
            raise SystemExit(1) from None
        door.app = application(self.runtime)
        log.info("serving version %s of %s", self.runtime.served.version, self.runtime.served.name)

    def __is_ready__(self) -> bool:
        """Tell whether a model is loaded."""
        return self.runtime.champion.current is not None

    @bentoml.on_shutdown
    def close(self) -> None:
        """Stop threads, let go of the store."""
        self.runtime.close()


class OneLine(logging.Filter):
    """Keeps a line of the log one line: BentoML writes the path that a caller asks for, with whatever it decodes to."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Show line ends and other characters that nobody prints by their escapes."""
        told = record.getMessage()
        if not told.isprintable():
            record.msg, record.args = told.encode("unicode_escape").decode("ascii"), ()
        return True


def speak() -> None:
    """Let our own log lines be seen: BentoML gives its own logger alone a handler."""
    logger = logging.getLogger("rporec")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
