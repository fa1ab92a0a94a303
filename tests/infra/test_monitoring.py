"""Prometheus and Grafana: every metric, label, route and limit that they name is the service's own."""

from __future__ import annotations

import ast
import datetime as dt
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.project import ROOT, environment

FOLDER = ROOT / "infra/monitoring"
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
SCRAPE = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
RULES = yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
BOARD = json.loads((FOLDER / "grafana/rporec.json").read_text(encoding="utf-8"))
PANELS = BOARD["panels"]
EXPRESSIONS = {
    **{f"alert {rule['alert']}": rule["expr"] for rule in RULES},
    **{
        f"panel {panel['title']} {target['refId']}": target["expr"]
        for panel in PANELS
        for target in panel["targets"]
    },
}  # fmt: skip
# One model, dated, and one whose data have no dates; then every series as Prometheus reads it.
ASK = """
import json
from types import SimpleNamespace
from bento.metrics import Meters
meters = Meters(max_age_days=3)
families = [one for one in vars(meters).values() if hasattr(one, "_labelnames")]
labels = {sample.name: list(one._labelnames) for one in families for sample in one.describe()}
found = {family.name: (family.type, list(one._labelnames)) for one in families for family in one.describe()}
lines = []
for as_of in ("2026-01-01", ""):
    meters.model(SimpleNamespace(version=4, package_hash="0123456789abcdef", lineage={"as_of": as_of}))
    lines.append(meters.text().decode())
print(json.dumps([found, *lines]))
"""
_SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


@pytest.fixture(scope="module")
def told() -> list[Any]:
    """What the service's own meters are called, and their text; in a process of its own: the registry is global."""
    done = subprocess.run(
        [sys.executable, "-c", ASK], cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def series(told: list[Any]) -> dict[str, set[str]]:
    """The labels of each series that the service offers."""
    found = {}
    for family, (kind, labels) in told[0].items():
        for suffix in _SUFFIXES[kind]:
            found[family + suffix] = {*labels, *({"le"} if suffix == "_bucket" else ())}
    return found


def _selectors(expression: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each metric that an expression names, and its label matchers."""
    for name, _, inner in re.findall(r"\b(rporec_\w+)(\{([^}]*)\})?", expression):
        yield name, dict(re.findall(r'(\w+)=~?"([^"]*)"', inner))


@pytest.mark.parametrize("place", EXPRESSIONS)
def test_metrics_and_labels_are_those_of_the_service(place: str, series: dict[str, set[str]]) -> None:
    expression = EXPRESSIONS[place]
    named = list(_selectors(expression))
    assert named or "up{" in expression
    known = {"instance", "job"}
    for name, matchers in named:
        assert name in series, f"{place}: {name}"
        assert set(matchers) <= series[name] | known, f"{place}: {matchers}"
        known |= series[name]
    for grouped in re.findall(r"\b(?:by|ignoring|on) ?\(([^)]*)\)", expression):
        assert {label.strip() for label in grouped.split(",")} <= known, f"{place}: {grouped}"


@pytest.mark.parametrize("place", EXPRESSIONS)
def test_expressions_are_whole(place: str, series: dict[str, set[str]]) -> None:
    expression = EXPRESSIONS[place]
    for left, right in ("()", "{}", "[]"):
        assert expression.count(left) == expression.count(right)
    assert not re.search(r"\brate\([^\[]*\)", expression), "a rate without a window"
    for name in re.findall(r"rate\((rporec_\w+)", expression):
        assert name.endswith(("_total", "_bucket", "_sum", "_count")), f"{name} does not count"
    if "histogram_quantile" in expression:
        assert re.search(r"by \(le\b", expression)


def test_every_metric_of_the_service_is_on_the_board(series: dict[str, set[str]]) -> None:
    shown = {name for panel in PANELS for target in panel["targets"] for name, _ in _selectors(target["expr"])}
    families = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in series}
    assert families == {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in shown}


def test_label_values_are_those_that_the_code_writes() -> None:
    routes = set(re.findall(r'@router\.\w+\("([^"]+)"', (ROOT / "bento/api.py").read_text(encoding="utf-8")))
    guard = ast.parse((ROOT / "bento/guard.py").read_text(encoding="utf-8"))
    reasons = {
        node.args[1].value for node in ast.walk(guard)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_RefusedError"
        and isinstance(node.args[1], ast.Constant)
    }  # fmt: skip
    kinds = set(re.findall(r'_fallbacks\.labels\("(\w+)"\)', (ROOT / "bento/metrics.py").read_text(encoding="utf-8")))
    written = {"route": routes, "reason": reasons, "kind": kinds}
    for place, expression in EXPRESSIONS.items():
        for _, matchers in _selectors(expression):
            for label in set(matchers) & set(written):
                assert set(matchers[label].split("|")) <= written[label], place


def test_alerts_cover_what_they_should_and_say_what_to_do() -> None:
    assert {rule["alert"] for rule in RULES} >= {
        "ServiceDown", "StaleData", "Errors", "SlowAnswers", "PopularityFallbacks", "NoReasoning",
    }  # fmt: skip
    for rule in RULES:
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}, rule["alert"]
        assert re.fullmatch(r"\d+m", rule["for"])
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert set(rule["annotations"]) == {"summary", "cure"}


def test_the_limit_of_latency_is_the_gate_s() -> None:
    rule = next(rule for rule in RULES if rule["alert"] == "SlowAnswers")
    assert float(rule["expr"].rpartition(">")[2]) == PARAMS["gate"]["max_p95_ms"] / 1000


def test_prometheus_asks_the_service_and_reads_the_rules() -> None:
    compose = yaml.safe_load((ROOT / "infra/compose.yaml").read_text(encoding="utf-8"))["services"]
    (job,) = SCRAPE["scrape_configs"]
    ((target,),) = [one["targets"] for one in job["static_configs"]]
    name, port = target.split(":")
    assert int(port) == int(compose[name]["command"][-1]) == PARAMS["serve"]["port"]
    assert f'@app.get("{job["metrics_path"]}"' in (ROOT / "bento/application.py").read_text(encoding="utf-8")
    assert all(f'job="{job["job_name"]}"' in rule["expr"] for rule in RULES if "up{" in rule["expr"])
    mounts = compose["prometheus"]["volumes"]
    assert all(any(f"./monitoring/{name}:" in mount for mount in mounts) for name in SCRAPE["rule_files"])


def test_the_board_is_provisioned_with_its_source() -> None:
    (source,) = yaml.safe_load((FOLDER / "grafana/datasource.yaml").read_text(encoding="utf-8"))["datasources"]
    asked = [*PANELS, *(target for panel in PANELS for target in panel["targets"]), *BOARD["templating"]["list"]]
    assert {(one["datasource"]["type"], one["datasource"]["uid"]) for one in asked} == {(source["type"], source["uid"])}
    (provider,) = yaml.safe_load((FOLDER / "grafana/dashboards.yaml").read_text(encoding="utf-8"))["providers"]
    mounts = yaml.safe_load((ROOT / "infra/compose.yaml").read_text(encoding="utf-8"))["services"]["grafana"]["volumes"]
    assert any(f":{provider['options']['path']}/rporec.json:" in mount for mount in mounts)


def test_panels_do_not_overlap() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in PANELS:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


def test_the_service_tells_how_old_its_data_are(told: list[Any]) -> None:
    def value(text: str, name: str) -> float:
        return float(re.search(rf"^{name} (\S+)$", text, re.MULTILINE)[1])

    _, dated, undated = told
    as_of = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    assert value(dated, "rporec_data_as_of_seconds") == as_of.timestamp()
    # 3 days are allowed: on January 4 the data are 3 days old, on the 5th too old.
    assert value(dated, "rporec_data_stale_at_seconds") == (as_of + dt.timedelta(days=4)).timestamp()
    assert value(undated, "rporec_data_as_of_seconds") == value(undated, "rporec_data_stale_at_seconds") == 0
    assert value(dated, "rporec_model_version") == 4
