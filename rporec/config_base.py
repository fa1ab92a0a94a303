"""What all sections of the schema share: their base, common types, and how a rule between values is said to be broken.

Part of `rporec.config`, which reads and checks the file; only the schema imports this.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=1)]
Name = Annotated[str, Field(min_length=1)]
Date = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
Days = Annotated[int, Field(ge=1, le=36_500)]

BREACH = "breach"  # type of the errors that `breach` makes


class Section(BaseModel):
    """Base of all sections: frozen, strict, unknown keys refused, numbers finite."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


def breach(field: str, value: object, rule: str, cure: str) -> PydanticCustomError:
    """Return the error of a rule that several values break together, for a model validator to raise.

    Args:
        field: whole name of the value to change, as `align.micro_batch`.
        value: what it is.
        rule: what must hold.
        cure: what to do.
    """
    return PydanticCustomError(BREACH, "{rule}", {"field": field, "value": str(value), "rule": rule, "cure": cure})


def sendable(url: str) -> str:
    """Return a URL to which a request can be sent.

    Raises:
        ValueError: it names no host, or a host or port that cannot be.
    """
    import httpx  # slow, and most runs ask nobody

    try:
        _ = urlsplit(url).port  # a number beyond 65535 is refused here
        place = httpx.URL(url)
        named = bool(place.host)
        place.raw_host.decode().encode("idna")  # as a connection does: a label has 1 to 63 letters
    except (httpx.InvalidURL, ValueError) as error:
        raise ValueError(f"the host or port of a URL cannot be: {error}") from error
    if not named:
        raise ValueError("a URL names a host")
    return url
