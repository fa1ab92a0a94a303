"""The schema of the data sections of params.yaml (ingest, validate, sequence): types, ranges, meaning, rules.

Part of `rporec.config`, which reads and checks the file; only the schema imports this.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rporec.config_base import Date, Days, Name, Rate, Section, Share, breach


def _calendar(date: str, key: str) -> dt.date:
    try:
        day = dt.date.fromisoformat(date)
    except ValueError:
        day = None
    if day is None or not 1990 <= day.year < 2100:
        raise breach(key, date, "a day of the calendar from 1990 to 2099", "write it as 2024-05-31")
    return day


class ColumnNames(Section):
    """The user's own column names (sources folder and sql)."""

    user_id: Name = Field(description="who")
    item_id: Name = Field(description="what, in interactions and in items")
    timestamp: Name = Field(description="when; seconds, ms, us or ns since 1970 UTC, date-times, or ISO 8601 text")
    rating: Name = Field(description="may be absent; only its range is looked at")
    target: Name = Field(description="the next item (given split)")
    history: Name = Field(description="lists of item ids, oldest first (given split)")
    title: Name = Field(description="of an item")
    description: Name = Field(description="of an item; may be absent")
    brand: Name = Field(description="of an item; may be absent")
    category: Name = Field(description="of an item, text or a list of texts; may be absent")
    price: Name = Field(description="of an item; may be absent")
    known_from: Name = Field(description="since when an item's row holds, a time; may be absent")


class SqlParams(Section):
    """The two queries of source sql; the URL comes by DATA=, as it may hold a password."""

    interactions: str | None = Field(description="SELECT with the columns of an events table")
    items: str | None = Field(description="SELECT with the columns of an item table")


class MarketParams(Section):
    """The simulated market (rporec.data.market; docs/market.md)."""

    users: int = Field(ge=2, description="users")
    items: int = Field(ge=10, description="items in the catalogue")
    days: int = Field(ge=10, description="days simulated, up to ingest.as_of")
    events_per_user: float = Field(gt=0, description="mean interactions a user")
    text_signal: Share = Field(description="1 = texts describe the items, 0 = texts are shuffled over the items")
    brand_loyalty: float = Field(ge=0, description="weight of a user's brands in the choice of an item")
    drift: Share = Field(description="chance that the latent intent moves on after an event")
    looked_at: Annotated[int, Field(ge=2)] | None = Field(
        description="items of a shelf that a buyer looks at; null = all (the oracle is known), a number = large markets"
    )


class IngestParams(Section):
    """Point-in-time reading of a source."""

    source: Literal["market", "folder", "amazon_reviews_2023", "movielens", "minionerec", "sql"] = Field(
        description="where rows come from; the place itself comes by DATA="
    )
    as_of: Date | None = Field(description="UTC date, exclusive: nothing after it is read; null = all there is")
    window_days: Days | None = Field(description="only the newest so many days of interactions; null = all")
    item_lag_days: int = Field(
        ge=0,
        le=36_500,
        description="item rows are taken as they stood so many days before as_of (later items: as they first stood)",
    )
    duplicates: Literal["event", "day", "keep"] = Field(
        description="a user's rows of one item that count once: of one time, of one UTC day, or none"
    )
    rating_min: float = Field(description="least possible rating")
    rating_max: float = Field(description="greatest possible rating")
    price_max: float = Field(gt=0, description="a greater price is taken as unknown")
    quarantine_max_share: Share = Field(description="share of rows in quarantine above which the run stops")
    minionerec_split: Literal["official", "development"] = Field(
        description="official files, or test = official valid and valid = newest tenth of official train"
    )
    columns: ColumnNames
    sql: SqlParams
    market: MarketParams

    @model_validator(mode="after")
    def _dated(self) -> Self:
        if self.as_of is not None:
            _calendar(self.as_of, "ingest.as_of")
        elif self.source == "market":
            raise breach("ingest.as_of", None, "the market needs a date", "set it, as 2024-05-31")
        if self.rating_min >= self.rating_max:
            raise breach(
                "ingest.rating_min", self.rating_min, f"below ingest.rating_max ({self.rating_max})", "lower it"
            )
        if self.source == "sql" and (self.sql.interactions is None or self.sql.items is None):
            missing = "interactions" if self.sql.interactions is None else "items"
            cure = "set ingest.sql.interactions and ingest.sql.items, a query each"
            raise breach(f"ingest.sql.{missing}", None, "source sql needs both queries", cure)
        return self


class ValidateParams(Section):
    """Data contracts and drift."""

    min_interactions: int = Field(ge=1, description="fewest plausible interactions")
    min_users: int = Field(ge=2, description="fewest plausible users")
    min_items: int = Field(ge=2, description="fewest plausible items")
    max_title_missing: Share = Field(description="largest share of items without a title")
    drift_days: Days = Field(description="newest days that are compared with those of the last night")
    drift_psi: float = Field(gt=0, description="population-stability index above which drift is warned of")
    drift_volume: float = Field(gt=0, description="|ln(rows a day / rows a day before)| above which drift is warned of")


class SequenceParams(Section):
    """Split on one global time line, or a given split honoured."""

    history_length: int = Field(ge=1, le=10_000, description="newest items kept of a history")
    split: Literal["days", "dates", "shares"] = Field(
        description="what cuts the time line; a given split is honoured instead"
    )
    valid_days: Days = Field(description="split days: days of valid, before test")
    test_days: Days = Field(description="split days: newest days, the test slice")
    valid_from: Date | None = Field(description="split dates: UTC date at which valid begins")
    test_from: Date | None = Field(description="split dates: UTC date at which test begins")
    valid_share: Rate = Field(lt=0.5, description="split shares: share of interactions in valid, before test")
    test_share: Rate = Field(lt=0.5, description="split shares: newest share of interactions, the test slice")
    core: int = Field(
        ge=1, description="k-core: users and items with fewer interactions in train are left out; 1 = nobody is"
    )
    reason_share: Rate = Field(lt=0.5, description="share of train rows whose completions train the reasoning module")
    align_share: Rate = Field(lt=0.5, description="newest share of train rows, the prompts of reinforcement learning")
    repeats: bool = Field(description="may a target be an item of its own history")

    @model_validator(mode="after")
    def _cut(self) -> Self:
        given = {"sequence.valid_from": self.valid_from, "sequence.test_from": self.test_from}
        dates = [_calendar(date, key) for key, date in given.items() if date is not None]
        if self.split == "dates" and (len(dates) < 2 or dates[0] >= dates[1]):
            raise breach(
                "sequence.valid_from", self.valid_from,
                f"split dates needs it, before sequence.test_from ({self.test_from})", "set both dates in this order",
            )  # fmt: skip
        return self
