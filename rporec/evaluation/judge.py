"""From evidence to gates.json: every gate put together, and the verdict as a file and as a table for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rporec.config import GateParams
from rporec.evaluation import gates
from rporec.evaluation.gates import Evidence, ServiceMeasure, Verdict
from rporec.evaluation.ledger import Look


@dataclass(frozen=True)
class Case:
    """All that is known of one package when it is judged.

    Args:
        validation, leakage: validate.json and leakage.json.
        ages: up to which date the package's data go, and the champion's; "" where there is none.
        evidence: NDCG@10 per test row of the evaluation's rankers, from stored completions.
        served: the same, with `rporec` as the package serves.
        contest: on rows that no compared package has trained on, each as it serves: `rporec`, and `champion` and
            `anchor` where there is one.
        form: shares `well_formed` and `grounded` of the stored completions, and `well_formed as served`.
        slices: slice name to the rows of the contest that it holds.
        service: what the package costs.
    """

    validation: Mapping[str, Any]
    leakage: Mapping[str, Any]
    ages: tuple[str, str]
    evidence: Evidence
    served: Evidence
    contest: Evidence
    form: Mapping[str, float | None]
    slices: Mapping[str, npt.NDArray[np.bool_]]
    service: ServiceMeasure


@dataclass(frozen=True)
class Subject:
    """What was judged, and against what.

    Args:
        package_hash: the package.
        data: `data_hash` and `as_of` of the package's lineage.
        look: the look that the judgement spent.
        champion, anchor: `version` and `package_hash` of each, None where there was none.
        limits: digest of the limits (`terms.limits_digest`).
    """

    package_hash: str
    data: Mapping[str, str]
    look: Look
    champion: Mapping[str, Any] | None
    anchor: Mapping[str, Any] | None
    limits: str


def judge(case: Case, params: GateParams) -> Verdict:
    """Ask every gate of design section 7, in its order."""
    limits = ServiceMeasure(params.max_p95_ms, params.max_package_mb, params.max_memory_mb)
    seen = case.evidence
    return gates.verdict(
        [
            gates.data_gate(case.validation, case.leakage, case.ages),
            gates.floor_gate(case.served, params.floor_margin),
            gates.reasoning_gate(seen, params.reasoning_margin, params.reasoning_strict),
            gates.alignment_gate(seen, params.alignment_margin, params.alignment_strict),
            gates.champion_gate(case.contest, params.champion_margin),
            gates.form_gate(case.form, params.min_well_formed, params.min_grounded),
            gates.slices_gate(case.contest, case.slices, params.slice_margin),
            gates.service_gate(case.service, limits),
        ]
    )


def shown_better(contest: Evidence) -> bool:
    """Tell whether the package is shown to beat the anchor, or the champion where that is the anchor."""
    oldest = next((name for name in ("anchor", "champion") if name in contest.values), None)
    return oldest is not None and gates.better(contest, oldest).status == "pass"


def as_json(verdict: Verdict, subject: Subject, *, better: bool) -> dict[str, Any]:
    """Return gates.json: the verdict bound to the package's bytes, its rivals' and the limits."""
    return {
        "verdict": verdict.verdict,
        "package_hash": subject.package_hash,
        "data": dict(subject.data),
        "rows_hash": subject.look.rows_hash,
        "look": {"number": subject.look.number, "alpha": subject.look.alpha},
        "limits": subject.limits,
        "champion": None if subject.champion is None else dict(subject.champion),
        "anchor": None if subject.anchor is None else dict(subject.anchor),
        "shown_better": better,
        "gates": [{**_figures(gate), "checks": [_figures(check) for check in gate.checks]} for gate in verdict.gates],
    }


def table(stated: Mapping[str, Any]) -> str:
    """Return gates.json as a table that a person reads: a row a gate, below it a row for each thing that it asked."""
    head = f"{'gate':<36} {'status':<14} {'observed':>9} {'interval':>20} {'threshold':>9}  reason"
    lines = [head, "-" * len(head)]
    for gate in stated["gates"]:
        lines.append(f"{gate['name']:<36} {gate['status'].replace('_', ' ')}")
        for check in gate["checks"] or [gate]:
            told = f"{'' if check is gate else '  ' + check['name']:<36} {check['status'].replace('_', ' '):<14}"
            if check is gate:
                lines.pop()
                told = f"{gate['name']:<36} {check['status'].replace('_', ' '):<14}"
            span = "-" if check["interval"] is None else "[{:+.4f}, {:+.4f}]".format(*check["interval"])
            figures = f"{_short(check['observed']):>9} {span:>20} {_short(check['threshold']):>9}"
            lines.append(f"{told} {figures}  {check['reason']}")
    return "\n".join(lines)


def _figures(check: gates.Check) -> dict[str, Any]:
    """Return a check in JSON's types."""
    return {
        "name": check.name,
        "status": check.status,
        "observed": check.observed,
        "threshold": check.threshold,
        "interval": None if check.interval is None else list(check.interval),
        "smallest_detectable": check.smallest_detectable,
        "reason": check.reason,
    }


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
