"""Replies of a teacher to many prompts: several requests at once, every reply kept on disk as soon as it is there.

A reply is named by the hash of all that it depends on (model, prompt, settings), so that a second run, or one after a
kill, asks only for what is missing. Where the endpoint is and how patiently it is asked does not count.
"""

import hashlib
import json
import logging
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rporec.backbone.endpoint import Access, Endpoint, StoppedError
from rporec.backbone.wire import Reply
from rporec.errors import InputError
from rporec.files import atomic_file, read_json
from rporec.progress import Progress

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cost:
    """What replies cost.

    Attributes:
        replies: how many.
        prompt_tokens: tokens read, None where the server did not count.
        completion_tokens: tokens written, None where the server did not count.
        dollars: US dollars, None where tokens or prices are unknown.
    """

    replies: int
    prompt_tokens: int | None
    completion_tokens: int | None
    dollars: float | None


@dataclass(frozen=True, slots=True)
class Asked:
    """Replies to prompts.

    Attributes:
        replies: by prompt.
        whole: cost of all of them, whenever they were asked for: the same in every run.
        now: cost of those that this run asked for.
    """

    replies: dict[str, Reply]
    whole: Cost
    now: Cost


def ask_all(prompts: Sequence[str], access: Access, kept: Path) -> Asked:
    """Return the reply to every prompt; a prompt that stands twice is asked once.

    Args:
        prompts: what to ask.
        access: how the endpoint is reached.
        kept: folder of the replies, which outlives a run.

    Raises:
        InputError: the endpoint cannot be used; replies that came before are kept.
    """
    wanted = list(dict.fromkeys(prompts))
    found = {prompt: reply for prompt in wanted if (reply := _load(_place(kept, access, prompt))) is not None}
    missing = [prompt for prompt in wanted if prompt not in found]
    fresh = _fetch(missing, access, kept) if missing else {}
    return Asked(
        # In the order of the prompts, so that no result hangs on which reply came first.
        replies={prompt: fresh[prompt] if prompt in fresh else found[prompt] for prompt in wanted},
        whole=cost_of([*found.values(), *fresh.values()], access),
        now=cost_of(fresh.values(), access),
    )


def cost_of(replies: Iterable[Reply], access: Access) -> Cost:
    """Add up tokens and, where both prices are known, US dollars."""
    listed = list(replies)
    read = _total(reply.prompt_tokens for reply in listed)
    written = _total(reply.completion_tokens for reply in listed)
    prices = (access.params.prompt_price, access.params.completion_price)
    dollars = None
    if read is not None and written is not None and prices[0] is not None and prices[1] is not None:
        dollars = (read * prices[0] + written * prices[1]) / 1e6
    return Cost(len(listed), read, written, dollars)


def _fetch(prompts: Sequence[str], access: Access, kept: Path) -> dict[str, Reply]:
    """Ask with bounded concurrency; the first failure ends all waiting and is raised."""
    stopped = threading.Event()
    fresh: dict[str, Reply] = {}
    dollars = 0.0

    def one(prompt: str) -> Reply:
        try:
            reply = endpoint.ask(prompt)
        except InputError:
            stopped.set()  # here and not where it is raised again: no other request may start meanwhile
            raise
        _save(_place(kept, access, prompt), reply)
        return reply

    with (
        Endpoint(access, stopped) as endpoint,
        ThreadPoolExecutor(access.params.concurrency, "teacher") as pool,
        Progress("ask the teacher", len(prompts), "replies") as progress,
    ):
        tasks: dict[Future[Reply], str] = {pool.submit(one, prompt): prompt for prompt in prompts}
        try:
            for task in as_completed(tasks):
                with suppress(StoppedError):  # its cause comes with another task
                    reply = fresh[tasks[task]] = task.result()
                    dollars += cost_of([reply], access).dollars or 0.0
                progress.advance(1, f"{dollars:.2f} dollars" if dollars else "")
        finally:
            # What is under way still ends and is kept: it is paid for.
            stopped.set()
            pool.shutdown(wait=True, cancel_futures=True)
            _log_end(tasks)
    return fresh


def _log_end(tasks: dict["Future[Reply]", str]) -> None:
    ended = [task for task in tasks if task.done() and not task.cancelled()]
    good = sum(task.exception() is None for task in ended)
    if good < len(tasks):
        log.info("the teacher wrote %d of %d replies; they are kept", good, len(tasks))


def _place(kept: Path, access: Access, prompt: str) -> Path:
    name = hashlib.sha256(json.dumps(access.payload(prompt), sort_keys=True).encode()).hexdigest()
    return kept / name[:2] / f"{name}.json"


def _save(path: Path, reply: Reply) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(
            json.dumps(
                {
                    "text": reply.text,
                    "prompt_tokens": reply.prompt_tokens,
                    "completion_tokens": reply.completion_tokens,
                }
            ),
            encoding="utf-8",
        )


def _load(path: Path) -> Reply | None:
    """Return a kept reply; one that cannot be read is asked for again."""
    with suppress(FileNotFoundError):
        try:
            return Reply(**read_json(path))
        except (ValueError, TypeError):
            log.warning("the kept reply %s cannot be read: it is asked for again", path)
    return None


def _total(counts: Iterable[int | None]) -> int | None:
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total
