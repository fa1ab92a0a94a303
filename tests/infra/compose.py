"""The Compose specification as far as infra/compose.yaml uses it: unknown keys and wrong forms are refused."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Duration = Annotated[str, StringConstraints(pattern=r"^\d+(ms|s|m|h)$")]
# A name and a version that never moves: no `latest`, nothing without a tag; a digest may follow.
Image = Annotated[str, StringConstraints(pattern=r"^[a-z0-9./-]+:v?\d[\w.-]*(@sha256:[0-9a-f]{64})?$")]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$")]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]*$")]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Health(Strict):
    test: list[str] = Field(min_length=2)
    interval: Duration
    timeout: Duration
    retries: int = Field(ge=1)
    start_period: Duration | None = None


class Mount(Strict):
    type: Literal["bind"]
    source: str
    target: str
    read_only: bool = False


class Need(Strict):
    condition: Literal["service_healthy", "service_completed_successfully"]


class Service(Strict):
    image: Image
    command: list[str] | None = None
    environment: dict[Variable, str] = {}
    user: str | None = None
    init: bool | None = None
    restart: Literal["unless-stopped", "no"]
    working_dir: str | None = None
    networks: list[Name]
    volumes: list[str | Mount] = []
    ports: list[Annotated[str, StringConstraints(pattern=r"^127\.0\.0\.1:\d+:\d+$")]] = []
    depends_on: dict[Name, Need] = {}
    healthcheck: Health | None = None
    security_opt: list[str] = []
    cap_drop: list[str] = []
    stop_grace_period: Duration | None = None


class Network(Strict):
    internal: bool = False


class Project(Strict):
    name: Name
    services: dict[Name, Service]
    networks: dict[Name, Network]
    volumes: dict[Name, dict[str, object]]
