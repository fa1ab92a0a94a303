"""A real service for tests: code and params.yaml laid out in a folder of their own, `bentoml serve` on a free port."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from infra import children
from tests import project
from tests.release import world
from tests.waiting import until

KEY = "let me in"
_START_SECONDS = 300  # two interpreters import everything, on a busy machine without compiled files
ROOMY = {"live_seconds": 30.0, "client_rate": 1e6, "client_burst": 1_000_000, "max_body_kb": 64, "max_batch": 4}


@dataclass(frozen=True)
class Reply:
    """An HTTP answer; `json` is None where the body is none."""

    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def json(self) -> Any:
        try:
            return json.loads(self.text)
        except ValueError:
            return None


@dataclass(frozen=True)
class Server:
    """A running service, and the calls that tests need."""

    address: str
    log: Path
    home: Path

    def call(self, path: str, body: bytes | None = None, method: str | None = None, **headers: str) -> Reply:
        """GET, or POST when there is a body."""
        named = {
            "Content-Type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        request = urllib.request.Request(f"{self.address}{path}", body, named, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return Reply(answer.status, answer.read().decode(), dict(answer.headers))
        except urllib.error.HTTPError as error:
            return Reply(error.code, error.read().decode(), dict(error.headers))

    def post(self, path: str, **body: object) -> Reply:
        return self.call(path, json.dumps(body).encode())

    def recommend(self, **query: object) -> Any:
        reply = self.post("/recommend", **query)
        assert reply.status == 200, reply.text
        return reply.json

    def metric(self, line: str) -> float:
        """Return the value of one line of /metrics, 0 where it is not there."""
        for row in self.call("/metrics").text.splitlines():
            if row.startswith(f"{line} "):
                return float(row.rsplit(" ", 1)[1])
        return 0.0

    def until(self, what: str, holds: Any, seconds: float = 120) -> None:
        """Wait until something holds; the limit only ends a test that hangs."""
        until(what, holds, seconds, told=self.log.read_text, pause=0.05)


def lay_out(folder: Path, **serve: object) -> Path:
    """Copy the code that serves, with a params.yaml whose section `serve` differs so."""
    for name in ("bento", "rporec"):
        shutil.copytree(world.ROOT / name, folder / name)
    params = yaml.safe_load((world.ROOT / "params.yaml").read_text())
    params["serve"] |= serve
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return folder


@contextmanager
def serving(folder: Path, home: Path, **environment: str) -> Iterator[Server]:
    """Serve what `lay_out` made until the block ends."""
    port, log = children.free_port(), folder / "log"
    settings = {"RPOREC_HOME": str(home), "BENTOML_HOME": str(folder / "bentoml"), "RPOREC_ADMIN_KEY": KEY}
    command = ["bentoml", "serve", "bento.service:RPORec", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=folder, stdout=stream, stderr=stream, start_new_session=True,
            env=project.environment({**settings, **environment}),
        )  # fmt: skip
    found = Server(f"http://127.0.0.1:{port}", log, home)
    try:
        ready = partial(_ready, found)
        until("the service is ready", ready, _START_SECONDS, processes=[process], told=log.read_text, pause=0.2)
        yield found
    finally:
        children.end(process)


def _ready(server: Server) -> bool:
    try:
        return server.call("/readyz").status == 200
    except OSError:
        return False
