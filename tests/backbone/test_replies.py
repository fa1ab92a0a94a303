"""Many prompts: bounded, kept on disk at once, paid for once."""

import json
import time

import pytest

from rporec.backbone.replies import ask_all
from rporec.errors import InputError
from tests.backbone.teaching import access, chat, error, serving

PROMPTS = [f"prompt {number}" for number in range(12)]
BABBLE = [
    b'{"text": "half a pair \\ud800", "prompt_tokens": 1, "completion_tokens": 1}',
    b'{"text": 3, "prompt_tokens": 1, "completion_tokens": 1}',
    b'{"text": "x", "prompt_tokens": %s, "completion_tokens": 1}' % (b"9" * 400),
    b'{"text": "x", "prompt_tokens": "1", "completion_tokens": 1}',
]


def echo(number, body):
    return chat("re: " + body["messages"][0]["content"])


def never(number, body):
    raise AssertionError("a kept reply was asked for again")


def test_every_prompt_has_its_reply_and_a_second_run_asks_nothing(tmp_path):
    with serving(echo) as (url, seen):
        first = ask_all([*PROMPTS, PROMPTS[0]], access(url), tmp_path)
        assert {prompt: reply.text for prompt, reply in first.replies.items()} == {p: f"re: {p}" for p in PROMPTS}
        assert len(seen.bodies) == 12  # the one that stood twice was asked once
        again = ask_all(PROMPTS, access(url), tmp_path)
    assert len(seen.bodies) == 12
    assert again.replies == first.replies
    assert list(again.replies) == PROMPTS
    assert (again.whole, again.now.replies) == (first.whole, 0)


def test_where_and_how_is_not_what_a_reply_depends_on_but_model_prompt_and_settings_are(tmp_path):
    with serving(echo) as (url, seen):
        ask_all(PROMPTS[:1], access(url), tmp_path)
        ask_all(PROMPTS[:1], access(url + "/", key="k", timeout=9.0, concurrency=1, retries=0), tmp_path)
        assert len(seen.bodies) == 1
        for change in ({"model": "other"}, {"temperature": 0.5}, {"max_tokens": 65}, {"seed": 8}):
            ask_all(PROMPTS[:1], access(url, **change), tmp_path)
        assert len(seen.bodies) == 5


def test_what_came_before_a_failure_is_kept(tmp_path):
    with serving(lambda number, body: echo(number, body) if number < 5 else error(401)) as (url, seen):
        with pytest.raises(InputError, match="401") as caught:
            ask_all(PROMPTS, access(url, concurrency=1), tmp_path)
        assert "goes on from them" in caught.value.message()
        assert len(seen.bodies) == 6  # nothing more is asked after a failure that does not pass
    with serving(echo) as (url, seen):
        asked = ask_all(PROMPTS, access(url), tmp_path)
        assert len(seen.bodies) == asked.now.replies == 7
    assert len(asked.replies) == asked.whole.replies == 12


def test_a_failure_ends_the_waiting_of_all_others(tmp_path):
    def mixed(number, body):
        return error(404) if body["messages"][0]["content"] == PROMPTS[3] else error(500)

    with serving(mixed) as (url, _):
        started = time.monotonic()
        with pytest.raises(InputError, match="404"):
            ask_all(PROMPTS, access(url, concurrency=6, backoff=30.0, max_wait=60.0), tmp_path)
        assert time.monotonic() - started < 25  # less than one pause


def test_no_more_requests_are_under_way_than_allowed(tmp_path):
    def slow(number, body):
        return chat("x", pause=0.03)

    with serving(slow) as (url, seen):
        ask_all(PROMPTS, access(url, concurrency=3), tmp_path)
    assert 2 <= seen.most_at_once <= 3


def test_a_limit_for_all_holds_all_back(tmp_path):
    def limited(number, body):
        return error(429, headers={"retry-after": "1"}) if number == 0 else echo(number, body)

    with serving(limited) as (url, seen):
        asked = ask_all(PROMPTS, access(url, concurrency=1), tmp_path)
    assert len(asked.replies) == 12
    assert seen.times[1] - seen.times[0] >= 1


@pytest.mark.parametrize("torn", [b"", b"{", b"[]", b'{"text": "x"}', b"\xff", *BABBLE])
def test_a_kept_reply_that_cannot_be_read_is_asked_for_again(tmp_path, torn):
    with serving(echo) as (url, seen):
        ask_all(PROMPTS[:1], access(url), tmp_path)
        (kept,) = tmp_path.rglob("*.json")
        kept.write_bytes(torn)
        asked = ask_all(PROMPTS[:1], access(url), tmp_path)
        assert len(seen.bodies) == 2
    assert asked.replies[PROMPTS[0]].text == f"re: {PROMPTS[0]}"
    assert json.loads(kept.read_text())["text"] == f"re: {PROMPTS[0]}"


def test_the_key_is_not_kept(tmp_path):
    with serving(echo) as (url, _):
        ask_all(PROMPTS[:2], access(url, key="sk-hush"), tmp_path)
    assert not any("sk-hush" in file.read_text() for file in tmp_path.rglob("*.json"))


def test_the_cost_is_counted_where_tokens_and_prices_are_known(tmp_path):
    prices = {"prompt_price": 2.0, "completion_price": 10.0}
    with serving(echo) as (url, _):
        asked = ask_all(PROMPTS, access(url, **prices), tmp_path)
        assert (asked.whole.prompt_tokens, asked.whole.completion_tokens) == (1200, 240)
        assert asked.whole.dollars == pytest.approx((1200 * 2 + 240 * 10) / 1e6)
        assert ask_all(PROMPTS, access(url, **prices), tmp_path).now.dollars == 0.0
        assert ask_all(PROMPTS, access(url), tmp_path).whole.dollars is None
    with serving(lambda *_: chat("x", None, 3)) as (url, _):
        cost = ask_all(["uncounted", *PROMPTS], access(url, **prices), tmp_path).whole
        assert (cost.prompt_tokens, cost.completion_tokens, cost.dollars) == (None, 243, None)
