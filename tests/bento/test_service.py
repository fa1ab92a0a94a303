"""The service over real HTTP: `bentoml serve` in a process group of its own, with the toy package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rporec.recommender import Recommender
from tests import servers
from tests.release import world

_START_SECONDS = 300  # two interpreters import everything, on a busy machine without compiled files


class Service:
    """A running service, and the one call that tests need."""

    def __init__(self, address: str, log: Path) -> None:
        self.address, self.log = address, log

    def call(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        """Return status and JSON (or text) of a GET, or of a POST when there is a body."""
        request = urllib.request.Request(f"{self.address}{path}", body, {"Content-Type": "application/json", **headers})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text

    def recommend(self, **query: object) -> tuple[int, Any]:
        return self.call("/recommend", json.dumps(query).encode())


@pytest.fixture(scope="module")
def service(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    port = servers.free_port()
    folder = tmp_path_factory.mktemp("service")
    settings = {"RPOREC_PACKAGE": str(workspace / "scratch/package"), "BENTOML_HOME": str(folder / "bentoml")}
    command = ["bentoml", "serve", "bento.service:RPORec", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=world.ROOT, env={**os.environ, **settings, "OMP_NUM_THREADS": "1"},
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    found = Service(f"http://127.0.0.1:{port}", folder / "log")
    try:
        _wait(found, process)
        yield found
    finally:
        servers.end(process)


def _wait(service: Service, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{service.address}/readyz", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"the service did not start:\n{service.log.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def local(workspace: Path) -> Recommender:
    return Recommender.load(workspace / "scratch/package")


def test_the_answer_is_that_of_the_library(service: Service, local: Recommender) -> None:
    for history in (["i00", "i01", "i02"], ["i20"], ["i03"] * 9):
        status, answer = service.recommend(history=history, k=7)
        expected = local.recommend(history, 7)
        assert status == 200
        assert [item["item_id"] for item in answer["items"]] == [item.item_id for item in expected.items]
        assert [item["title"] for item in answer["items"]] == [item.title for item in expected.items]
        np.testing.assert_allclose(
            [item["score"] for item in answer["items"]], [item.score for item in expected.items], atol=1e-5
        )
        assert (answer["thought"], answer["answer"]) == (expected.thought, expected.answer)
        assert answer["reasoning_source"] == "live"
        assert answer["model"] == {"name": "rporec-demo", "version": None, "package_hash": local.package_hash}


def test_unknown_ids_are_reported_and_an_unknown_history_gets_the_popular_items(service: Service) -> None:
    _, answer = service.recommend(history=["i01", "nowhere"], k=2)
    assert (answer["unknown_ids"], answer["ranking"]) == (["nowhere"], "rechead")
    for history in ([], ["nowhere"]):
        status, answer = service.recommend(history=history)
        assert (status, answer["ranking"], answer["reasoning_source"]) == (200, "popularity", "none")
        assert len(answer["items"]) == world.SETTINGS.default_k


def test_options(service: Service) -> None:
    _, shown = service.recommend(history=["i01", "i02"], k=20)
    _, hidden = service.recommend(history=["i01", "i02"], k=20, explain=False)
    assert shown["thought"]
    assert (hidden["thought"], hidden["answer"], hidden["items"]) == ("", "", shown["items"])
    _, fresh = service.recommend(history=["i01", "i02"], k=20, exclude_seen=True)
    assert not {"i01", "i02"} & {item["item_id"] for item in fresh["items"]}


@pytest.mark.parametrize(
    "body",
    [
        b"", b"nope", b"null", b"[]", b'"text"', b"{}", b'{"k": 3}', b'{"history": "i01"}', b'{"history": [1]}',
        b'{"history": [""]}', b'{"history": [null]}', b'{"history": {"a": 1}}', b'{"history": ["i01"], "k": 0}',
        b'{"history": ["i01"], "k": -1}', b'{"history": ["i01"], "k": 21}', b'{"history": ["i01"], "k": "3"}',
        b'{"history": ["i01"], "k": true}', b'{"history": ["i01"], "k": 1.5}', b'{"history": ["i01"], "explain": "no"}',
        b'{"history": ["i01"], "other": 1}', b'{"history": ["' + b"x" * 300 + b'"]}',
        json.dumps({"history": ["i01"] * 31}).encode(), json.dumps({"history": ["i01"] * 10_001}).encode(),
        b'{"history": ["\xff\xfe"]}',
    ],
)  # fmt: skip
def test_a_bad_request_gets_400_and_says_why(service: Service, body: bytes) -> None:
    status, answer = service.call("/recommend", body)
    assert status == 400, answer
    assert answer["error"]
    assert answer["detail"][0]["msg"]
    assert "Traceback" not in json.dumps(answer)


def test_a_pickled_request_is_refused(service: Service) -> None:
    status, _ = service.call("/recommend", b"\x80\x04N.", **{"Content-Type": "application/vnd.bentoml+pickle"})
    assert status == 415


def test_the_model_health_readiness_metrics_and_openapi_answer(service: Service) -> None:
    status, model = service.call("/model")
    assert status == 200
    assert (model["name"], model["items"], model["lineage"]["as_of"]) == ("rporec-demo", world.N, "2026-01-01")
    for path in ("/healthz", "/readyz"):
        assert service.call(path)[0] == 200
    assert "bentoml_service_request" in service.call("/metrics")[1]
    assert "/recommend" in service.call("/docs.json")[1]["paths"]


def test_requests_at_once_do_not_mix(service: Service, local: Recommender) -> None:
    histories = [[f"i{first:02d}", f"i{(first + 5) % world.N:02d}"] for first in range(world.N)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda history: service.recommend(history=history, k=3), histories))
    for history, (status, answer) in zip(histories, answers, strict=True):
        assert status == 200
        assert [item["item_id"] for item in answer["items"]] == [x.item_id for x in local.recommend(history, 3).items]
