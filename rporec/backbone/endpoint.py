"""One request to a language model behind an OpenAI-compatible endpoint (vLLM, Ollama): tries, waits, clear errors.

Knows nothing of recommendations, and keeps nothing on disk: see `teacher` and `replies`.
"""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self

import httpx

from rporec.backbone.wire import Reply, Trouble, read_reply, status_trouble, transport_trouble
from rporec.config import TeacherParams
from rporec.errors import InputError

_MOST_BYTES = 8_000_000  # a body without end must not fill the memory
_KEY_CURE = "set RPOREC_TEACHER_KEY to the key alone, or unset it where the endpoint wants none"


class StoppedError(Exception):
    """A request was given up because another one failed for good."""


class Pace:
    """When the next request may start: so many a minute, and not while the server has asked for a pause.

    Args:
        per_minute: requests a minute at most; None = no limit.
        stopped: set when all waiting shall end.
    """

    def __init__(self, per_minute: float | None, stopped: threading.Event) -> None:
        self._interval = 60 / per_minute if per_minute else 0.0
        self._stopped = stopped
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self) -> None:
        """Wait for a place in the line.

        Raises:
            StoppedError: the work was stopped meanwhile.
        """
        while not self._stopped.is_set():
            with self._lock:
                now = time.monotonic()
                left = self._next - now
                if left <= 0:
                    self._next = now + self._interval
                    return
            self._stopped.wait(left)
        raise StoppedError

    def pause(self, seconds: float) -> None:
        """Start nothing for so many seconds: a limit of the server holds for all requests of one key."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


@dataclass(frozen=True)
class Access:
    """How the endpoint is reached.

    Attributes:
        params: section `backbone.teacher`, with url and model set.
        key: sent as a bearer token, never shown; None = none is sent.
        seed: of the replies where the server honours one, and of the jitter of waits.
    """

    params: TeacherParams
    key: str | None
    seed: int

    def __repr__(self) -> str:
        """Leave the key out."""
        return f"Access({self.params.url}, {self.params.model})"

    def payload(self, prompt: str) -> dict[str, object]:
        """Return the JSON body of a request; all that a reply depends on stands in it."""
        return {
            "model": self.params.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": self.params.temperature,
            "max_tokens": self.params.max_tokens,
            "seed": self.seed,
        }


class Endpoint:
    """Asks one endpoint, from several threads if wanted; use as a context manager.

    Args:
        access: where, as whom, how patiently.
        stopped: set by the caller to end all waiting.

    Raises:
        InputError: the key cannot be sent as a header.
    """

    def __init__(self, access: Access, stopped: threading.Event) -> None:
        self._access, self._stopped = access, stopped
        self._secret = _sendable(access.key)
        self._pace = Pace(access.params.requests_per_minute, stopped)
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {self._secret}"} if self._secret else {},
            timeout=access.params.timeout,
            limits=httpx.Limits(max_connections=access.params.concurrency),
        )

    def __enter__(self) -> Self:
        """Open the connections."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._client.close()

    def ask(self, prompt: str) -> Reply:
        """Return the reply to a prompt; tries again after troubles that may pass.

        Raises:
            InputError: a trouble that does not pass, or not within the tries; a wait beyond `max_wait` was asked for.
            StoppedError: the work was stopped meanwhile.
        """
        params = self._access.params
        for attempt in range(params.retries + 1):
            self._pace.wait()
            outcome = self._try(prompt)
            if isinstance(outcome, Reply):
                return outcome
            last = attempt == params.retries or not outcome.passes
            if last or (outcome.wait or 0) > params.max_wait:
                raise self._error(outcome, attempt + 1)
            if outcome.wait is not None:
                self._pace.pause(outcome.wait)
            elif self._stopped.wait(self._backoff(prompt, attempt)):
                raise StoppedError
        raise AssertionError("the last try returns or raises")

    def _try(self, prompt: str) -> Reply | Trouble:
        params = self._access.params
        url = f"{str(params.url).rstrip('/')}/chat/completions"
        deadline = time.monotonic() + params.timeout
        try:
            with self._client.stream("POST", url, json=self._access.payload(prompt)) as response:
                body = _read(response, deadline)
        except (httpx.RequestError, httpx.InvalidURL, UnicodeError) as error:
            return transport_trouble(error)
        if self._secret:  # servers like to quote the key that they refuse
            body = body.replace(self._secret.encode(), b"***")
        if response.status_code != httpx.codes.OK:
            return status_trouble(response.status_code, body, retry_after(response.headers, datetime.now(UTC)))
        return read_reply(body)

    def _backoff(self, prompt: str, attempt: int) -> float:
        """Return the seconds before the next try: doubled each time, half to one and a half of it, by seed."""
        chance = random.Random(f"{self._access.seed}/{prompt}/{attempt}").random()
        return min(self._access.params.backoff * 2.0**attempt * (0.5 + chance), self._access.params.max_wait)

    def _error(self, trouble: Trouble, tries: int) -> InputError:
        params = self._access.params
        asked = f"; it asks to wait {trouble.wait:.0f} s" if trouble.wait is not None else ""
        return InputError(
            f"the teacher gives no reply: {trouble.problem}{asked} (tries: {tries})",
            field=f"backbone.teacher.{trouble.field}",
            value={"url": params.url, "model": params.model, "timeout": params.timeout}[trouble.field],
            cure=f"{trouble.cure}; replies so far are kept, the same command goes on from them",
        )


def retry_after(headers: httpx.Headers, now: datetime) -> float | None:
    """Return the seconds that a `Retry-After` header asks for (a number or an HTTP date); None without a valid one."""
    text = headers.get("retry-after", "").strip()
    reading: tuple[Callable[[str], float], ...] = (
        float,
        lambda date: (parsedate_to_datetime(date) - now).total_seconds(),
    )
    for read in reading:
        try:
            seconds = read(text)
        except (ValueError, TypeError):
            continue
        return max(0.0, seconds) if seconds == seconds else None  # NaN is no wait
    return None


def _sendable(key: str | None) -> str:
    """Return the key as it can stand in a header, "" for none."""
    key = (key or "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        # Its value is not told: a half-right key is a secret too.
        raise InputError(
            "the key of the teacher cannot be sent", field="RPOREC_TEACHER_KEY", rule="printable ASCII, no blank",
            cure=_KEY_CURE,
        )  # fmt: skip
    return key


def _read(response: httpx.Response, deadline: float) -> bytes:
    """Read a body; httpx's own time-out starts anew at every byte, so that a dripping server could hold us for ever."""
    body = b""
    for part in response.iter_bytes():
        body += part
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout("the body was not complete in time")
        if len(body) > _MOST_BYTES:
            raise httpx.DecodingError(f"a body of more than {_MOST_BYTES} bytes")
    return body
