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
        evidence: NDCG@10 per row; holds `champion` (and `anchor`) where there is one to compare with.
        form: shares `well_formed` and `grounded`.
        slices: slice name to the rows [n] that it holds.
        service: what the package costs.
    """

    validation: Mapping[str, Any]
    leakage: Mapping[str, Any]
    evidence: Evidence
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
        champion: `version` and `package_hash` of the champion, None when there was none.
        limits: digest of the limits (`terms.limits_digest`).
    """

    package_hash: str
    data: Mapping[str, str]
    look: Look
    champion: Mapping[str, Any] | None
    limits: str


def judge(case: Case, params: GateParams) -> Verdict:
    """Ask every gate of design section 7, in its order."""
    limits = ServiceMeasure(params.max_p95_ms, params.max_package_mb, params.max_memory_mb)
    seen = case.evidence
    return gates.verdict(
        [
            gates.data_gate(case.validation, case.leakage),
            gates.floor_gate(seen, params.floor_margin),
            gates.reasoning_gate(seen, params.reasoning_margin, params.reasoning_strict),
            gates.alignment_gate(seen, params.alignment_margin, params.alignment_strict),
            gates.champion_gate(seen, params.champion_margin),
            gates.form_gate(case.form, params.min_well_formed, params.min_grounded),
            gates.slices_gate(seen, case.slices, params.slice_margin),
            gates.service_gate(case.service, limits),
        ]
    )


def as_json(verdict: Verdict, subject: Subject) -> dict[str, Any]:
    """Return gates.json: the verdict bound to the package's bytes, the champion's and the limits."""
    return {
        "verdict": verdict.verdict,
        "package_hash": subject.package_hash,
        "data": dict(subject.data),
        "rows_hash": subject.look.rows_hash,
        "look": {"number": subject.look.number, "alpha": subject.look.alpha},
        "limits": subject.limits,
        "champion": None if subject.champion is None else dict(subject.champion),
        "gates": [{**_figures(gate), "checks": [_figures(check) for check in gate.checks]} for gate in verdict.gates],
    }


def table(stated: Mapping[str, Any]) -> str:
    """Return gates.json as a table that a person reads, each row with its reason."""
    lines = [f"{'gate':<10} {'status':<14} {'observed':>10} {'threshold':>10}  reason"]
    for gate in stated["gates"]:
        figures = " ".join(f"{_short(gate[key]):>10}" for key in ("observed", "threshold"))
        lines.append(f"{gate['name']:<10} {gate['status'].replace('_', ' '):<14} {figures}  {gate['reason']}")
    return "\n".join(lines)


def _figures(check: gates.Check) -> dict[str, Any]:
    """Return a check in JSON's types."""
    return {
        "name": check.name,
        "status": check.status,
        "observed": check.observed,
        "threshold": check.threshold,
        "interval": None if check.interval is None else list(check.interval),
        "reason": check.reason,
    }


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
