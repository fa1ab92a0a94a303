"""A real PostgreSQL for tests: on a free loopback port, as a user that is not root, ended whole."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from infra import children
from tests.waiting import until

USER, PASSWORD = "ada", "hush: p@ss/word%"


def programs() -> Path:
    """Return the folder of PostgreSQL's programs; without one the test is skipped, in CI it fails."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if (found := shutil.which("initdb")) is not None:
        places.insert(0, Path(found).resolve().parent)
    for place in places:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    reason = "no PostgreSQL server is installed here (Debian: apt-get install postgresql)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def server(**settings: str) -> Iterator[str]:
    """Start a PostgreSQL with an empty database, with more environment variables; yield its URL's host and port."""
    where, port = programs(), children.free_port()
    home = Path(tempfile.mkdtemp(prefix="rporec-postgres-"))  # pytest's own folders may be closed to other users
    own = _user()
    secret = home / "password"
    secret.write_text(PASSWORD)
    if own:
        for path in (home, secret):
            shutil.chown(path, own["user"], own["group"])
    data = home / "data"
    made = [where / "initdb", "-D", data, "-U", USER, "-A", "scram-sha-256", "--pwfile", secret, "-E", "UTF8"]
    subprocess.run([*made, "--locale=C", "--no-sync"], check=True, capture_output=True, cwd=home, **own)
    options = ["-h", "127.0.0.1", "-p", str(port), "-c", "unix_socket_directories=", "-c", "fsync=off"]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [where / "postgres", "-D", data, *options], cwd=home, env={**os.environ, **settings},
            start_new_session=True, stdout=log, stderr=log, **own,
        )  # fmt: skip
    try:
        told = (home / "log").read_text
        until(
            "PostgreSQL answers", partial(_answers, port), processes=[process], told=told, no=psycopg.OperationalError
        )
        yield f"127.0.0.1:{port}"
    finally:
        children.end(process)
        shutil.rmtree(home, ignore_errors=True)


def _user() -> dict[str, Any]:
    """Return how a program is started as somebody else than root."""
    if os.getuid():
        return {}
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    found = known.get("postgres") or known["nobody"]
    return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}


def _answers(port: int) -> bool:
    psycopg.connect(host="127.0.0.1", port=port, user=USER, password=PASSWORD, dbname="postgres").close()
    return True
