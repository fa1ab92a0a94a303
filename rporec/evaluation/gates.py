"""The gates: what a challenger must show before it may serve, one pure function a gate.

Each takes evidence and limits and returns a Gate with what was observed, the threshold, the interval and the reason in
words. Nothing here measures, reads or promotes. Undecided counts against the challenger: an interval that reaches past
the margin refuses it, because the champion is known to work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rporec.evaluation import compare
from rporec.evaluation.compare import Comparison
from rporec.evaluation.terms import Status

Array = npt.NDArray[np.float64]
# Popularity, which must be beaten, is not among them.
FLOOR_RIVALS = ("markov", "ease", "sasrec", "gsasrec", "fusion")


@dataclass(frozen=True)
class Check:
    """One question put to the evidence: `observed` against `threshold`, with the interval where there is one.

    `smallest_detectable` is the true difference that so many users would show at this level four times in five.
    """

    name: str
    status: Status
    observed: float | None
    threshold: float | None
    interval: tuple[float, float] | None
    reason: str
    smallest_detectable: float | None = None


@dataclass(frozen=True)
class Gate(Check):
    """A gate's status; its figures are those of its tightest check, all of which stand in `checks`."""

    checks: tuple[Check, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """`pass` when no gate failed."""

    verdict: Literal["pass", "fail"]
    gates: tuple[Gate, ...]


@dataclass(frozen=True)
class Evidence:
    """NDCG@10 per test row [n] of every ranker, and how they may be compared.

    Args:
        values: ranker name to [n] values; the challenger is `rporec`.
        users: [n] user of each row.
        alpha: one-sided error level that this look may spend (ledger.py), where the challenger must show something.
        harm_alpha: the level before any look was spent, where harm must be shown: a shrunk level would ask for more
            proof of harm at each look, and so let a later look pass what the first one refused.
        resamples, seed: of the bootstrap.
    """

    values: Mapping[str, Array]
    users: npt.NDArray[Any]
    alpha: float
    harm_alpha: float
    resamples: int
    seed: int

    def against(self, other: str, alpha: float) -> Comparison:
        """Compare the challenger with another ranker; the interval stands at 1 - 2 alpha."""
        a, b = self.values["rporec"], self.values[other]
        return compare.paired_bootstrap(a, b, self.users, self.resamples, 2 * alpha, self.seed)


@dataclass(frozen=True)
class ServiceMeasure:
    """What one packaged model costs: p95 latency [ms] of a recommendation, package size [MB], resident memory [MB]."""

    p95_ms: float
    package_mb: float
    memory_mb: float


def not_worse(evidence: Evidence, other: str, margin: float) -> Check:
    """Pass when the challenger trails `other` by at most `margin`, with the whole interval on the right side."""
    found = evidence.against(other, evidence.alpha)
    ok = found.low is not None and found.low >= -margin
    return _compared(f"not worse than {other}", found, -margin, ok, f"may trail {other} by {margin:g}")


def better(evidence: Evidence, other: str) -> Check:
    """Pass when the challenger beats `other`, with the interval above 0."""
    found = evidence.against(other, evidence.alpha)
    return _compared(f"better than {other}", found, 0.0, found.low is not None and found.low > 0, f"must beat {other}")


def not_beaten(evidence: Evidence, other: str) -> Check:
    """Pass unless the interval shows that `other` is better than the challenger."""
    found = evidence.against(other, evidence.harm_alpha)
    ok = found.high is not None and found.high >= 0
    return _compared(f"not beaten by {other}", found, 0.0, ok, f"{other} must not be better")


def data_gate(validation: Mapping[str, Any], leakage: Mapping[str, Any], ages: tuple[str, str] = ("", "")) -> Gate:
    """Data contracts and the leak audit passed, and the data are not older than the champion's.

    Args:
        validation: validate.json.
        leakage: leakage.json.
        ages: up to which date the package's data go, and the champion's; "" where there is none.
    """
    checks = [
        Check(name, "pass" if found["passed"] else "fail", None, None, None, f"{what} {_passed(bool(found['passed']))}")
        for name, what, found in (
            ("contracts", "data contracts", validation),
            ("leakage", "the leak audit", leakage),
        )
    ]  # fmt: skip
    own, champions = ages
    if own and champions:
        told = f"the data go up to {own}, the champion's up to {champions}"
        checks.append(Check("not older than the champion", _at(own >= champions), None, None, None, told))
    return _gate("data", checks)


def floor_gate(evidence: Evidence, margin: float) -> Gate:
    """Better than popularity, and not worse than any other baseline by more than the margin."""
    rivals = [not_worse(evidence, other, margin) for other in FLOOR_RIVALS]
    return _gate("floor", [better(evidence, "popularity"), *rivals])


def reasoning_gate(evidence: Evidence, margin: float, strict: bool) -> Gate:
    """Not worse than the better of the two heads without reasoning, nor beaten by another user's reasoning."""
    without = max(("no_reasoning", "reasoning_removed"), key=lambda name: _mean(evidence.values[name]))
    if strict:
        return _gate("reasoning", [better(evidence, without), better(evidence, "shuffled_reasoning")])
    return _gate("reasoning", [not_worse(evidence, without, margin), not_beaten(evidence, "shuffled_reasoning")])


def alignment_gate(evidence: Evidence, margin: float, strict: bool) -> Gate:
    """Not worse than stage 1 (before reinforcement learning) by more than the margin; strict: better."""
    return _gate("alignment", [better(evidence, "stage1") if strict else not_worse(evidence, "stage1", margin)])


def champion_gate(evidence: Evidence, margin: float) -> Gate:
    """Not worse than the champion (ranker `champion`), nor than the anchor (`anchor`), where there is one."""
    others = [name for name in ("champion", "anchor") if name in evidence.values]
    if not others:
        return Gate("champion", "not_applicable", None, None, None, "there is no other champion to compare with")
    return _gate("champion", [not_worse(evidence, other, margin) for other in others])


def form_gate(form: Mapping[str, float | None], min_well_formed: float, min_grounded: float) -> Gate:
    """Enough completions are well formed, as stored and as served, and what their thoughts name is in the history."""
    limits = {"well_formed": min_well_formed, "grounded": min_grounded, "well_formed as served": min_well_formed}
    return _gate("form", [_at_least(name, value, limits[name]) for name, value in form.items()])


def slices_gate(evidence: Evidence, masks: Mapping[str, npt.NDArray[np.bool_]], margin: float) -> Gate:
    """No slice falls below the champion by more than the margin; a fall must be shown at Holm's corrected level.

    A slice of so few users that they could show nothing at this level, whatever it holds, does not apply.
    """
    if "champion" not in evidence.values or not masks:
        return Gate("slices", "not_applicable", None, None, None, "there is no other champion to fall behind")
    difference = evidence.values["rporec"] - evidence.values["champion"]
    samples = {
        name: compare.resample_users(difference[mask, None], evidence.users[mask], evidence.resamples, evidence.seed)
        for name, mask in masks.items()
    }
    level = evidence.harm_alpha
    large = {name: sample for name, sample in samples.items() if compare.enough_users(sample.users, level)}
    checks = [_too_few(name, sample.users, -margin) for name, sample in samples.items() if name not in large]
    fell = compare.holm([compare.p_fall(sample, 0, margin) for sample in large.values()], level)
    for (name, sample), down in zip(large.items(), fell, strict=True):
        found = compare.interval(sample, 0, 2 * level)
        checks.append(_compared(name, found, -margin, not down, f"{name} may fall by {margin:g}"))
    return _gate("slices", checks)


def service_gate(found: ServiceMeasure, limits: ServiceMeasure) -> Gate:
    """Latency, size and memory of the packaged model stay within their limits."""
    parts = (
        ("p95 latency, ms", found.p95_ms, limits.p95_ms),
        ("package, MB", found.package_mb, limits.package_mb),
        ("memory, MB", found.memory_mb, limits.memory_mb),
    )
    return _gate("service", [_at_most(name, value, most) for name, value, most in parts])


def verdict(gates: Sequence[Gate]) -> Verdict:
    """Return `pass` when no gate failed and at least one was applicable."""
    statuses = [gate.status for gate in gates]
    return Verdict("pass" if "fail" not in statuses and "pass" in statuses else "fail", tuple(gates))


def _compared(name: str, found: Comparison, threshold: float, ok: bool, rule: str) -> Check:
    if found.difference is None:
        return Check(name, "fail", None, threshold, None, f"{rule}: no test rows, so nothing is shown")
    if found.low is None or found.high is None:
        few = f"{_users(found.users)}, too few to show anything"
        return Check(name, "fail", found.difference, threshold, None, f"{rule}: {few}")
    told = f"{rule}: {found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}], {found.users} users"
    if not ok and found.difference >= threshold:
        told += f", undecided (they could show {found.smallest_detectable:.4f})"
    span, least = (found.low, found.high), found.smallest_detectable
    return Check(name, "pass" if ok else "fail", found.difference, threshold, span, told, least)


def _too_few(name: str, users: int, threshold: float) -> Check:
    told = f"{name}: {_users(users)}, too few to show a fall"
    return Check(name, "not_applicable", None, threshold, None, told)


def _users(count: int) -> str:
    return "one user" if count == 1 else f"{count or 'no'} users"


def _at_least(name: str, value: float | None, least: float) -> Check:
    if value is None:
        return Check(name, "fail", None, least, None, f"{name}: no completions to judge")
    return Check(
        name, "pass" if value >= least else "fail", value, least, None, f"{name} {value:.3f}, at least {least:g}"
    )


def _at_most(name: str, value: float, most: float) -> Check:
    return Check(name, "pass" if value <= most else "fail", value, most, None, f"{name} {value:.1f}, at most {most:g}")


def _gate(name: str, checks: Sequence[Check]) -> Gate:
    """Join checks: all that apply must pass; the first failed one, else the one nearest to its threshold, speaks."""
    failed = [check for check in checks if check.status == "fail"]
    passed = [check for check in checks if check.status == "pass"]
    reason = "; ".join(check.reason for check in (failed or checks))
    if not failed and not passed:
        return Gate(name, "not_applicable", None, None, None, reason, checks=tuple(checks))
    told = failed[0] if failed else min(passed, key=_slack)
    return Gate(
        name, told.status, told.observed, told.threshold, told.interval, reason, told.smallest_detectable, tuple(checks)
    )


def _slack(check: Check) -> float:
    """Return how far a passed check stood from its threshold, as a share of thresholds above 1 (units differ there)."""
    if check.observed is None or check.threshold is None:
        return 0.0
    nearest = check.observed if check.interval is None else check.interval[0]
    return abs(nearest - check.threshold) / max(1.0, abs(check.threshold))


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else 0.0


def _at(ok: bool) -> Status:
    return "pass" if ok else "fail"


def _passed(passed: bool) -> str:
    return "passed" if passed else "failed"
