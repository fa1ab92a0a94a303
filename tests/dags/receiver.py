"""A web server on the loopback that keeps what it is sent, for tests of notices."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class Receiver(HTTPServer):
    """A web server that keeps what was sent: path, login, JSON."""

    status = 200

    def __init__(self) -> None:
        self.got: list[tuple[str, str | None, Any]] = []
        super().__init__(("127.0.0.1", 0), Answer)


class Answer(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.got.append((self.path, self.headers.get("Authorization"), body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *given: object) -> None:
        """Be silent."""
