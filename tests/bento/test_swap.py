"""Hot swap, shadow, Redis and the limits, on one service that follows a real registry."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rporec.recommender import Recommender
from rporec.release import audit, lookup, manifest, registry
from rporec.release.place import Place, client
from rporec.release.rollback import Wish, rollback
from tests.bento.serving import KEY, ROOMY, Server, lay_out, serving
from tests.release import world

MODEL = "rporec-demo"


def _register(place: Place, package: Path) -> int:
    """Make a version of a package, whatever it holds: the service must be the one that looks."""
    tags = {"package_hash": manifest.read(package).package_hash, "verdict": "pass"}
    return int(client(place).create_model_version(MODEL, package.as_uri(), tags=tags).version)


def _point(place: Place, alias: str, version: int) -> None:
    client(place).set_registered_model_alias(MODEL, alias, str(version))
    registry.mend(place, MODEL, "ada", wait_seconds=60.0)  # notes in the audit what serves


@pytest.fixture(scope="module")
def packages(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two whole packages whose popular items differ, and one with a flipped byte."""
    folder = tmp_path_factory.mktemp("packages")
    first = Path(shutil.copytree(workspace / "scratch/package", folder / "first"))
    world.write_package(folder / "second", workspace, mark="2")
    broken = Path(shutil.copytree(folder / "second", folder / "broken"))
    (broken / "card.md").write_text("another card")
    manifest.write(broken)
    weights = broken / "rechead/tower.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    return [first, folder / "second", broken]


@pytest.fixture(scope="module")
def place(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A registry with a registered model and no version."""
    home = tmp_path_factory.mktemp("registry")
    shutil.copy(template, home / "mlflow.db")
    place = Place(lookup.default_uri(home), home)
    client(place).create_registered_model(MODEL)
    return place


@pytest.fixture(scope="module")
def following(
    place: Place,
    packages: list[Path],
    redis_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """A service that serves version 1 and follows the alias; its store is Redis, and the shadow sees every request."""
    _point(place, "champion", _register(place, packages[0]))
    code = lay_out(tmp_path_factory.mktemp("following") / "code", **ROOMY, poll_seconds=0.2, shadow_share=1.0)
    with serving(code, place.home, RPOREC_STORE=redis_url) as found:
        yield found


def _version(server: Server) -> Any:
    return server.call("/model").json["version"]


@contextmanager
def _asked_throughout(server: Server, histories: list[list[str]]) -> Iterator[tuple[list[Any], list[str]]]:
    """Ask in four threads until the block ends; give queries with answers, and what failed."""
    ends, answers, failures = threading.Event(), [], []

    def ask(start: int) -> None:
        number = start
        while not ends.is_set():
            queries = [{"history": histories[(number + step) % len(histories)], "k": 3} for step in range(2)]
            reply = server.post("/recommend_batch", queries=queries)
            single = server.post("/recommend", **queries[0])
            if (reply.status, single.status) != (200, 200):
                failures.append(reply.text + single.text)
                return
            answers.append((queries, reply.json))
            number += 1

    workers = [threading.Thread(target=ask, args=(start,)) for start in range(4)]
    for worker in workers:
        worker.start()
    try:
        yield answers, failures
    finally:
        ends.set()
        for worker in workers:
            worker.join(60)


def test_a_swap_under_load_fails_no_request_and_mixes_no_models(
    following: Server, place: Place, packages: list[Path]
) -> None:
    assert _version(following) == 1
    item = {"item_id": "new", "title": "Acme lamp number 99"}
    assert following.call("/items", json.dumps(item).encode(), X_Admin_Key=KEY).status == 201
    hashes = {n: manifest.read(path).package_hash for n, path in enumerate(packages[:2], 1)}
    histories = [[f"i{first:02d}", f"i{first + 1:02d}"] for first in range(6)]
    locals_ = {hashes[n]: Recommender.load(path) for n, path in enumerate(packages[:2], 1)}
    thoughts = {key: {tuple(h): model.recommend(h, 1).thought for h in histories} for key, model in locals_.items()}
    with _asked_throughout(following, histories) as (answers, failures):
        second = _register(place, packages[1])
        for version in (second, 1, second):
            _point(place, "champion", version)
            following.until(f"version {version}", lambda version=version: _version(following) == version)
    assert not failures
    assert {answer["model"]["version"] for _, answer in answers} == {1, second}
    for queries, answer in answers:
        model = answer["model"]
        assert model["package_hash"] == hashes[model["version"]]
        for query, one in zip(queries, answer["answers"], strict=True):
            assert one["model"] == model
            assert one["thought"] == thoughts[model["package_hash"]][tuple(query["history"])]
    assert following.call("/items/new/similar").status == 200  # what was added stays
    assert following.metric("rporec_model_version") == second


def test_a_rollback_is_followed_under_load_without_a_restart(following: Server, place: Place) -> None:
    """The real rollback, as `make rollback TO=` does it: there, and back again by its number."""
    before = _version(following)
    back = 1 if before != 1 else 2
    with _asked_throughout(following, [["i02", "i03"], ["i09"]]) as (answers, failures):
        for version, replaced in ((back, before), (before, back)):
            done = rollback(place, MODEL, Wish(version, "ada", "complaints"), wait_seconds=0.0)
            assert (done.version.number, done.replaced) == (version, replaced)
            following.until(f"version {version}", lambda version=version: _version(following) == version)
            seen = len(answers)
            following.until("more answers", lambda seen=seen: len(answers) >= seen + 8 or failures)
    assert not failures
    assert {answer["model"]["version"] for _, answer in answers} == {before, back}
    assert all(one["model"] == answer["model"] for _, answer in answers for one in answer["answers"])
    assert following.log.read_text().count("serving version") == 1  # said when a worker starts
    acts = [(row.act, row.to_version) for row in audit.rows(place.audit, MODEL) if row.alias == "champion"]
    assert acts[-2:] == [("rollback", back), ("rollback", before)]


def test_a_package_that_fails_verification_leaves_the_old_one(
    following: Server, place: Place, packages: list[Path]
) -> None:
    before = _version(following)
    broken = _register(place, packages[2])
    _point(place, "champion", broken)
    following.until("the refusal", lambda: following.call("/model").json["refused"] is not None)
    model = following.call("/model").json
    assert (model["version"], model["refused"]["version"]) == (before, broken)
    assert "was changed" in model["refused"]["problem"]
    assert str(packages[2]) not in json.dumps(model)
    assert following.recommend(history=["i01"])["model"]["version"] == before
    _point(place, "champion", before)
    following.until("the end of the refusal", lambda: following.call("/model").json["refused"] is None)
    assert model["registered"]["verdict"] == "pass"


def test_the_shadow_scores_without_answering(following: Server, place: Place) -> None:
    champion = _version(following)
    assert following.metric("rporec_shadow_seconds_count") == 0
    other = 1 if champion != 1 else 2
    _point(place, "challenger", other)
    following.until("the challenger", lambda: following.call("/model").json["challenger"] == other)
    answer = following.recommend(history=["i07", "i08"], k=5)
    assert answer["model"]["version"] == champion
    following.until("a comparison", lambda: following.metric("rporec_shadow_seconds_count") >= 1)
    assert following.metric("rporec_shadow_overlap_sum") >= 1.0  # both packages rank alike
    assert f"shadow: version {other}, overlap 1.00" in following.log.read_text()
    client(place).delete_registered_model_alias(MODEL, "challenger")
    following.until("its end", lambda: following.call("/model").json["challenger"] is None)
    client(place).delete_registered_model_alias(MODEL, "champion")
    assert following.recommend(history=["i07"])["model"]["version"] == champion  # users keep what they have
    _point(place, "champion", champion)


def test_reasoning_is_shared_through_redis(following: Server) -> None:
    assert following.recommend(history=["i15", "i16"])["reasoning_source"] == "live"
    assert following.recommend(history=["i15", "i16"])["reasoning_source"] == "stored"
