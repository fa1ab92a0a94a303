"""One judgement from start to end: rivals, rows, a look spent, the contest, every gate asked, a pass written down.

What each gate wants is gates.py; where the verdict is put is the step's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rporec.config import Params
from rporec.evaluation import anchor, contest, gates, judge, ledger, service, slices, terms, unseen
from rporec.evaluation.candidate import Candidate
from rporec.evaluation.contest import Field, Rival
from rporec.evaluation.ledger import Look
from rporec.release import lookup, registry
from rporec.release.place import Place


def judged(candidate: Candidate, place: Place, params: Params) -> dict[str, Any]:
    """Judge a package and return gates.json.

    Args:
        candidate: the package with what its run left to judge it by.
        place: the registry, and RPOREC_HOME with the ledger, the judgements and the rows of earlier nights.
        params: of the run.

    Raises:
        InputError: a rival's package was changed or cannot be loaded, or a file of RPOREC_HOME cannot be read.
    """
    limits, model = params.gate, lookup.model_name(params.run.profile)
    now = registry.champion(place, model)
    rivals = contest.find(place, model, candidate, limits.anchor_nights)
    kept = place.home / "rows" / model
    field = contest.lay(candidate, rivals, kept)
    against = " ".join(rival.version.package_hash for rival in rivals.values())
    seen = ledger.seen(field.rows, candidate.item_ids)
    look = ledger.spend(place.home / "ledger.jsonl", seen, candidate.package_hash, limits.alpha, against)
    case = _case(candidate, rivals, field, place, params, look)
    better = judge.shown_better(case.contest)
    data = {key: candidate.lineage[key] for key in ("data_hash", "as_of")}
    subject = judge.Subject(
        candidate.package_hash, data, look,
        champion=None if now is None else {"version": now.number, "package_hash": now.package_hash},
        anchor=rivals["anchor"].told() if "anchor" in rivals else None,
        limits=terms.limits_digest(limits),
    )  # fmt: skip
    stated = judge.as_json(judge.judge(case, limits), subject, better=better)
    unseen.keep(kept, ledger.rows_hash(candidate.rows, candidate.item_ids), candidate.rows, candidate.item_ids)
    if stated["verdict"] == "pass":
        before = "" if now is None else now.package_hash
        passed = anchor.Judgement(model, candidate.package_hash, before, data["as_of"], better)
        anchor.note(contest.judgements_file(place.home), passed)
    return stated


def _case(
    candidate: Candidate, rivals: Mapping[str, Rival], field: Field, place: Place, params: Params, look: Look
) -> judge.Case:
    limits, seed = params.gate, params.run.seed
    scored = contest.hold(candidate, rivals, field, params.run.threads, place.home / "vectors")
    stored = candidate.values()
    tonight = candidate.rows.height
    levels = (look.alpha, limits.alpha, limits.resamples, seed)
    users = field.rows["user_id"].to_numpy()
    fair = {name: values[field.fair] for name, values in scored.values.items()}
    requests = limits.latency_requests
    return judge.Case(
        candidate.validation,
        candidate.leakage,
        (candidate.lineage["as_of"], rivals["champion"].version.as_of if "champion" in rivals else ""),
        evidence=gates.Evidence(stored, users[:tonight], *levels),
        served=gates.Evidence({**stored, "rporec": scored.values["rporec"][:tonight]}, users[:tonight], *levels),
        contest=gates.Evidence(fair, users[field.fair], *levels),
        form={name: candidate.metrics["form"][name] for name in ("well_formed", "grounded")}
        | {"well_formed as served": scored.well_formed},
        slices=_slices(candidate, field),
        service=service.measure(candidate.package, candidate.histories(requests), requests),
    )


def _slices(candidate: Candidate, field: Field) -> dict[str, np.ndarray]:
    """Return the slices of the contest's rows; rows of earlier nights stand in none."""
    more = np.zeros(field.rows.height - candidate.rows.height, dtype=bool)
    return {name: np.append(mask, more)[field.fair] for name, mask in slices.slice_masks(candidate.ranks).items()}
