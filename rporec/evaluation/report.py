"""The report a person reads: one HTML file that opens offline, everything inline, every datum escaped.

Built from the plain results (metrics.json, curves, samples, verdict), so that it can be rendered again with more of
them. Outside the promise of equal bytes; no stage depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from rporec.evaluation.charts import Bar, bar_chart, line_chart
from rporec.evaluation.markup import figure, mark, page, table, text

_METRIC = "ndcg@10"
_RANKERS = (
    "popularity", "markov", "ease", "sasrec", "gsasrec", "fusion",
    "no_reasoning", "reasoning_removed", "shuffled_reasoning", "stage1", "rporec",
)  # fmt: skip
_METRICS = ("hr@5", "hr@10", "hr@20", "ndcg@5", "ndcg@10", "ndcg@20", "mrr")
_SLICE_RANKERS = ("rporec", "no_reasoning", "fusion")


@dataclass(frozen=True)
class ReportData:
    """All that a report may show; what is empty is left out.

    Args:
        title: of the page.
        metrics: metrics.json.
        samples: samples.json.
        curves: chart title to (name of x, series name to points).
        verdict: gates.json.
        stages: one mapping a stage with `name`, `seconds`, `peak_mb`.
        drift: what moved since `drift_against`: mappings with `feature`, `psi`, `warned`, `message`.
        drift_against: the earlier days in words, "" when there were none.
        lineage: where the package comes from: name to value.
    """

    title: str
    metrics: Mapping[str, Any]
    samples: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    curves: Mapping[str, tuple[str, Mapping[str, Sequence[tuple[float, float]]]]] = field(default_factory=dict)
    verdict: Mapping[str, Any] | None = None
    stages: Sequence[Mapping[str, Any]] = ()
    drift: Sequence[Mapping[str, Any]] = ()
    drift_against: str = ""
    lineage: Mapping[str, str] = field(default_factory=dict)


def render(data: ReportData) -> str:
    """Return the whole page."""
    sections = [
        ("Verdict", _verdict(data.verdict)),
        ("Rankers on the test rows", _rankers(data.metrics)),
        ("rporec against each other ranker", _comparisons(data.metrics)),
        ("Slices", _slices(data.metrics)),
        ("Calibration", _calibration(data.metrics)),
        ("Training", "".join(line_chart(name, across, series) for name, (across, series) in data.curves.items())),
        ("Reasoning that helped", _samples(data.samples.get("good", ()))),
        ("Reasoning that failed", _samples(data.samples.get("bad", ()))),
        ("Drift of the data", _drift(data.drift, data.drift_against)),
        ("Lineage", _lineage(data.lineage)),
        ("Times", _stages(data.stages)),
    ]
    return page(data.title, sections)


def _verdict(verdict: Mapping[str, Any] | None) -> str:
    if verdict is None:
        return ""
    rows = []
    for gate in verdict["gates"]:
        for place, check in enumerate(gate.get("checks") or [gate]):
            span = "–" if check["interval"] is None else f"[{check['interval'][0]:.4f}, {check['interval'][1]:.4f}]"
            figures = [figure(check["observed"]), span, figure(check["threshold"])]
            name = "" if place else f"<b>{escape(gate['name'])}</b>"
            rows.append([name, mark(check["status"]), *figures, escape(check["reason"])])
    gates = table(["gate", "status", "observed", "interval", "threshold", "reason"], rows, text={1, 5})
    return f"<p>{mark(verdict['verdict'])} for package {escape(verdict['package_hash'][:12])}</p>{gates}"


def _rankers(metrics: Mapping[str, Any]) -> str:
    rankers, intervals, oracle = metrics["rankers"], metrics["intervals"], metrics["oracle"]
    rows, bars = [], []
    for ranker in _RANKERS:
        found = rankers[ranker]
        rows.append([ranker, *(figure(found[name]) for name in _METRICS), str(found["n"])])
        low, high = intervals[ranker] or (None, None)
        if found[_METRIC] is not None:
            bars.append(Bar(ranker, found[_METRIC], low, high, strong=ranker == "rporec"))
    best = "" if oracle is None else f"<p>Best that any model could reach: NDCG@10 {figure(oracle[_METRIC])}.</p>"
    told = f"{metrics['rows']} rows of {metrics['users']} users; all {metrics['items']} items of the catalogue ranked."
    chart = bar_chart("NDCG@10 with its interval, by user", bars)
    variants = _variants(metrics.get("chosen", {}))  # older evaluations do not say
    return f'<p class="dim">{told}</p>{table(["ranker", *_METRICS, "n"], rows)}{variants}{best}{chart}'


def _variants(chosen: Mapping[str, Mapping[str, Any]]) -> str:
    """Return which variant of a baseline its one line in the table is."""
    lines = []
    for ranker, found in chosen.items():
        tried = ", ".join(f"{name} {figure(reached)}" for name, reached in found["valid_ndcg@10"].items())
        lines.append(f"<p>{escape(ranker)} is the variant {escape(found['variant'])}, {found['epochs']} epochs; "
                     f"NDCG@10 on valid: {escape(tried)}.</p>")  # fmt: skip
    return "".join(lines)


def _comparisons(metrics: Mapping[str, Any]) -> str:
    rows, bars = [], []
    for other in _RANKERS[:-1]:
        by_metric = metrics["comparisons"][other]
        for name, found in by_metric.items():
            rows.append([escape(other), escape(name), *_difference(found)])
        found = by_metric[_METRIC]
        if found["difference"] is not None:
            bars.append(Bar(other, found["difference"], found["low"], found["high"], strong=True))
    chart = bar_chart("NDCG@10: rporec minus the other, with its interval", bars)
    return chart + table(["against", "metric", "difference", "interval", "smallest shown", "users"], rows, text={1})


def _slices(metrics: Mapping[str, Any]) -> str:
    rows = [
        [
            escape(name),
            str(found["n"]),
            *(figure(found["rankers"][ranker]) for ranker in _SLICE_RANKERS),
            *_difference(found["rporec - fusion"]),
        ]
        for name, found in metrics["slices"].items()
    ]
    head = ["slice", "rows", *_SLICE_RANKERS, "rporec - fusion", "interval", "smallest shown", "users"]
    bars = [
        Bar(name, found["difference"], found["low"], found["high"], strong=True)
        for name, found in ((name, one["rporec - fusion"]) for name, one in metrics["slices"].items())
        if found["difference"] is not None
    ]
    chart = bar_chart("NDCG@10: rporec minus fusion on each slice, with its interval", bars)
    return chart + table(head, rows) if rows else ""


def _calibration(metrics: Mapping[str, Any]) -> str:
    found = metrics["calibration"]
    if found["ece@10"] is None:
        return ""
    points = [(row["confidence"], row["hit_rate"]) for row in found["bins"]]
    ends = [(0.0, 0.0), (max(x for x, _ in points), max(x for x, _ in points))]
    told = f"<p>Expected calibration error of the ten best items' probability: {figure(found['ece@10'])}.</p>"
    return told + line_chart("Share of hits", "probability of the ten best", {"observed": points, "perfect": ends})


def _samples(samples: Sequence[Mapping[str, Any]]) -> str:
    return "".join(_sample(sample) for sample in samples)


def _sample(sample: Mapping[str, Any]) -> str:
    lines = [
        ("bought", " → ".join(sample["history"])),
        ("thought", sample["thought"] or sample["completion"]),
        ("answer", sample["answer"] or "none"),
        ("true next", f"{sample['target']} (rank {sample['rank']:g}; {sample['rank_removed']:g} without reasoning)"),
        ("best five", " | ".join(sample["top"])),
        ("form", f"well formed: {sample['well_formed']}, grounded: {sample['grounded']:.2f}"),
    ]
    told = "".join(f'<div dir="auto"><b>{name}</b> {text(str(value))}</div>' for name, value in lines)
    return f'<div class="sample">{told}</div>'


def _drift(drift: Sequence[Mapping[str, Any]], against: str) -> str:
    if not drift:
        return f"<p>{text(against)}</p>" if against else ""
    rows = [
        [
            escape(one["feature"]),
            "<b>moved</b>" if one["warned"] else '<b class="dim">calm</b>',
            figure(one["psi"]),
            text(one["message"]),
        ]
        for one in drift
    ]
    told = f'<p class="dim">The newest days against: {text(against)}.</p>'
    return told + table(["feature", "", "index", "what moved most"], rows, text={1, 3})


def _lineage(lineage: Mapping[str, str]) -> str:
    rows = [[escape(name), text(value) if value else "–"] for name, value in lineage.items()]
    return table(["of the package", ""], rows, text={1}) if rows else ""


def _stages(stages: Sequence[Mapping[str, Any]]) -> str:
    rows = [[escape(stage["name"]), figure(stage["seconds"], 1), figure(stage["peak_mb"], 0)] for stage in stages]
    return table(["stage", "seconds", "peak MB"], rows) if rows else ""


def _difference(found: Mapping[str, Any]) -> list[str]:
    span = "–" if found["low"] is None else f"[{found['low']:+.4f}, {found['high']:+.4f}]"
    return [figure(found["difference"]), span, figure(found["smallest_detectable"]), str(found["users"])]
