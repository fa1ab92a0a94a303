"""The model card of a package: what it is for, what it was made from, what it is worth, where it fails.

Says what the evaluation found and nothing that a run could add: no time, host, run id or commit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rporec.evaluation.markup import figure
from rporec.release.document import Grid, Paragraph, Points, Section

_METRIC = "ndcg@10"
_SHOWN = ("hr@5", "hr@10", "ndcg@5", "ndcg@10", "mrr")
_RIVALS = ("no_reasoning", "fusion")  # beside rporec in a slice
_SAMPLES = 3  # of each kind
_WORST = 3  # slices named among the limits


@dataclass(frozen=True)
class CardFacts:
    """What the card tells.

    Args:
        lineage: `profile`, `data_hash`, `as_of`, `ships`.
        params: all params that shape the package.
        metrics: metrics.json of the evaluation.
        samples: kind of sample (good, bad) to rows of it (samples.json).
    """

    lineage: Mapping[str, Any]
    params: Mapping[str, Any]
    metrics: Mapping[str, Any]
    samples: Mapping[str, Sequence[Mapping[str, Any]]]


def title(facts: CardFacts) -> str:
    """Return the card's title: the registered name."""
    return f"rporec-{facts.lineage['profile']}"


def build(facts: CardFacts) -> list[Section]:
    """Return the card's sections, for `rporec.release.document`."""
    return [
        Section("Intended use", _use(facts)),
        Section("Data", _data(facts)),
        Section("How it was made", _method(facts)),
        Section("Metrics", _metrics(facts.metrics)),
        Section("Differences", _differences(facts.metrics)),
        Section("Slices", _slices(facts.metrics)),
        Section("Limits", (Points(tuple(_limits(facts))),)),
        Section("Reasoning that helped", _samples(facts.samples.get("good", ()))),
        Section("Reasoning that failed", _samples(facts.samples.get("bad", ()))),
    ]


def _use(facts: CardFacts) -> tuple[Paragraph, ...]:
    return (
        Paragraph(
            f"{facts.params['package']['intended_use']}. Input: a purchase history as item ids; output: a ranking of "
            "the whole catalogue and the reasoning that it read."
        ),
        Paragraph(
            "Not for decisions about people (credit, employment, health), nor for telling why somebody bought: the "
            "reasoning is text written by a language model about a history of items."
        ),
    )


def _data(facts: CardFacts) -> tuple[Points]:
    metrics = facts.metrics
    return (
        Points(
            (
                f"terms: {facts.params['package']['data_terms']}",
                f"source: {facts.params['ingest']['source']}; data up to: "
                f"{facts.lineage['as_of'] or 'no date: the source has a given split'}",
                f"hash of the tables: {facts.lineage['data_hash']}",
                f"catalogue: {metrics['items']} items; test: {metrics['rows']} rows of {metrics['users']} users",
            )
        ),
    )


def _method(facts: CardFacts) -> tuple[Points]:
    shipped = {
        "policy": "the policy after reinforcement learning",
        "backbone": "the backbone before reinforcement learning: the policy lost to it on valid beyond the margin",
    }[facts.lineage["ships"]]
    origin = facts.params["backbone"]["name"] or "a small model trained from scratch on composed reasoning (embedded)"
    return (
        Points(
            (
                f"reasoning is written by {shipped}; backbone: {origin}",
                f"ranking: Rechead, architecture {facts.params['rechead']['architecture']}, refit on train and valid",
                f"reinforcement learning: GRPO, {facts.params['align']['steps']} steps, reward by the frozen Rechead",
            )
        ),
    )


def _metrics(metrics: Mapping[str, Any]) -> tuple[Paragraph, Grid]:
    rows = []
    for name, figures in metrics["rankers"].items():
        rows.append((name, *(figure(figures[key]) for key in _SHOWN), _span(metrics["intervals"][name])))
    told = "The whole catalogue is ranked; ties count with their expected value. The interval is of NDCG@10, by user."
    return Paragraph(told), Grid(("ranker", *_SHOWN, "interval"), tuple(rows))


def _differences(metrics: Mapping[str, Any]) -> tuple[Paragraph, Grid]:
    rows = [(name, *_difference(found[_METRIC])) for name, found in metrics["comparisons"].items()]
    told = "NDCG@10 of rporec minus that of each other ranker on the same rows, paired by user."
    return Paragraph(told), Grid(("against", "difference", "interval"), tuple(rows))


def _slices(metrics: Mapping[str, Any]) -> tuple[Grid, ...]:
    rows = [
        (
            name,
            str(found["n"]),
            *(figure(found["rankers"][ranker]) for ranker in ("rporec", *_RIVALS)),
            *_difference(found["rporec - fusion"]),
        )
        for name, found in metrics["slices"].items()
    ]
    head = ("slice, NDCG@10", "rows", "rporec", *_RIVALS, "rporec - fusion", "interval")
    return (Grid(head, tuple(rows)),) if rows else ()


def _limits(facts: CardFacts) -> list[str]:
    metrics = facts.metrics
    form, alone = metrics["form"], metrics["comparisons"]["reasoning_removed"][_METRIC]
    lines = [
        "the reasoning explains in words what the ranking read; it is not a proof of why an item was bought",
        f"{_share(form['well_formed'])} of the completions are well formed, the others are not read",
        f"{_share(form['grounded'])} of the thoughts name nothing but what history and evidence hold",
        f"reasoning changes NDCG@10 by {figure(alone['difference'])} {_span((alone['low'], alone['high']))}",
        "items and users unlike the training data are ranked from text alone, and worse",
        "a history without any known item gets the most bought items",
    ]
    whole = metrics["rankers"]["rporec"][_METRIC]
    weak = sorted((found["rankers"]["rporec"] or 0.0, name, found["n"]) for name, found in metrics["slices"].items())
    lines += [
        f"weak in slice {name}: NDCG@10 {figure(value)} on {rows} rows, against {figure(whole)} over all"
        for value, name, rows in weak[:_WORST]
        if whole is not None and value < whole
    ]
    if facts.params["ingest"]["source"] == "market":
        lines.append("the data are simulated: nothing follows from these figures for a real market")
    return lines


def _samples(samples: Sequence[Mapping[str, Any]]) -> tuple[Points, ...]:
    return tuple(
        Points(
            (
                f"bought: {' → '.join(sample['history'])}",
                f"thought: {sample['thought'] or sample['completion']}",
                f"answer: {sample['answer'] or 'none'}",
                f"true next: {sample['target']} "
                f"(rank {sample['rank']:g}; {sample['rank_removed']:g} without reasoning)",
                f"well formed: {'yes' if sample['well_formed'] else 'no'}; grounded: {sample['grounded']:.2f}",
            )
        )
        for sample in samples[:_SAMPLES]
    )


def _difference(found: Mapping[str, Any]) -> tuple[str, str]:
    return figure(found["difference"]), _span((found["low"], found["high"]))


def _span(interval: Sequence[float | None] | None) -> str:
    low, high = interval or (None, None)
    return "–" if low is None or high is None else f"[{figure(low)}, {figure(high)}]"


def _share(value: float | None) -> str:
    return "an unknown share" if value is None else f"{value:.1%}"
