"""The service as a process: its command and environment, and one of its own on a free port for whom wants to ask it.

Not what it answers (bento/), nor whether the answers are right (infra/smoke.py).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra import children, workspace
from infra.workspace import Workspace

ADDRESS = "RPOREC_SERVICE_URL"


def command(port: int) -> list[str]:
    """Return the command line of a service on the loopback."""
    where = ["--host", "127.0.0.1", "--port", str(port)]
    return [sys.executable, "-m", "bentoml", "serve", "bento.service:RPORec", *where]


def environment(space: Workspace) -> dict[str, str]:
    """Return the whole environment of the service of a workspace's champion."""
    env = {**os.environ, **workspace.environment(space)}
    for name in (workspace.MARK, workspace.RUN):
        env.pop(name)  # the service outlives runs, it is no orphan of one
    env.pop("RPOREC_PACKAGE", None)
    env.setdefault("BENTOML_HOME", str(space.home / "bentoml"))
    return env


@contextmanager
def own(space: Workspace, log: Path) -> Iterator[str]:
    """Run a service of the champion on a free port until the block ends; yield its address.

    Args:
        space: whose code, parameters and registry it runs with.
        log: takes what it prints.
    """
    port = children.free_port()
    log.parent.mkdir(parents=True, exist_ok=True)
    marks = {workspace.MARK: str(space.root), workspace.RUN: workspace.TOKEN}  # a killed caller's service is an orphan
    env = {**environment(space), **marks}
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(
            command(port), cwd=space.root, env=env, stdout=stream, stderr=stream, start_new_session=True
        )
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            children.end(process)
