"""The schema of what comes after the evaluation: package, gates, promotion, service, nights.

`rporec.config` puts all sections together.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rporec.config_base import Section, Share, breach

ConnectionId = Annotated[str, Field(pattern=r"^[\w.-]+$")]


class PackageParams(Section):
    """What the package says about itself."""

    data_terms: str = Field(min_length=1, description="terms of the data, for the model card")
    intended_use: str = Field(min_length=1, description="for the model card")
    signature: Literal["none", "hmac", "ed25519"] = Field(
        description="how packages are signed, and checked before they are promoted or served"
    )


class GateParams(Section):
    """What a challenger must show. No profile may loosen it. Margins are NDCG@10."""

    alpha: float = Field(gt=0, lt=0.5, description="error level of every one-sided gate")
    resamples: int = Field(ge=99, description="bootstrap resamples")
    floor_margin: float = Field(ge=0, description="may trail every baseline but popularity by")
    reasoning_margin: float = Field(ge=0, description="may trail the head without reasoning by")
    reasoning_strict: bool = Field(description="reasoning must win (interval above 0)")
    alignment_margin: float = Field(ge=0, description="may trail stage 1 by")
    alignment_strict: bool = Field(description="alignment must win (interval above 0)")
    champion_margin: float = Field(ge=0, description="may trail the champion by")
    anchor_nights: int = Field(ge=1, description="nights over which the best champion stays the anchor")
    slice_margin: float = Field(ge=0, description="a slice may fall by")
    min_well_formed: Share = Field(description="least share of well-formed completions")
    min_grounded: Share = Field(description="least share of grounded thoughts")
    latency_requests: int = Field(ge=1, description="requests timed for the service gate")
    max_p95_ms: float = Field(
        gt=0, description="milliseconds a recommendation with live reasoning may take, 95th percentile"
    )
    max_package_mb: float = Field(gt=0, description="MB of the package")
    max_memory_mb: float = Field(gt=0, description="MB resident with the package loaded")


class PromoteParams(Section):
    """How a passing package becomes the champion."""

    outage_seconds: float = Field(ge=0, description="seconds that a registry outage is waited out")
    reproduce_tolerance: float = Field(
        ge=0, description="by how much any ranking metric of a version made again may differ, absolute"
    )
    show_items: int = Field(ge=1, description="recommendations printed after a promotion")
    smoke_seconds: float = Field(gt=0, description="seconds until the service must answer with a new champion")


class ServeParams(Section):
    """The service."""

    port: int = Field(ge=1, le=65_535, description="TCP port on loopback")
    threads: int = Field(ge=1, description="CPU threads of one worker")
    default_k: int = Field(ge=1, description="items returned unless asked otherwise")
    max_k: int = Field(ge=1, description="most items a request may ask for")
    max_history: int = Field(ge=1, description="most history items a request may hold")
    max_reasoning_tokens: int = Field(ge=1, description="tokens of reasoning written live")
    live_seconds: float = Field(ge=0, le=30, description="seconds a request waits for reasoning written live; 0 = none")
    store: str | None = Field(
        pattern=r"^rediss?://.+",
        description="Redis URL of the store of reasoning; null = an sqlite file in RPOREC_HOME",
    )
    active_days: int = Field(ge=1, description="days before the newest event in which an active user bought")
    poll_seconds: float = Field(gt=0, le=3, description="seconds between two looks at the registry's aliases")
    shadow_share: Share = Field(description="share of requests that the challenger scores too, without answering")
    max_batch: int = Field(ge=1, description="most histories in one batch request")
    max_body_kb: int = Field(ge=1, description="largest body of a request")
    max_concurrency: int = Field(ge=1, description="requests a worker answers at once; above, 503")
    client_rate: float = Field(gt=0, description="requests a second of one client over time; above, 429")
    client_burst: int = Field(ge=1, description="requests of one client at once before its rate counts")

    @model_validator(mode="after")
    def _k(self) -> Self:
        if self.default_k > self.max_k:
            raise breach("serve.default_k", self.default_k, f"at most serve.max_k ({self.max_k})", "lower it")
        return self


class NightsParams(Section):
    """The nightly schedule."""

    schedule: str | None = Field(min_length=1, description="cron, UTC; null = only by hand")
    retries: int = Field(ge=0, description="retries of a task")
    retry_seconds: float = Field(ge=0, description="first wait before a retry, doubled each time")
    warm_start: bool = Field(description="whether a night goes on from the champion's weights")
    scratch_every: int = Field(ge=0, description="nights; every n-th, counted by date, is from scratch; 0 = none")
    git_remote: str | None = Field(description="where night branches are pushed; null = nowhere")
    heavy: list[str] = Field(description="stages that take a slot of the pool")
    pool: str = Field(min_length=1, max_length=256, description="Airflow pool of the heavy stages")
    pool_slots: int = Field(ge=1, description="heavy stages that run at once")
    deadline_minutes: float = Field(gt=0, description="minutes from the start of a night until it counts as late")
    notify: list[ConnectionId] = Field(description="Airflow connections that are told of failures; none = nobody")
    keep_days: int = Field(ge=1, description="days that the files of a night are kept at least")
    clean_schedule: str | None = Field(min_length=1, description="cron of housekeeping, UTC; null = only by hand")


class MonitorParams(Section):
    """What is watched of the service, and when it is told."""

    max_age_days: int = Field(ge=1, description="days after the champion's data end at which it counts as stale")
    watch_schedule: str | None = Field(min_length=1, description="cron, UTC; null = only by hand")
    timeout: float = Field(gt=0, description="seconds in which the service must answer")
    min_requests: int = Field(ge=1, description="answers without which shares and drift are not judged")
    max_popularity: Share = Field(description="share of answers that may be plain popularity")
    max_no_reasoning: Share = Field(description="share of answers that may lack reasoning")
    drift_psi: float = Field(gt=0, description="population-stability index above which requests have drifted")
