"""The guard's answers where a client, or all together, ask too much: the real application, called in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from starlette.testclient import TestClient

from bento import settings
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


def test_a_fault_of_ours_tells_nothing_of_the_inside(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret /path/of/ours")

    monkeypatch.setattr(runtime.desk, "answer", broken)
    client = TestClient(application(runtime), raise_server_exceptions=False, client=("10.0.0.3", 1))
    reply = client.post("/recommend", json={"history": []})
    assert (reply.status_code, reply.json()["error"]) == (500, "internal error")
    assert "secret" not in reply.text
    assert 'rporec_requests_total{route="/recommend",status="500"} 1.0' in client.get("/metrics").text
