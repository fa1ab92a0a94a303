"""The smoke test of a new champion: real questions to a real service of it, and back to the version before if it fails.

Asked is the service at RPOREC_SERVICE_URL, once it says the new version; where that is not set, one that is started for
the purpose. Whether the model is good is the gates' business; here only: do users get answers, and from this version?
"""

from __future__ import annotations

import getpass
import logging
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from infra import service
from infra.run import registry_uri
from infra.workspace import Workspace
from rporec.errors import InputError
from rporec.release import lookup, registry, rollback
from rporec.release.lookup import Version
from rporec.release.place import Place, locate
from rporec.release.signature import trust_of

log = logging.getLogger("rporec")
REASON = "smoke test:"  # how the audit's reason begins
_STRANGER = "no item has this id: smoke test"
_POLL_SECONDS = 0.5
_ANSWER_SECONDS = 30.0  # one answer, reasoning written live included
_SHOWN = 200  # characters of what went wrong


class FailedError(Exception):
    """The service did not answer as it must; in words."""


@dataclass(frozen=True)
class Question:
    """A request, and what its answer must have.

    Args:
        body: what is posted to /recommend.
        ranking: who must rank, `rechead` or `popularity`.
        unknown: entries that must be told as unknown.
    """

    body: dict[str, Any]
    ranking: str
    unknown: tuple[str, ...] = ()


def test(space: Workspace, package_hash: str) -> None:
    """Ask the service of the package, if that is the champion; where it fails, roll back.

    Raises:
        InputError: it failed now or in an earlier try; the message says which version users are on.
    """
    trust = trust_of(space.params.package.signature, os.environ)
    place = locate(space.checkout, {**os.environ, "MLFLOW_TRACKING_URI": registry_uri(space)}, trust)
    model = lookup.model_name(space.params.run.profile)
    _not_again(place, model, package_hash)
    champion = registry.champion(place, model)
    if champion is None or champion.package_hash != package_hash:
        log.info("smoke: this package is not the champion, nothing to ask")
        return
    try:
        asked = ask(space, champion)
    except FailedError as error:
        raise _back(space, place, champion, str(error)) from None
    log.info("smoke: version %d of %s answers, %d questions", champion.number, model, asked)


def ask(space: Workspace, champion: Version) -> int:
    """Ask the questions and return how many there were.

    Raises:
        FailedError: the service did not come, is on another version, or an answer is not what it must be.
    """
    with _address(space) as address, httpx.Client(base_url=address, timeout=_ANSWER_SECONDS) as client:
        try:
            _wait(client, champion, space.params.promote.smoke_seconds)
            questions = _questions(_json(client.get("/items", params={"limit": 3})), space.params.serve.default_k)
            for question in questions:
                check(_json(client.post("/recommend", json=question.body)), question, champion)
        except (httpx.HTTPError, KeyError, TypeError, IndexError) as error:  # no answer, or one of another form
            raise FailedError(f"{type(error).__name__}: {error}"[:_SHOWN]) from error
    return len(questions)


@contextmanager
def _address(space: Workspace) -> Iterator[str]:
    given = os.environ.get(service.ADDRESS, "").strip()
    if given:
        yield given
        return
    with service.own(space, space.root / "work" / "smoke.log") as address:
        yield address


def _wait(client: httpx.Client, champion: Version, seconds: float) -> None:
    """Wait until the service says the new version."""
    deadline, seen = time.monotonic() + seconds, "no answer"
    while True:
        try:
            reply = client.get("/model")
            said = reply.json() if reply.status_code == httpx.codes.OK else {}
            seen = f"version {said['version']}" if "version" in said else f"status {reply.status_code}"
            if (said.get("name"), said.get("package_hash")) == (champion.model, champion.package_hash):
                return
            if said.get("refused") or said.get("trouble"):
                seen += f", refused {said.get('refused')}, trouble {said.get('trouble')}"
        except (httpx.HTTPError, ValueError) as error:
            seen = type(error).__name__
        if time.monotonic() > deadline:
            raise FailedError(f"the service did not come to version {champion.number} within {seconds:g} s ({seen})")
        time.sleep(_POLL_SECONDS)


def _questions(found: Any, k: int) -> list[Question]:  # noqa: ANN401 - any JSON value
    ids = [item["item_id"] for item in found["items"]]
    if not ids:
        raise FailedError("the catalogue is empty")
    return [
        Question({"history": ids, "k": k, "explain": True}, "rechead"),
        Question({"history": [*ids, _STRANGER], "k": 1}, "rechead", (_STRANGER,)),
        Question({"history": [_STRANGER], "k": k}, "popularity", (_STRANGER,)),
        Question({"history": [], "k": k}, "popularity"),
    ]


def check(answer: Any, question: Question, champion: Version) -> None:  # noqa: ANN401 - any JSON value
    """Refuse an answer that is not what the question must have.

    Raises:
        FailedError: another version, another ranker, too many or doubled items, scores that are no ordered shares.
    """
    items, about = answer["items"], answer["model"]
    scores, ids = [item["score"] for item in items], [item["item_id"] for item in items]
    k = question.body["k"]
    faults = {
        f"version {about['version']} answered": about["package_hash"] != champion.package_hash,
        f"{answer['ranking']} ranked": answer["ranking"] != question.ranking,
        f"{len(ids)} items where at most {k} were asked for": not 0 < len(ids) <= k,
        "an item twice": len(set(ids)) != len(ids),
        "a score that is no probability": not all(_is_share(score) for score in scores),
        "items out of order": scores != sorted(scores, reverse=True),
        f"unknown ids {answer['unknown_ids']}": tuple(answer["unknown_ids"]) != question.unknown,
        "no explanation": question.body.get("explain", False) and items and items[0]["rests_on"] is None,
    }
    wrong = [fault for fault, present in faults.items() if present]
    if wrong:
        raise FailedError(f"asked {question.body}: {'; '.join(wrong)}"[:_SHOWN])


def _is_share(score: object) -> bool:
    return isinstance(score, int | float) and math.isfinite(score) and 0 <= score <= 1


def _json(reply: httpx.Response) -> Any:  # noqa: ANN401 - any JSON value
    if reply.status_code != httpx.codes.OK:
        raise FailedError(f"{reply.request.url.path}: status {reply.status_code}, {reply.text}"[:_SHOWN])
    try:
        return reply.json()
    except ValueError:
        raise FailedError(f"{reply.request.url.path}: the answer is no JSON") from None


def _not_again(place: Place, model: str, package_hash: str) -> None:
    """Fail a second try as the first: the version is no longer the champion, but nothing has become well."""
    known = registry.registered(place, model, package_hash)
    row = registry.taken_back(place, model, known) if known is not None else None
    if known is not None and row is not None and row.reason.startswith(REASON):
        now = registry.champion(place, model)
        raise _told(known.number, model, row.reason, f"users are on version {now.number if now else None}")


def _back(space: Workspace, place: Place, champion: Version, why: str) -> InputError:
    """Give users the previous version back; return what is to be told."""
    reason = f"{REASON} {why}"
    wish = rollback.Wish(None, getpass.getuser(), reason)
    try:
        done = rollback.rollback(place, champion.model, wish, space.params.promote.outage_seconds)
    except InputError as error:
        users = f"users stay on version {champion.number}: {error.problem}"
        return _told(champion.number, champion.model, reason, users)
    return _told(champion.number, champion.model, reason, f"users are on version {done.version.number} again")


def _told(number: int, model: str, reason: str, users: str) -> InputError:
    return InputError(
        f"version {number} of {model} failed its {reason}; {users}",
        field="version", value=number, rule="the service answers on the new version",
        cure="read work/smoke.log in the night's folder; make promote AGAIN=1 brings the version back by hand",
    )  # fmt: skip
