"""The OpenAPI document: one for all routes, with examples of the catalogue that serves, so that each can be sent."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from bento.runtime import Runtime
from bento.schemas import Refused

_ABOUT = "Recommendations with their reasoning (RPORec)."
_REFUSALS = {
    "400": "the request breaks its schema or a limit of the model",
    "408": "the body did not come in time",
    "413": "the body is too large",
    "415": "the body is not JSON",
    "429": "too many requests from this client; see Retry-After",
    "503": "busy, or the store is away; see Retry-After",
}
_OWN_REFUSALS = {
    ("/recommend", "post"): {"404": "unknown user"},
    ("/recommend_batch", "post"): {"404": "unknown user"},
    ("/items", "post"): {"401": "wrong key", "403": "no key is set", "409": "the id is taken"},
    ("/items/{item_id}/similar", "get"): {"404": "unknown item"},
}
_BENTOML = {
    "/healthz": "whether the process lives",
    "/livez": "the same",
    "/readyz": "whether a model is loaded",
    "/metrics": "metrics for Prometheus, as text",
}


def document(app: FastAPI, parts: Runtime) -> dict[str, Any]:
    """Return the whole OpenAPI document."""
    found = get_openapi(title="rporec", version="1", summary=_ABOUT, routes=app.routes)
    schemas = found["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own form, which is not answered here
        schemas.pop(name, None)
    refused = Refused.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(refused.pop("$defs"))
    schemas["Refused"] = refused
    found["paths"] = {path.replace(":path}", "}"): item for path, item in found["paths"].items()}
    for path, item in found["paths"].items():
        for method, operation in item.items():
            operation["responses"].pop("422", None)
            told = {**_REFUSALS, **_OWN_REFUSALS.get((path, method), {})}
            operation["responses"].update({status: _refusal(text) for status, text in told.items()})
    for path, told in _BENTOML.items():
        text = {"200": {"description": told, "content": {"text/plain": {"schema": {"type": "string"}}}}}
        found["paths"][path] = {"get": {"summary": told, "tags": ["infrastructure"], "responses": text}}
    _give_examples(found["paths"], parts)
    return found


def _refusal(told: str) -> dict[str, Any]:
    return {
        "description": told, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Refused"}}},
    }  # fmt: skip


def _give_examples(paths: dict[str, Any], parts: Runtime) -> None:
    recommender = parts.served.recommender
    catalogue = recommender.catalogue
    known = [item.item_id for item in recommender.best(recommender.popular(), 2)]
    place = catalogue.index[known[0]]
    filters = {"categories": [catalogue.categories[place]]} if catalogue.categories[place] else {"min_price": 0.0}
    queries = {
        "ids": {"history": known, "k": 3},
        "title": {"history": [catalogue.titles[place] or known[0]], "exclude_seen": True},
        "filters": {"history": known, "filters": filters},
        "explain": {"history": known, "k": 3, "explain": True},
        "new buyer": {"history": []},
    }
    item = {"item_id": "example-item", "title": "An example item", "brand": "Example", "price": 9.5}
    bodies: dict[str, dict[str, Any]] = {
        "/recommend": queries,
        "/recommend_batch": {"two": {"queries": [queries["ids"], queries["new buyer"]]}},
        "/items": {"item": item},
    }
    for path, examples in bodies.items():
        content = paths[path]["post"]["requestBody"]["content"]["application/json"]
        content["examples"] = {name: {"value": value} for name, value in examples.items()}
    for parameter in paths["/items/{item_id}/similar"]["get"]["parameters"]:
        if parameter["name"] == "item_id":
            parameter["example"] = known[0]
