"""`python -m infra.monitor`: one look at the running service; what is beyond its limit (section `monitor`) fails.

Counters are compared with those of the last look that had answers enough, so shares are of what happened since; a
service that was started again meanwhile begins anew. Prometheus' alerts (infra/monitoring) see the same in seconds and
need a Prometheus; this needs only Airflow. The profile is that of the nights (RPOREC_PROFILE).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import httpx
from prometheus_client.parser import text_string_to_metric_families

from infra import overlay, reference, service, worktree
from infra.reference import Reference
from rporec import config
from rporec.data import drift
from rporec.errors import InputError
from rporec.files import read_json, write_json
from rporec.release import lookup
from rporec.release.place import Place, locate
from rporec.serving import bands
from steps.stage import guarded

log = logging.getLogger("rporec")
REPORT = Path("reports") / "monitor.json"
Status = Literal["pass", "fail", "unknown"]
Counters = Mapping[str, float]
_ANSWERS, _FALLBACKS = "rporec_answer_seconds_count", "rporec_fallbacks_total"
_BANDS, _LENGTHS = "rporec_history_popularity_total", "rporec_history_items_bucket"
_WATCHED = (_ANSWERS, _FALLBACKS, _BANDS, _LENGTHS)


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; `observed` and `limit` are null where there is no number."""

    name: str
    status: Status
    observed: float | None
    limit: float | None
    told: str


@dataclass(frozen=True)
class Look:
    """What the service said: /model, and its counters by `name{labels}`."""

    model: Mapping[str, Any]
    counters: Counters


def drive(folder: Path) -> None:
    """Look, write reports/monitor.json, and tell one line.

    Raises:
        InputError: something is beyond its limit; all of it is named.
    """
    checkout = worktree.find_checkout(folder)
    profile = os.environ.get("RPOREC_PROFILE", "") or "nightly"
    params = overlay.merge(checkout, profile, "", None)[1]
    address = os.environ.get(service.ADDRESS, "").strip() or f"http://127.0.0.1:{params.serve.port}"
    place, model = locate(checkout, os.environ), lookup.model_name(profile)
    checks = examine(address, place, model, params.monitor)
    failed = [check for check in checks if check.status == "fail"]
    report = {"service": address, "model": model, "status": "fail" if failed else "pass"}
    write_json(checkout / REPORT, {**report, "checks": [asdict(check) for check in checks]})
    if failed:
        raise InputError(
            f"monitor: {'; '.join(check.told for check in failed)}", file=checkout / REPORT,
            rule="section monitor of params.yaml", cure="docs/nights.md says what to do about each",
        )  # fmt: skip
    log.info("monitor: %s", "; ".join(check.told for check in checks))


def examine(address: str, place: Place, model: str, limits: config.MonitorParams) -> list[Check]:
    """Return what was found of the service at an address; one that does not answer has one check, `health`."""
    try:
        seen = look(address, limits.timeout)
    except (httpx.HTTPError, ValueError) as error:
        return [Check("health", "fail", None, None, f"the service at {address} does not answer ({error})")]
    state = place.home / "monitor" / f"{model}.json"
    since, kept = fresh(seen.counters, _last(state), limits.min_requests)
    write_json(state, dict(kept))
    known = reference.of(place, model, str(seen.model["package_hash"]))
    return [health(seen, model), freshness(seen), *shares(since, limits), *drifted(since, known, limits)]


def look(address: str, seconds: float) -> Look:
    """Ask the service.

    Raises:
        httpx.HTTPError: it does not answer, or is not ready.
        ValueError: what it says is no JSON.
    """
    with httpx.Client(base_url=address, timeout=seconds) as client:
        client.get("/readyz").raise_for_status()
        model = client.get("/model").raise_for_status().json()
        text = client.get("/metrics").raise_for_status().text
    return Look(model, counted(text))


def counted(text: str) -> Counters:
    """Return the watched counters of a Prometheus text, by `name` or `name{value of its label}`."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in _WATCHED:
                label = next(iter(sample.labels.values()), "")
                found[f"{sample.name}{{{label}}}"] = sample.value
    return found


def fresh(now: Counters, last: Counters, least: int) -> tuple[Counters, Counters]:
    """Return what was counted since the last look, and the counters that the next look is to begin with.

    With fewer answers than `least` the next look begins where this one did, so that slow traffic is judged too.
    """
    base = {} if any(now.get(name, 0.0) < value for name, value in last.items()) else last
    since = {name: value - base.get(name, 0.0) for name, value in now.items()}
    return since, now if total(since, _ANSWERS) >= least else base


def total(counters: Counters, name: str) -> float:
    """Return the sum of a counter over its labels."""
    return sum(value for key, value in counters.items() if key.startswith(f"{name}{{"))


def health(seen: Look, model: str) -> Check:
    """Whether the service serves the profile's model and follows the registry without trouble."""
    said = seen.model
    if said["name"] != model:
        return Check("health", "fail", None, None, f"the service serves {said['name']}, not {model}")
    for trouble in ("refused", "trouble"):
        if said.get(trouble):
            return Check("health", "fail", None, None, f"the service is on version {said['version']}: {said[trouble]}")
    return Check("health", "pass", None, None, f"version {said['version']} of {model} answers")


def freshness(seen: Look) -> Check:
    """How old the data of the model are; the service knows `monitor.max_age_days`."""
    age, stale = seen.model["data_age_days"], seen.model["stale"]
    if age is None:
        return Check("freshness", "unknown", None, None, "data without dates")
    return Check("freshness", "fail" if stale else "pass", float(age), None, f"data {age} days old")


def shares(since: Counters, limits: config.MonitorParams) -> list[Check]:
    """How many answers fell back."""
    answers = total(since, _ANSWERS)
    found = []
    for kind, most in (("popularity", limits.max_popularity), ("no_reasoning", limits.max_no_reasoning)):
        if answers < limits.min_requests:
            found.append(Check(kind, "unknown", None, most, f"{kind}: only {answers:.0f} answers"))
            continue
        share = since.get(f"{_FALLBACKS}{{{kind}}}", 0.0) / answers
        told = f"{kind} {share:.1%} of {answers:.0f} answers"
        found.append(Check(kind, "fail" if share > most else "pass", round(share, 6), most, told))
    return found


def drifted(since: Counters, known: Reference, limits: config.MonitorParams) -> list[Check]:
    """How far requests are from what was trained on; empty histories are fallbacks and no drift."""
    items = [since.get(f"{_BANDS}{{{name}}}", 0.0) for name in bands.NAMES]
    below = [since.get(f"{_LENGTHS}{{{float(step)}}}", 0.0) for step in bands.LENGTHS]
    steps = [*below, since.get(f"{_LENGTHS}{{+Inf}}", 0.0)]
    lengths = [high - low for low, high in pairwise(steps)]  # without the empty ones
    return [
        _index("item_popularity", items, (known.popularity, known.purchases), limits),
        _index("history_length", lengths, (known.lengths[1:], known.rows), limits),
    ]


def _index(name: str, now: list[float], then: tuple[list[float], int], limits: config.MonitorParams) -> Check:
    count, (before, rows) = sum(now), then
    if not before or count < limits.min_requests:
        why = f"only {count:.0f} counted" if before else "not known of this model"
        return Check(name, "unknown", None, limits.drift_psi, f"{name}: {why}")
    psi = drift.stability_index(before, [value / count for value in now])
    high = psi > limits.drift_psi and psi > drift.chance_index(len(before), rows, int(count))
    told = f"{name} {'drifted' if high else 'steady'}, index {psi:.3f}"
    return Check(name, "fail" if high else "pass", round(psi, 6), limits.drift_psi, told)


def _last(state: Path) -> Counters:
    try:
        found: dict[str, float] = read_json(state)
    except (OSError, ValueError):
        return {}
    return found


def main() -> None:
    """Look once, from the current folder."""
    guarded(lambda: drive(Path.cwd()))


if __name__ == "__main__":
    main()
