"""The model card of a package: what it is for, what it was made from, what it is worth, where it fails (Markdown)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_SHOWN = ("hr@5", "hr@10", "ndcg@5", "ndcg@10", "mrr")


@dataclass(frozen=True)
class CardFacts:
    """What the card tells.

    Args:
        lineage: `profile`, `data_hash`, `as_of`, `ships`.
        params: all params that shape the package.
        metrics: metrics.json of the evaluation.
        samples: kind of sample to rows of it (samples.json).
    """

    lineage: Mapping[str, Any]
    params: Mapping[str, Any]
    metrics: Mapping[str, Any]
    samples: Mapping[str, Sequence[Mapping[str, Any]]]


def build(facts: CardFacts) -> str:
    """Return the card."""
    about = facts.params["package"]
    parts = [
        f"# rporec-{facts.lineage['profile']}",
        "## Intended use",
        f"{about['intended_use']}. Input: a purchase history as item ids; output: a ranking of the whole catalogue and "
        "the reasoning that it read.",
        "## Data",
        _data(facts),
        "## How it was made",
        _method(facts),
        "## Metrics",
        _metrics(facts.metrics),
        "## Limits",
        _limits(facts),
    ]
    return "\n\n".join(parts) + "\n"


def _data(facts: CardFacts) -> str:
    as_of = facts.lineage["as_of"] or "no date: the source has a given split"
    metrics = facts.metrics
    return "\n".join(
        [
            f"- terms: {facts.params['package']['data_terms']}",
            f"- source: {facts.params['ingest']['source']}; data up to: {as_of}",
            f"- hash of the tables: `{facts.lineage['data_hash']}`",
            f"- catalogue: {metrics['items']} items; test: {metrics['rows']} rows of {metrics['users']} users",
        ]
    )


def _method(facts: CardFacts) -> str:
    shipped = {
        "policy": "the policy after reinforcement learning",
        "backbone": "the backbone before reinforcement learning: the policy lost to it on valid beyond the margin",
    }[facts.lineage["ships"]]
    backbone = facts.params["backbone"]
    origin = backbone["name"] or "a small model trained from scratch on composed reasoning (embedded)"
    return "\n".join(
        [
            f"- reasoning is written by {shipped}; backbone: {origin}",
            f"- ranking: Rechead, architecture {facts.params['rechead']['architecture']}, refit on train and valid",
            f"- reinforcement learning: GRPO, {facts.params['align']['steps']} steps, reward by the frozen Rechead",
        ]
    )


def _metrics(metrics: Mapping[str, Any]) -> str:
    head = f"| ranker | {' | '.join(_SHOWN)} |\n|---|{'---:|' * len(_SHOWN)}"
    rows = [
        f"| {name} | {' | '.join(_number(figures[key]) for key in _SHOWN)} |"
        for name, figures in metrics["rankers"].items()
    ]
    ranked = "The whole catalogue is ranked; ties count with their expected value."
    return "\n".join([f"{ranked}\n", head, *rows])


def _limits(facts: CardFacts) -> str:
    lines = [
        "- the reasoning explains in words what the ranking read; it is not a proof of why an item was bought",
        "- items and users unlike the training data are ranked from text alone, and worse",
        "- a history without any known item gets the most bought items",
    ]
    if facts.params["ingest"]["source"] == "market":
        lines.append("- the data are simulated: nothing follows from these figures for a real market")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
