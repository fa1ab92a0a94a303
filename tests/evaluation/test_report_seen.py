"""The report as a person sees it, in a real browser: whole, offline, readable on a phone, with a picture taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import browser
from tests.evaluation.test_report import page

pytestmark = browser.wanted
HEADS = (
    "Verdict", "Rankers on the test rows", "rporec against each other ranker", "Slices", "Calibration", "Training",
    "Reasoning that helped", "Reasoning that failed", "Drift of the data", "Lineage", "Times",
)  # fmt: skip


def check(name: str, status: str, reason: str) -> dict[str, object]:
    return {"name": name, "status": status, "observed": -0.01, "threshold": -0.005, "interval": [-0.02, 0.001],
            "reason": reason}  # fmt: skip


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with every part that there can be."""
    checks = [check("not worse than markov", "fail", "may trail markov by 0.005: -0.0100, undecided"),
              check("better than popularity", "pass", "must beat popularity")]  # fmt: skip
    verdict = {"verdict": "fail", "package_hash": "0123456789abcdef" * 4,
               "gates": [{**check("floor", "fail", "both"), "checks": checks}]}  # fmt: skip
    path = tmp_path_factory.mktemp("report") / "report.html"
    html = page(
        verdict=verdict,
        stages=[{"name": "align", "seconds": 12.34, "peak_mb": 500.0}],
        curves={"Alignment: reward": ("step", {"reward": [(n, n**0.5) for n in range(30)]})},
        drift=[
            {"feature": "price", "psi": 0.31, "warned": True, "message": "price: values up to 40: 15 %, earlier 9 %"}
        ],
        drift_against="the night of 2026-01-01",
        lineage={"package": "0123456789abcdef" * 4, "champion": ""},
    )
    path.write_text(html, encoding="utf-8")
    return path


@pytest.mark.parametrize("size", [browser.DESK, browser.PHONE], ids=["desk", "phone"])
def test_every_part_is_seen_offline_and_nothing_runs_over_the_edge(
    report: Path, tmp_path: Path, size: tuple[int, int]
) -> None:
    with browser.browser(size) as seen:
        shown = seen.page
        shown.goto(report.as_uri())
        shown.screenshot(path=tmp_path / "report.png", full_page=True)
        assert [one.inner_text() for one in shown.locator("h2").all()] == list(HEADS)
        assert all(one.is_visible() for one in shown.locator("h2, figure, table, .sample").all())
        assert shown.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        for chart in shown.locator("figure svg").all():
            box = chart.bounding_box()
            assert box is not None
            assert min(box["width"], box["height"]) > 50
        bars = shown.locator("figure", has_text="rporec minus the other").locator("rect, path.whisker")
        assert bars.count() >= 2 * 10  # a bar and its interval for each of ten rankers
        rankers = shown.locator("h2:has-text('Rankers') + p + div tr").all()
        assert len(rankers) == 12
        assert all(row.bounding_box()["height"] < 45 for row in rankers)  # no figure is broken over two lines
        words = shown.locator("body").inner_text()
        for told in ("may trail markov", "Alignment: reward", "price: values up to 40", "0123456789abcdef", "12.3"):
            assert told in words
        assert not seen.scrolls_sideways()
        assert (seen.asked, seen.errors) == ([], [])
    assert (tmp_path / "report.png").stat().st_size > 10_000


def test_the_check_sees_a_page_that_reaches_out_or_is_too_wide(tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text('<img src="http://localhost:9/x.png"><div style="width:3000px">wide</div>', encoding="utf-8")
    with browser.browser(browser.PHONE) as seen:
        seen.page.goto(bad.as_uri())
        assert seen.asked == ["http://localhost:9/x.png"]
        assert seen.scrolls_sideways()
