"""What an OpenAI-compatible server says: a reply, or a trouble with its cure.

Pure: bytes and status codes in, values out. Sending is `endpoint`.
"""

import json
from dataclasses import dataclass
from typing import Literal

import httpx

_QUOTED = 200  # characters of a server's own words that are told
_MOST_TOKENS = 10**9  # of one reply; beyond it a server does not count but babble
_MAY_PASS = {408, 409, 425, 429}
_URL_CURE = "start the server, or correct backbone.teacher.url (as a rule it ends in /v1)"
_KEY_CURE = "put a valid key into the environment variable RPOREC_TEACHER_KEY"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model wrote.

    Attributes:
        text: its message; "" where it wrote none.
        prompt_tokens: tokens read, None where the server does not count.
        completion_tokens: tokens written, None where the server does not count.

    Raises:
        TypeError: the text is none.
        ValueError: it holds half a surrogate pair, which no file can, or a count is absurd.
    """

    text: str
    prompt_tokens: int | None
    completion_tokens: int | None

    def __post_init__(self) -> None:
        """Refuse what cannot be kept or added up, whether it comes from a server or from disk."""
        if not isinstance(self.text, str):
            raise TypeError("content is no text")
        self.text.encode()
        if max(self.prompt_tokens or 0, self.completion_tokens or 0) > _MOST_TOKENS:
            raise ValueError("a count of tokens is absurd")


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a try gave no reply.

    Attributes:
        problem: what happened, in a few words.
        field: the key below `backbone.teacher` that is looked at first.
        cure: what the user can do when it does not pass.
        passes: whether another try may help.
        wait: seconds that the server asked to wait, None where it did not.
    """

    problem: str
    field: Literal["url", "model", "timeout"]
    cure: str
    passes: bool
    wait: float | None = None


def read_reply(body: bytes) -> Reply | Trouble:
    """Read the body of a 200: the first choice's message and the token counts.

    A body that is no chat completion is a trouble that may pass: proxies answer with pages of their own while a server
    starts.
    """
    try:
        said = json.loads(body)
        message = said["choices"][0]["message"]
        text = message.get("content") or ""
        usage = said.get("usage") or {}
        return Reply(text, _count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return Trouble(
            f"its answer is no chat completion: {_quote(body) or 'an empty body'}",
            "url", "check that backbone.teacher.url is an OpenAI-compatible endpoint (as a rule it ends in /v1)",
            passes=True,
        )  # fmt: skip


def status_trouble(status: int, body: bytes, wait: float | None) -> Trouble:
    """Say what a status other than 200 means.

    Args:
        status: HTTP status.
        body: of the response; its message is quoted.
        wait: seconds of a `Retry-After`, if any.
    """
    said = f"HTTP {status}: {message_of(body)}"
    if status in (401, 403):
        return Trouble(said, "url", _KEY_CURE, passes=False)
    if status == 404:
        cure = "correct backbone.teacher.url (as a rule it ends in /v1) or backbone.teacher.model (is it pulled there?)"
        return Trouble(said, "model", cure, passes=False)
    if status == 429:
        cure = "lower backbone.teacher.requests_per_minute or concurrency, raise retries or max_wait, or see the quota"
        return Trouble(said, "url", cure, passes=True, wait=wait)
    if status in _MAY_PASS or status >= 500:
        return Trouble(said, "url", "look into the server's own log, or raise backbone.teacher.retries", True, wait)
    return Trouble(said, "model", "correct what the server names in section backbone.teacher", passes=False)


def transport_trouble(error: httpx.RequestError | httpx.InvalidURL | UnicodeError) -> Trouble:
    """Say what it means that no response came."""
    if not isinstance(error, httpx.RequestError):
        return Trouble(f"no request can go to this address ({_short(str(error))})", "url", _URL_CURE, passes=False)
    if isinstance(error, httpx.TimeoutException):
        cure = "raise backbone.teacher.timeout, or lower max_tokens or concurrency"
        return Trouble("it took too long", "timeout", cure, passes=True)
    if isinstance(error, httpx.ConnectError):
        return Trouble(f"no connection ({str(error)[:_QUOTED]})", "url", _URL_CURE, passes=True)
    return Trouble(f"the connection broke ({type(error).__name__})", "url", _URL_CURE, passes=True)


def message_of(body: bytes) -> str:
    """Return a server's own words about an error: `error.message` (OpenAI), `error` (Ollama), else the body's start."""
    try:
        said = json.loads(body)
        error = said["error"]
        return _short(str(error["message"] if isinstance(error, dict) else error))
    except (ValueError, KeyError, TypeError, RecursionError):
        return _quote(body) or "nothing said"


def _count(usage: dict[str, object], key: str) -> int | None:
    value = usage.get(key)
    return value if isinstance(value, int) and value >= 0 else None


def _quote(body: bytes) -> str:
    return _short(body[: 4 * _QUOTED].decode(errors="replace"))


def _short(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:_QUOTED]
