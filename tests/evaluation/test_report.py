"""The report: whole, offline, and no datum becomes markup."""

import re
from html.parser import HTMLParser

import pytest

from rporec.evaluation import samples
from rporec.evaluation.charts import Bar, bar_chart, line_chart
from rporec.evaluation.report import ReportData, render
from rporec.evaluation.results import Inputs, results
from rporec.evaluation.samples import Models
from tests.evaluation import toy


def page(count: int = 60, **more: object) -> str:
    test = toy.rows(count, users=6)
    frame, confidence, told = toy.ranked(test, toy.rows(30, users=4, start=500, slice_name="fit"))
    completions = toy.completions(test, right=True)
    metrics = results(Inputs(frame, confidence, completions, None, toy.N, toy.CHOSEN), toy.PARAMS, 0)
    chosen = samples.tell(frame, told, completions, Models(toy.catalogue(), toy.ToyHead()), 3)
    return render(ReportData("RPORec", metrics, chosen, **more))


class Balanced(HTMLParser):
    """Fails on a tag that closes nothing or is left open."""

    void = frozenset({"meta", "link", "br", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("count", [0, 60])
def test_the_page_is_balanced_offline_and_holds_no_markup_from_data(count: int) -> None:
    html = page(count)
    reader = Balanced()
    reader.feed(html)
    assert reader.open == []
    assert not reader.seen & {"script", "b/", "iframe", "img", "link"}
    assert not re.search(r"(src|href)=", html)
    assert "http" not in html.replace("http-equiv", "")


def test_data_are_escaped_and_shown() -> None:
    html = page()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "&lt;b&gt;Title" in html
    assert "so &amp; so" in html
    assert "Reasoning that helped" in html
    assert "Reasoning that failed" in html


def test_it_says_which_variant_a_baseline_is() -> None:
    name = "ids &amp; &lt;more&gt;"
    assert f"sasrec is the variant {name}, 7 epochs; NDCG@10 on valid: {name} 0.2500, text 0.1250." in page()


def test_verdict_times_and_curves_are_shown_when_given() -> None:
    gate = {"name": "floor", "status": "fail", "observed": -0.1, "threshold": 0.0, "interval": [-0.2, 0.0]}
    verdict = {"verdict": "fail", "package_hash": "0123456789abcdef", "gates": [{**gate, "reason": "a < b"}]}
    html = page(
        verdict=verdict,
        stages=[{"name": "align", "seconds": 12.34, "peak_mb": 500.0}],
        curves={"Alignment: reward": ("step", {"reward": [(0, 0.1), (1, 0.2)]})},
    )
    assert "a &lt; b" in html
    assert "12.3" in html
    assert "Alignment: reward" in html


def test_samples_tell_where_reasoning_helped_and_where_it_failed() -> None:
    test = toy.rows(60, users=6)
    frame, _, told = toy.ranked(test, toy.rows(30, users=4, start=500, slice_name="fit"))
    found = samples.tell(frame, told, toy.completions(test, right=True), Models(toy.catalogue(), toy.ToyHead()), 3)
    assert len(found["good"]) == 3
    assert all(one["rank"] < one["rank_removed"] and one["top"][0] == one["target"] for one in found["good"])
    assert not found["bad"][0]["well_formed"]
    assert len({one["row_id"] for one in found["good"]}) == 3


def test_charts_of_nothing_or_one_value_do_not_break() -> None:
    assert "nothing to show" in bar_chart("t", [])
    assert "nothing to show" in line_chart("t", "x", {"a": [(0.0, float("nan"))]})
    assert "<svg" in bar_chart("t", [Bar("a", 0.0)])
    assert "<svg" in line_chart("t", "x", {"a": [(1.0, 1.0)]})
