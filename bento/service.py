"""The BentoML service: `POST /recommend` answers with items, scores and the reasoning; `GET /model` says what answers.

Only transport: typed input with limits, typed answers, which package is loaded. Ranking and reasoning are
`rporec.recommender`. Health, readiness, metrics and OpenAPI (`/healthz`, `/readyz`, `/metrics`, `/docs.json`) are
BentoML's own.
"""

import datetime as dt
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import bentoml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from rporec import config
from rporec.errors import InputError
from rporec.files import read_json
from rporec.release import layout, lookup, registry
from rporec.release.place import locate
from rporec.release.signature import Trust, trust_of

if TYPE_CHECKING:
    from rporec.recommender import Recommender

log = logging.getLogger("rporec.service")
ROOT = Path(__file__).resolve().parents[1]
# What a request may hold at all; the package's own limits (max_k, max_history) are tighter and checked behind these.
_MOST_IDS, _LONGEST_ID = 10_000, 256
ItemId = Annotated[str, StringConstraints(min_length=1, max_length=_LONGEST_ID)]


class Query(BaseModel):
    """A request for recommendations."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"example": {"history": [], "k": 5}})

    history: list[ItemId] = Field(max_length=_MOST_IDS, description="item ids, oldest first; may be empty")
    k: int | None = Field(default=None, ge=1, description="items wanted; null = serve.default_k of the package")
    explain: bool = Field(default=True, description="show the reasoning that the ranking read")
    exclude_seen: bool = Field(default=False, description="leave items of the history out")


class ModelInfo(BaseModel):
    """Which model answers: registered name, version (null when a package folder was given), hash of the package."""

    name: str
    version: int | None
    package_hash: str


class RankedItem(BaseModel):
    """A recommended item; `score` is the probability, 0-1, that it comes next."""

    item_id: str
    title: str
    score: float


class Answer(BaseModel):
    """Recommendations, best first, and what they rest on."""

    items: list[RankedItem]
    thought: str
    answer: str
    reasoning_source: Literal["live", "none"]
    ranking: Literal["rechead", "popularity"]
    unknown_ids: list[str]
    model: ModelInfo


@dataclass(frozen=True)
class Loaded:
    """The package that answers, its lineage, and the age in days at which its data count as stale (None = unstated)."""

    recommender: "Recommender"
    info: ModelInfo
    lineage: dict[str, str]
    max_age_days: int | None


def load() -> Loaded:
    """Load the package that is to answer.

    It is the one named by RPOREC_PACKAGE; in a Bento, which holds no params.yaml, its own; else the champion of the
    profile in params.yaml, pinned to its version.

    Raises:
        InputError: there is no champion, or the package is not whole.
    """
    # Imported here, so that BentoML's parent process and the build need no torch.
    from rporec.recommender import Recommender

    given = os.environ.get("RPOREC_PACKAGE", "" if (ROOT / "params.yaml").exists() else "outputs/package")
    version: lookup.Version | None = None
    trust = whom_to_trust(ROOT, os.environ)
    if given:
        folder = ROOT / given  # an absolute path stays as it is
    else:
        place = locate(ROOT, os.environ, trust)
        model = lookup.model_name(config.load(ROOT / "params.yaml").run.profile)
        found = registry.champion_package(place, model)
        if found is None:
            raise InputError(
                "there is no champion to serve", field="model", value=model, rule="alias champion in the registry",
                cure="make run first (or name a package folder in RPOREC_PACKAGE)",
            )  # fmt: skip
        version, folder = found
    threads = layout.Settings.load(folder).threads
    recommender = Recommender.load(folder, threads=threads, trust=trust)
    lineage = {str(key): str(value) for key, value in read_json(folder / layout.LINEAGE).items()}
    name = lookup.model_name(lineage["profile"])
    info = ModelInfo(name=name, version=version.number if version else None, package_hash=recommender.package_hash)
    stated = ROOT / "params.yaml"
    return Loaded(recommender, info, lineage, config.load(stated).monitor.max_age_days if stated.exists() else None)


def whom_to_trust(root: Path, environment: Mapping[str, str]) -> Trust:
    """Return whose packages are served: as params.yaml says, or, in a Bento, as its own package was made."""
    if (root / "params.yaml").exists():
        return trust_of(config.load(root / "params.yaml").package.signature, environment)
    return trust_of(read_json(root / "outputs/package" / layout.PARAMS)["package"]["signature"], environment)


def freshness(as_of: str, max_age_days: int | None, today: dt.date) -> dict[str, object]:
    """Return the age of a model's data in days, and whether it is above the limit; null where either is not known."""
    try:
        age = (today - dt.date.fromisoformat(as_of)).days
    except ValueError:  # a given split has no dates
        return {"data_age_days": None, "stale": None}
    return {"data_age_days": age, "stale": None if max_age_days is None else age > max_age_days}


def refusal(error: InputError) -> ValidationError:
    """Turn a refusal of the recommender into the form in which every bad request is answered (400)."""
    kind = PydanticCustomError("out_of_range", "{rule}", {"rule": f"{error.problem}: {error.rule}"})
    detail = InitErrorDetails(type=kind, loc=(error.field or "",), input=error.value)
    return ValidationError.from_exception_data("Query", [detail])


async def describe(request: Request) -> JSONResponse:  # noqa: ARG001 - the signature of a route
    """Answer `GET /model`."""
    service = bentoml.get_current_service()
    if service is None:
        return JSONResponse({"error": "the model is not loaded yet"}, status_code=503)
    return JSONResponse(service.describe())


@bentoml.service(name="rporec", traffic={"timeout": 60})
@bentoml.asgi_app(Starlette(routes=[Route("/model", describe)]), path="/")
class RPORec:
    """Recommendations with their reasoning."""

    def __init__(self) -> None:
        try:
            self.loaded = load()
        except InputError as error:
            log.error("%s", error.message())
            raise SystemExit(1) from None
        log.info("serving %s", self.loaded.info)

    @bentoml.api(route="/recommend")
    def recommend(self, query: Query, /) -> Answer:
        """Rank the catalogue for a history, with reasoning written now."""
        recommender = self.loaded.recommender
        k = query.k if query.k is not None else recommender.settings.default_k
        try:
            found = recommender.recommend(query.history, k, explain=query.explain, exclude_seen=query.exclude_seen)
        except InputError as error:
            raise refusal(error) from None
        return Answer(
            items=[RankedItem(**asdict(item)) for item in found.items],
            thought=found.thought,
            answer=found.answer,
            reasoning_source=found.reasoning_source,
            ranking=found.ranking,
            unknown_ids=list(found.unknown_ids),
            model=self.loaded.info,
        )

    def describe(self) -> dict[str, object]:
        """Return what `GET /model` answers: name, version, package hash, freshness, lineage and limits."""
        today = dt.datetime.now(dt.UTC).date()
        return {
            **self.loaded.info.model_dump(),
            **freshness(self.loaded.lineage["as_of"], self.loaded.max_age_days, today),
            "lineage": self.loaded.lineage,
            "settings": asdict(self.loaded.recommender.settings),
            "items": self.loaded.recommender.catalogue.n,
        }
