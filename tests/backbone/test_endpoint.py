"""One request to a teacher: what passes is tried again, what does not is said at once; the key is never shown."""

import threading
import time
from datetime import UTC, datetime

import httpx
import pytest

from infra.children import free_port
from rporec.backbone.endpoint import Endpoint, Pace, StoppedError, retry_after
from rporec.backbone.wire import Reply
from rporec.errors import InputError
from tests.backbone.teaching import Said, access, chat, error, serving

KEY = "sk-very-secret-key"


def ask(given, prompt="say", stopped=None):
    with Endpoint(given, stopped or threading.Event()) as endpoint:
        return endpoint.ask(prompt)


def script(*said):
    """The n-th request gets the n-th response, later ones the last."""
    return lambda number, _: said[min(number, len(said) - 1)]


def refused(given):
    with pytest.raises(InputError) as caught:
        ask(given)
    message = caught.value.message()
    assert "cure:" in message
    assert KEY not in message
    return message


def test_a_reply_and_its_tokens_come_back_and_the_request_is_the_protocols():
    with serving(script(chat("hello"))) as (url, seen):
        assert ask(access(f"{url}/", key=f" {KEY}\n")) == Reply("hello", 100, 20)
    assert seen.paths == ["/v1/chat/completions"]
    assert seen.headers[0]["authorization"] == f"Bearer {KEY}"
    assert seen.bodies[0] == {
        "model": "wise", "messages": [{"role": "user", "content": "say"}], "temperature": 0.0, "max_tokens": 64,
        "seed": 7,
    }  # fmt: skip


def test_without_a_key_none_is_sent():
    with serving(script(chat("hello"))) as (url, seen):
        ask(access(url))
    assert "authorization" not in seen.headers[0]


@pytest.mark.parametrize(
    "trouble",
    [
        error(429, "slow down"),
        error(500),
        error(503),
        Said(b"<html>starting</html>"),
        Said(b'{"choices": []}'),
        Said(b"[1]"),
        Said(b"\xff\x00"),
        Said(b""),
        Said(b'{"choices": [{"message": {"content": 3}}]}'),
        Said(b"x", headers={"content-encoding": "gzip"}),
        chat("half a pair \ud800"),
        chat("hello", prompt_tokens=int("9" * 400)),
        chat("hello", completion_tokens=10**9 + 1),
    ],
)
def test_a_trouble_that_passes_is_outlived(trouble):
    with serving(script(trouble, trouble, chat("hello"))) as (url, seen):
        assert ask(access(url)).text == "hello"
    assert len(seen.bodies) == 3


def test_a_message_without_text_is_an_empty_reply():
    said = Said(b'{"choices": [{"message": {"content": null}}], "usage": null}')
    with serving(script(said)) as (url, _):
        assert ask(access(url)) == Reply("", None, None)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (error(500, "out of memory"), ["HTTP 500", "out of memory", "tries: 3", "retries"]),
        (error(429, "quota"), ["HTTP 429", "quota", "tries: 3", "requests_per_minute"]),
        (error(401, f"wrong key {KEY}"), ["HTTP 401", "wrong key ***", "tries: 1", "RPOREC_TEACHER_KEY"]),
        (error(403), ["HTTP 403", "tries: 1", "RPOREC_TEACHER_KEY"]),
        (error(404, "no model wise"), ["HTTP 404", "no model wise", "tries: 1", "backbone.teacher.model", "/v1"]),
        (error(400, "too long"), ["HTTP 400", "too long", "tries: 1"]),
        (Said(b'{"error": "model not found"}', 404), ["HTTP 404", "model not found"]),
        (Said(b"<html>" + 9000 * b"a", 200), ["no chat completion", "<html>", "tries: 3", "backbone.teacher.url"]),
        (Said(b"", 302, {"location": "http://127.0.0.1:9/"}), ["HTTP 302", "nothing said", "tries: 1"]),
    ],
)  # fmt: skip
def test_a_trouble_that_stays_names_what_to_do(said, words):
    with serving(script(said)) as (url, _):
        message = refused(access(url, key=KEY))
    for word in words:
        assert word in message
    assert len(message) < 1500


def test_a_refused_connection_names_the_address():
    url = f"http://127.0.0.1:{free_port()}/v1"
    message = refused(access(url, key=KEY, retries=1))
    assert url in message
    assert "start the server" in message
    assert "tries: 2" in message


@pytest.mark.parametrize("proxy", ["http://a..b:80", f"http://{'a' * 70}:80"])
def test_an_address_that_cannot_be_is_told_whoever_names_it(monkeypatch, proxy):
    for name in ("http_proxy", "all_proxy", "no_proxy", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", proxy)
    message = refused(access("http://teacher.invalid/v1"))
    assert "no request can go to this address" in message
    assert "backbone.teacher.url" in message
    assert "tries: 1" in message


@pytest.mark.parametrize("slow", [chat("late", pause=1.0), chat("late", drip=0.05)])
def test_a_slow_server_is_given_up_in_time(slow):
    """A body that drips would hold a time-out for ever that starts anew at each byte."""
    with serving(script(slow)) as (url, _):
        started = time.monotonic()
        message = refused(access(url, timeout=0.2, retries=1))
        assert time.monotonic() - started < 10
    assert "too long" in message
    assert "backbone.teacher.timeout" in message


def test_a_slow_answer_then_a_good_one():
    with serving(script(chat("late", pause=1.0), chat("hello"))) as (url, _):
        assert ask(access(url, timeout=0.3)).text == "hello"


def test_retry_after_is_obeyed():
    with serving(script(error(429, headers={"retry-after": "1"}), chat("hello"))) as (url, seen):
        assert ask(access(url)).text == "hello"
    assert seen.times[1] - seen.times[0] >= 1


def test_a_wait_that_is_too_long_is_told_and_not_waited():
    with serving(script(error(429, headers={"retry-after": "3600"}))) as (url, seen):
        message = refused(access(url))
    assert "asks to wait 3600 s" in message
    assert "max_wait" in message
    assert len(seen.bodies) == 1


def test_retry_after_is_a_number_or_a_date():
    now = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
    cases = {
        "7": 7.0, "0.5": 0.5, "-3": 0.0, "Thu, 01 Jan 2026 12:00:30 GMT": 30.0, "Thu, 01 Jan 2026 11:00:00 GMT": 0.0,
        "soon": None, "": None, "nan": None,
    }  # fmt: skip
    for text, seconds in cases.items():
        assert retry_after(httpx.Headers({"retry-after": text}), now) == seconds, text
    assert retry_after(httpx.Headers(), now) is None


def test_the_jitter_comes_from_the_seed_and_waits_grow():
    def waits(seed):
        with Endpoint(access("http://x/v1", seed=seed, backoff=1.0, max_wait=6.0), threading.Event()) as endpoint:
            return [endpoint._backoff("say", attempt) for attempt in range(5)]

    assert waits(1) == waits(1) != waits(2)
    for attempt, seconds in enumerate(waits(1)[:3]):
        assert 0.5 * 2**attempt <= seconds <= min(1.5 * 2**attempt, 6)
    assert max(waits(1)) <= 6


@pytest.mark.parametrize("key", ["with blank", "line\nbreak", "schlüssel"])
def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(key):
    with pytest.raises(InputError) as caught:
        Endpoint(access("http://127.0.0.1:9/v1", key=key), threading.Event())
    assert "RPOREC_TEACHER_KEY" in caught.value.message()
    assert key not in caught.value.message()
    assert key not in repr(access("http://127.0.0.1:9/v1", key=key))


def test_requests_a_minute_are_kept():
    pace = Pace(1200, threading.Event())  # one in 50 ms
    started = time.monotonic()
    for _ in range(5):
        pace.wait()
    assert 0.2 <= time.monotonic() - started < 10


def test_work_that_is_stopped_waits_no_longer():
    stopped = threading.Event()
    pace = Pace(None, stopped)
    pace.pause(60)
    threading.Timer(0.05, stopped.set).start()
    with pytest.raises(StoppedError):
        pace.wait()
    with serving(script(error(500))) as (url, _), pytest.raises(StoppedError):
        ask(access(url), stopped=stopped)
