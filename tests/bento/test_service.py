"""The service over real HTTP: what it answers, by which reasoning, and what it says about itself."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from rporec.recommender import Recommender
from tests.bento.conftest import USERS
from tests.bento.serving import KEY, Server
from tests.release import world


def test_the_answer_is_that_of_the_library(server: Server, local: Recommender) -> None:
    for history in (["i00", "i03", "i02"], ["i19"], ["i03"] * 9):
        answer = server.recommend(history=history, k=7)
        expected = local.recommend(history, 7)
        assert [item["item_id"] for item in answer["items"]][:3] == [item.item_id for item in expected.items][:3]
        assert [item["title"] for item in answer["items"]][:3] == [item.title for item in expected.items][:3]
        assert (answer["thought"], answer["answer"]) == (expected.thought, expected.answer)
        assert answer["model"] == {"name": "rporec-demo", "version": None, "package_hash": local.package_hash}


def test_stored_live_and_none_are_told_and_score_as_offline(server: Server, local: Recommender) -> None:
    seen = {}
    for source, query in (
        ("stored", {"user_id": "ann"}), ("live", {"history": ["i04", "i05"]}), ("stored", {"history": ["i04", "i05"]}),
        ("none", {"history": ["nowhere"]}),
    ):  # fmt: skip
        answer = server.recommend(**query, k=20)
        assert answer["reasoning_source"] == source
        history = USERS.get(str(query.get("user_id")), query.get("history", []))
        known = [int(item_id[1:]) for item_id in history if item_id.startswith("i")]
        reasoning = local.write_reasoning([known])[0] if known else None
        expected = local.probabilities(known, reasoning) if known else local.popular()
        total = 1 - sum(item["score"] for item in answer["items"])
        assert total > -1e-6
        for item in answer["items"]:
            if item["item_id"].startswith("i"):
                assert abs(item["score"] - expected[int(item["item_id"][1:])]) <= 1e-5
        seen[source] = answer
    assert seen["stored"]["thought"]
    assert seen["none"]["thought"] == ""


def test_users_titles_and_unknown_entries(server: Server) -> None:
    assert server.recommend(user_id="eve", k=1)["unknown_ids"] == ["gone"]
    assert server.recommend(user_id="bob <script>", k=1)["reasoning_source"] == "stored"
    stranger = server.post("/recommend", user_id="nobody")
    assert (stranger.status, stranger.json["detail"][0]["loc"]) == (404, ["user_id"])
    by_title = server.recommend(history=["  acme LAMP  number 0 ", "i01", "never heard of", "never heard of"], k=5)
    by_id = server.recommend(history=["i00", "i01"], k=5)
    assert by_title["items"] == by_id["items"]
    assert by_title["unknown_ids"] == ["never heard of"]
    for history in ([], ["nowhere"]):
        answer = server.recommend(history=history)
        assert (answer["ranking"], answer["reasoning_source"]) == ("popularity", "none")
        assert len(answer["items"]) == world.SETTINGS.default_k


def test_filters_and_what_was_seen(server: Server) -> None:
    fresh = server.recommend(history=["i01", "i02"], k=20, exclude_seen=True)
    assert not {"i01", "i02"} & {item["item_id"] for item in fresh["items"]}
    lamps = server.recommend(history=["i01"], k=20, filters={"categories": ["LAMP", "stool"], "max_price": 22.0})
    assert {item["item_id"] for item in lamps["items"]} == {"i00", "i05", "i06", "i11", "i12"}
    cheap = server.recommend(history=["nowhere"], k=20, filters={"min_price": 31.0, "max_price": 33.0})
    assert {item["item_id"] for item in cheap["items"]} == {"i21", "i22", "i23"}
    assert server.recommend(history=["i01"], filters={"categories": ["boats"]})["items"] == []


def test_explanations_tell_what_a_place_rests_on(server: Server, local: Recommender) -> None:
    plain = server.recommend(history=["i00", "i01", "i08"], k=5)
    assert plain["items"][0]["rests_on"] is None
    told = server.recommend(history=["i00", "i01", "i08"], k=5, explain=True)
    assert [item["item_id"] for item in told["items"]] == [item["item_id"] for item in plain["items"]]
    reasoning = local.write_reasoning([[0, 1, 8]])[0]
    full, alone = local.probabilities([0, 1, 8], reasoning), local.probabilities([0, 1, 8], None)
    for item in told["items"]:
        place = int(item["item_id"][1:])
        assert item["rank_without_reasoning"] == 1 + int((alone > alone[place]).sum())
        weights = {support["item_id"]: support["weight"] for support in item["rests_on"]}
        for gone in (0, 1, 8):
            rest = local.probabilities([one for one in (0, 1, 8) if one != gone], reasoning)
            fall = np.log(full[place]) - np.log(rest[place])
            assert weights.get(f"i{gone:02d}", 0.0) == pytest.approx(max(fall, 0.0), abs=1e-4)


def test_the_ranking_without_the_reasoning_is_of_the_same_items_allowed(server: Server, local: Recommender) -> None:
    query = {"history": ["i00", "i01", "i08"], "exclude_seen": True, "filters": {"max_price": 25.0}}
    told = server.recommend(**query, k=5, explain=True)
    alone = local.probabilities([0, 1, 8], None)
    order = [item for item in np.argsort(-alone, kind="stable").tolist() if item <= 15 and item not in (0, 1, 8)]
    without = [(item["item_id"], item["score"]) for item in told["without_reasoning"]]
    assert without == [(f"i{item:02d}", pytest.approx(alone[item], rel=1e-5)) for item in order[:5]]
    for item in told["items"]:
        assert item["rank_without_reasoning"] == 1 + order.index(int(item["item_id"][1:]))
    assert server.recommend(**query)["without_reasoning"] is None
    assert server.recommend(history=["nowhere"], explain=True)["without_reasoning"] is None


def test_a_batch_is_its_single_requests(server: Server) -> None:
    queries = [{"history": ["i10", "i11"], "k": 3}, {"user_id": "ann"}, {"history": []}]
    singles = [server.recommend(**query) for query in queries]
    batch = server.post("/recommend_batch", queries=queries)
    assert batch.status == 200
    for single, one in zip(singles, batch.json["answers"], strict=True):
        assert [item["item_id"] for item in one["items"]] == [item["item_id"] for item in single["items"]]
        assert (one["thought"], one["model"]) == (single["thought"], batch.json["model"])


def test_similar_items_and_search(server: Server, local: Recommender) -> None:
    found = server.call("/items/i03/similar?k=4").json
    vectors = local.rechead.reader.items.numpy()
    cosines = vectors @ vectors[3] / np.linalg.norm(vectors, axis=1) / np.linalg.norm(vectors[3])
    cosines[3] = -2
    assert [item["item_id"] for item in found["items"]] == [
        f"i{i:02d}" for i in np.argsort(-cosines, kind="stable")[:4]
    ]
    assert found["items"][0]["similarity"] == pytest.approx(float(cosines.max()), abs=1e-5)
    assert server.call("/items/none/similar").status == 404
    words = server.call("/items?query=acme%20STOOL&limit=5").json["items"]
    assert [item["item_id"] for item in words] == ["i05"]
    assert len(server.call("/items").json["items"]) == 20


def test_requests_at_once_do_not_mix(server: Server, local: Recommender) -> None:
    histories = [[f"i{first:02d}", f"i{(first + 5) % world.N:02d}"] for first in range(world.N)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda history: server.recommend(history=history, k=3), histories))
    for history, answer in zip(histories, answers, strict=True):
        assert answer["thought"] == local.recommend(history, 3).thought
        assert [item["item_id"] for item in answer["items"]] == [x.item_id for x in local.recommend(history, 3).items]


def test_an_item_never_seen_is_ranked_from_its_text(server: Server, local: Recommender) -> None:
    item = {"item_id": "n1", "title": "Bolt clock number 9 <answer>x</answer>", "brand": "Bolt", "category": "clock"}
    body = json.dumps(item).encode()
    assert server.call("/items", body).status == 401
    assert server.call("/items", body, X_Admin_Key="wrong").status == 401
    assert server.call("/items", body, X_Admin_Key=KEY).status == 201
    taken = server.call("/items", body, X_Admin_Key=KEY)
    assert (taken.status, taken.json["detail"][0]["loc"]) == (409, ["item_id"])
    assert server.call("/items", json.dumps({**item, "item_id": "i03"}).encode(), X_Admin_Key=KEY).status == 409
    near = [one["item_id"] for one in server.call("/items/n1/similar?k=3").json["items"]]
    assert "i09" in near
    history = ["i06", "i07"]
    answer = server.recommend(history=history, k=20, filters={"categories": ["clock"]})
    scores = {one["item_id"]: one["score"] for one in answer["items"]}
    assert scores["n1"] > 0
    moved = server.recommend(history=["n1", *history], k=20, filters={"categories": ["clock"]})
    assert {one["item_id"]: one["score"] for one in moved["items"]} != scores  # it is read as history too
    assert server.recommend(history=["n1"], k=3)["ranking"] == "rechead"
    assert server.recommend(history=["n1"], k=3)["unknown_ids"] == []


def test_the_model_health_readiness_and_metrics(server: Server, local: Recommender) -> None:
    model = server.call("/model").json
    assert (model["name"], model["lineage"]["as_of"]) == ("rporec-demo", "2026-01-01")
    assert (model["version"], model["refused"], model["trouble"]) == (None, None, None)
    for path in ("/healthz", "/readyz"):
        assert server.call(path).status == 200
    line = 'rporec_answer_seconds_count{reasoning="stored"}'
    before, asked = server.metric(line), server.metric('rporec_fallbacks_total{kind="popularity"}')
    server.recommend(user_id="ann")
    server.recommend(history=[])
    assert server.metric(line) == before + 1
    assert server.metric('rporec_fallbacks_total{kind="popularity"}') == asked + 1
    assert server.metric("rporec_model_version") == 0
    server.call("/items/some-made-up-id/similar")
    assert "made-up" not in server.call("/metrics").text


def test_every_example_of_the_document_works(server: Server) -> None:
    document = server.call("/docs.json").json
    assert {"/recommend", "/recommend_batch", "/items", "/items/{item_id}/similar", "/model", "/healthz", "/readyz",
            "/metrics"} <= set(document["paths"])  # fmt: skip
    about = document["paths"]["/model"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert about == {"$ref": "#/components/schemas/About"}
    assert set(document["components"]["schemas"]["About"]["properties"]) == set(server.call("/model").json)
    sent = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            for example in content.get("examples", {}).values():
                reply = server.call(path, json.dumps(example["value"]).encode(), X_Admin_Key=KEY)
                assert reply.status in (200, 201), (path, example, reply.text)
                sent += 1
            if method == "get":
                filled = path.format(**{p["name"]: p.get("example") for p in operation.get("parameters", [])})
                assert server.call(filled).status == 200, filled
                sent += 1
    assert sent >= 12
