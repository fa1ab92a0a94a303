"""What goes over the wire: typed requests with limits, typed answers. The package's own limits are tighter still."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

_MOST_ENTRIES, _LONGEST_ENTRY = 10_000, 512
# An id or a title. Control characters are no part of either.
Entry = Annotated[str, StringConstraints(min_length=1, max_length=_LONGEST_ENTRY, pattern=r"^[^\x00-\x1f\x7f]+$")]
Text = Annotated[str, StringConstraints(max_length=10_000, pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$")]
Price = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
ItemId = Annotated[
    str, StringConstraints(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*$")
]  # of a new item: one word, safe in a path


class Body(BaseModel):
    """A request: unknown keys and other types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class FilterBody(Body):
    """Which items may be recommended. With a price bound, items of unknown price are left out."""

    categories: list[Entry] = Field(default=[], max_length=100, description="any of these, letter case aside; [] = all")
    min_price: Price | None = Field(default=None, description="lowest price, included")
    max_price: Price | None = Field(default=None, description="highest price, included")

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.min_price is not None and self.max_price is not None and self.min_price > self.max_price:
            raise ValueError("min_price may not exceed max_price")
        return self


class Query(Body):
    """A request for recommendations: a history, or a user whose history is known."""

    history: list[Entry] | None = Field(
        default=None, max_length=_MOST_ENTRIES, description="item ids or exact titles, oldest first; may be empty"
    )
    user_id: Entry | None = Field(default=None, description="a user of the data that the model was made from")
    k: int | None = Field(default=None, ge=1, le=10_000, description="items wanted; null = the model's default")
    exclude_seen: bool = Field(default=False, description="leave items of the history out")
    filters: FilterBody = Field(default=FilterBody(), description="which items may be recommended")
    explain: bool = Field(default=False, description="tell which history items each place rests on (costs time)")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.history is None) == (self.user_id is None):
            raise ValueError("exactly one of history and user_id must be given")
        return self


class BatchQuery(Body):
    """Several requests, answered by one model."""

    queries: list[Query] = Field(min_length=1, max_length=10_000, description="at most serve.max_batch")


class ItemBody(Body):
    """An item that the model has never seen."""

    item_id: ItemId
    title: Annotated[Text, StringConstraints(min_length=1)]
    description: Text = ""
    brand: Text = ""
    category: Text = ""
    price: Price | None = None


class ModelInfo(BaseModel):
    """Which model answers: registered name, version (null when a package folder was given), hash of the package."""

    name: str
    version: int | None
    package_hash: str


class RefusedVersion(BaseModel):
    """A version that was to serve and could not; the one before it serves on."""

    version: int
    package_hash: str
    problem: str


class About(ModelInfo):
    """Which model answers, where it comes from and what it allows."""

    verdict: str | None = Field(description="of the gates; null when a package folder was given")
    data_age_days: int | None = Field(description="days since the model's data end; null where they have no dates")
    stale: bool | None = Field(description="whether that is more than monitor.max_age_days")
    lineage: dict[str, str]
    registered: dict[str, str] = Field(description="tags of the registered version")
    settings: dict[str, object] = Field(description="limits of the package, among others max_k and max_history")
    items: int = Field(description="in the catalogue, those that were added among them")
    refused: RefusedVersion | None
    trouble: str | None = Field(description="what failed when a new model or items were last looked for")
    challenger: int | None = Field(description="version that scores in the shadow")


class HistoryItem(BaseModel):
    """A history item that speaks for a recommended one: by so many nats the recommendation falls without it."""

    item_id: str
    title: str
    weight: float


class RankedItem(BaseModel):
    """A recommended item; `score` is the probability, 0-1, that it comes next. The last two only with `explain`.

    `rank_without_reasoning` is its place from 1 among all items that the filters let through.
    """

    item_id: str
    title: str
    score: float
    rests_on: list[HistoryItem] | None = None
    rank_without_reasoning: int | None = None


class Recommended(BaseModel):
    """Recommendations, best first, and what they rest on."""

    items: list[RankedItem]
    thought: str = Field(description='the reasoning that the ranking read; "" without')
    answer: str = Field(description='the guess at the next item that the ranking read; "" without')
    reasoning_source: Literal["stored", "live", "none"]
    ranking: Literal["rechead", "popularity"] = Field(description="popularity: no entry of the history is known")
    unknown_ids: list[str] = Field(description="entries of the history that are not in the catalogue; ignored")
    without_reasoning: list[RankedItem] | None = Field(
        default=None, description="with `explain`: the ranking from the history alone; null where popularity ranked"
    )
    model: ModelInfo


class RecommendedBatch(BaseModel):
    """One answer a query, in their order, all by one model."""

    answers: list[Recommended]
    model: ModelInfo


class CatalogueItem(BaseModel):
    """An item; "" and null where unknown."""

    item_id: str
    title: str
    brand: str
    category: str
    price: float | None


class SimilarItem(CatalogueItem):
    """An item like another one; `similarity` is the cosine of their texts, -1 to 1."""

    similarity: float


class Similar(BaseModel):
    """Items most like one in text, the nearest first."""

    item_id: str
    items: list[SimilarItem]
    model: ModelInfo


class FoundItems(BaseModel):
    """Items that a search found, the most bought first."""

    items: list[CatalogueItem]


class Problem(BaseModel):
    """One thing that is wrong: where, what, and by which rule."""

    loc: list[str | int]
    msg: str
    type: str


class Refused(BaseModel):
    """Why a request was refused."""

    error: str
    detail: list[Problem] = []
