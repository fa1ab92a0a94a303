"""The guard's answers where a client, or all together, ask too much: the real application, called in this process."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import yaml
from starlette.testclient import TestClient

from bento import guard, service, settings
from bento.application import application
from bento.runtime import Runtime, start
from tests.release import world


@pytest.fixture(scope="module")
def runtime(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    folder = tmp_path_factory.mktemp("limits")
    params = yaml.safe_load((world.ROOT / "params.yaml").read_text())
    params["serve"] |= {"client_rate": 0.001, "client_burst": 4, "max_concurrency": 2}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RPOREC_PACKAGE", str(workspace / "scratch/package"))
        patch.delenv("RPOREC_HOME", raising=False)
        found = start(settings.load(folder))
    assert (folder / "var/serving.db").exists()
    yield found
    found.close()


def test_limits_tell_when_to_come_back(runtime: Runtime) -> None:
    client = TestClient(application(runtime), raise_server_exceptions=False, client=("10.0.0.1", 1))
    assert client.post("/items", json={"item_id": "x", "title": "t"}, headers={"X-Admin-Key": ""}).status_code == 403
    assert runtime.room.enter()
    assert runtime.room.enter()
    busy = client.get("/model")
    assert (busy.status_code, busy.headers["retry-after"], busy.json()["error"]) == (503, "1", "the service is busy")
    runtime.room.leave()
    assert client.get("/model").status_code == 200
    assert client.get("/nowhere").status_code == 404
    slower = client.get("/model", headers={"X-Forwarded-For": "1.2.3.4"})
    assert (slower.status_code, int(slower.headers["retry-after"]) > 100) == (429, True)
    other = TestClient(application(runtime), client=("10.0.0.2", 1))
    assert other.get("/model").status_code == 200
    runtime.room.leave()


def _scope(method: str, path: str, peer: str, **more: str) -> dict[str, Any]:
    named = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in more.items()}}
    headers = [(name.encode(), value.encode()) for name, value in named.items()]
    return {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "scheme": "http", "headers": headers, "client": (peer, 1), "server": ("service", 80), "http_version": "1.1",
        "asgi": {"version": "3.0"}, "extensions": {}, "state": {},
    }  # fmt: skip


def test_a_body_that_does_not_come_is_not_waited_for(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_BODY_SECONDS", 0.05)
    sent: list[Any] = []

    async def never() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    async def keep(message: Any) -> None:
        sent.append(message)

    asyncio.run(application(runtime)(_scope("POST", "/recommend", "10.0.0.4"), never, keep))
    assert sent[0]["status"] == 408
    assert b"did not come in" in sent[1]["body"]
    assert [runtime.room.enter(), runtime.room.enter()] == [True, True], "nobody is in the room any more"
    runtime.room.leave()
    runtime.room.leave()


def test_a_header_makes_nobody_another_client(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the server's own handling of proxies, as it stands once the service was imported: peers here are many."""
    monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)
    importlib.reload(service)
    config = uvicorn.Config(application(runtime), log_config=None)
    config.load()
    statuses = []

    async def nothing() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def keep(message: Any) -> None:
        statuses.extend([message["status"]] if message["type"] == "http.response.start" else [])

    for number in range(5):
        scope = _scope("GET", "/model", "127.0.0.1", x_forwarded_for=f"10.1.1.{number}")
        asyncio.run(config.loaded_app(scope, nothing, keep))
    assert statuses == [200] * 4 + [429]


def test_a_path_writes_no_line_of_its_own_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    access = logging.getLogger("tests.access")
    access.addFilter(service.OneLine())
    with caplog.at_level("INFO", "tests.access"):
        for path in ("/items", "/x\r\n2026-11-21 served \x1b[31mby nobody", "/lampe ü"):
            access.info("%s (path=%s) %.1fms", "10.0.0.1", path, 0.4)
    told = [record.getMessage() for record in caplog.records]
    assert told[0] == "10.0.0.1 (path=/items) 0.4ms"
    assert told[1] == r"10.0.0.1 (path=/x\r\n2026-11-21 served \x1b[31mby nobody) 0.4ms"
    assert told[2] == "10.0.0.1 (path=/lampe ü) 0.4ms"


def test_who_reads_the_answer_slowly_keeps_nobody_out(runtime: Runtime) -> None:
    seen: list[bool] = []

    async def nothing() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def slow(message: Any) -> None:
        if message["type"] == "http.response.body":
            seen.extend([runtime.room.enter(), runtime.room.enter()])
            runtime.room.leave()
            runtime.room.leave()

    asyncio.run(application(runtime)(_scope("GET", "/model", "10.0.0.5"), nothing, slow))
    assert seen[:2] == [True, True]
    assert [runtime.room.enter(), runtime.room.enter(), runtime.room.enter()] == [True, True, False]
    runtime.room.leave()
    runtime.room.leave()


def test_a_fault_of_ours_tells_nothing_of_the_inside(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret /path/of/ours")

    monkeypatch.setattr(runtime.desk, "answer", broken)
    client = TestClient(application(runtime), raise_server_exceptions=False, client=("10.0.0.3", 1))
    reply = client.post("/recommend", json={"history": []})
    assert (reply.status_code, reply.json()["error"]) == (500, "internal error")
    assert "secret" not in reply.text
    assert 'rporec_requests_total{route="/recommend",status="500"} 1.0' in client.get("/metrics").text
