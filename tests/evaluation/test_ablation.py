"""Figures of ablations on ranks worked by hand: seeds averaged per row, differences paired, table and plot whole."""

from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest

from rporec import config, tables
from rporec.evaluation import ablation
from tests.project import ROOT

PARAMS = config.load(ROOT / "params.yaml").evaluate.model_copy(update={"resamples": 200})
USERS = ["a", "a", "b", "c"]
TIMES = 4  # fewer users would get no interval


def table(*above: int) -> pl.DataFrame:
    """Ranks of four rows on each slice, without ties; the same again of other users."""
    rows = [
        (part, 4 * again + row, f"{USERS[row]}{again}", own, 0)
        for part in ("valid", "test") for again in range(TIMES) for row, own in enumerate(above)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=tables.ABLATED.columns, orient="row")


FOUND = {
    "no_reasoning": {7: table(0, 20, 20, 20), 8: table(0, 20, 20, 20)},
    "reasoning": {7: table(0, 0, 20, 20), 8: table(0, 20, 0, 20)},
    "oracle_answer": {7: table(0, 0, 0, 0), 8: table(0, 0, 0, 0)},
}
MASKS = {
    "short": np.tile([True, True, True, False], TIMES),
    "late": np.tile([False, False, True, True], TIMES),
}
TOLD = {
    "profile": "tiny", "seeds": [7, 8], "confidence": 0.95, "says": dict.fromkeys(FOUND, "so <be> it"),
    "left_out": {"paper": "no reason"}, "strength": {arm: {"7": None, "8": 0.25} for arm in FOUND},
    **ablation.summary(FOUND, MASKS, PARAMS, 1, {}),
}  # fmt: skip


def test_means_are_those_of_all_seeds_and_differences_are_paired():
    arms = TOLD["test"]["arms"]
    assert arms["reasoning"]["mean"] == pytest.approx({"ndcg@10": 0.5, "hr@10": 0.5})
    assert arms["no_reasoning"]["by_seed"]["8"]["ndcg@10"] == pytest.approx(0.25)
    found = arms["reasoning"]["minus"]["no_reasoning"]["ndcg@10"]
    assert found["difference"] == pytest.approx(0.25)
    assert (found["n"], found["users"]) == (16, 12)
    assert found["low"] < 0.25 < found["high"]
    same = arms["reasoning"]["minus"]["reasoning"]["ndcg@10"]
    assert (same["difference"], same["low"], same["high"]) == (0, 0, 0)


def test_seeds_are_averaged_before_users_are_drawn():
    """Two seeds that say the same are no more data than one."""
    one = ablation.summary({arm: {7: seeds[7]} for arm, seeds in FOUND.items()}, MASKS, PARAMS, 1, {})
    twice = ablation.summary({arm: {7: seeds[7], 8: seeds[7]} for arm, seeds in FOUND.items()}, MASKS, PARAMS, 1, {})
    assert one["test"]["arms"]["reasoning"]["minus"] == twice["test"]["arms"]["reasoning"]["minus"]


def test_an_arm_of_another_head_is_also_held_to_that_head_alone():
    paper = {"paper_no_reasoning": FOUND["no_reasoning"], "paper": FOUND["reasoning"]}
    told = TOLD | ablation.summary(FOUND | paper, MASKS, PARAMS, 1, {"paper": "paper_no_reasoning"})
    told |= {"says": dict.fromkeys([*FOUND, *paper], "so"), "strength": TOLD["strength"] | {key: {} for key in paper}}
    minus = told["test"]["arms"]["paper"]["minus"]
    assert minus["paper_no_reasoning"] == told["test"]["arms"]["reasoning"]["minus"]["no_reasoning"]
    lines = ablation.markdown(told).splitlines()
    (line,) = [line for line in lines if line.startswith("- `paper`: ")]
    assert line.startswith("- `paper`: so; NDCG@10 − paper_no_reasoning +0.2500 [")
    assert "; NDCG@10" not in next(line for line in lines if line.startswith("- `reasoning`: "))


def test_the_table_has_a_line_an_arm():
    lines = ablation.markdown(TOLD).splitlines()
    (line,) = [line for line in lines if line.startswith("| reasoning ")]
    assert line.startswith("| reasoning | 0.5000 | 0.5000 | +0.2500 [")
    assert line.endswith("| – | – | 0.5000, 0.5000 | 0.5000 | –, 0.25 |")
    by_slice = next(place for place, line in enumerate(lines) if line.startswith("| slice "))
    heads = [line.count("|") for line in lines[:by_slice] if line.startswith("|")]
    assert len(heads) == 5
    assert len(set(heads)) == 1
    assert "- `paper` was left out: no reason" in lines


def test_a_baseline_is_compared_on_test_alone():
    fusion = {seed: rows.filter(pl.col("slice") == "test") for seed, rows in FOUND["no_reasoning"].items()}
    told = TOLD | ablation.summary(FOUND | {"fusion": fusion}, MASKS, PARAMS, 1, {})
    assert "fusion" not in told["valid"]["arms"]
    assert told["test"]["arms"]["reasoning"]["minus"]["fusion"]["ndcg@10"]["difference"] == pytest.approx(0.25)
    told |= {"says": told["says"] | {"fusion": "it"}, "strength": told["strength"] | {"fusion": {"7": None}}}
    (line,) = [line for line in ablation.markdown(told).splitlines() if line.startswith("| fusion ")]
    assert line.endswith("| 0.2500, 0.2500 | – | – |")


def test_the_lift_is_told_by_slice():
    late = TOLD["slices"]["late"]
    assert (late["rows"], late["no_reasoning"]) == (8, 0)
    assert late["lift"]["reasoning"]["ndcg@10"]["difference"] == pytest.approx(0.25)
    assert late["lift"]["oracle_answer"]["ndcg@10"]["difference"] == pytest.approx(1.0)
    lines = ablation.markdown(TOLD).splitlines()
    assert "| slice | rows | no_reasoning | reasoning | oracle_answer |" in lines
    (line,) = [line for line in lines if line.startswith("| short ")]
    assert line.startswith("| short | 12 | 0.3333 | +0.3333 [")
    alone = TOLD | ablation.summary({"no_reasoning": FOUND["no_reasoning"]}, MASKS, PARAMS, 1, {})
    assert "| slice" not in ablation.markdown(alone)


def test_the_plot_stands_alone_and_a_leak_does_not_hide_the_rest():
    root = ElementTree.fromstring(ablation.plot(TOLD, {"oracle_answer": "knows it all"}))
    space = "{http://www.w3.org/2000/svg}"
    texts = [text.text for text in root.iter(f"{space}text")]
    assert root.tag == f"{space}svg"
    assert "reasoning" in texts
    assert "oracle_answer" not in texts
    assert any("knows it all" in text and "+0.7500" in text for text in texts)
    assert ElementTree.fromstring(ablation.plot(TOLD | {"profile": "<&"}, dict.fromkeys(FOUND, "so"))).tag == root.tag


def test_no_rows_are_no_figures():
    none = {arm: {7: seeds[7].head(0)} for arm, seeds in FOUND.items()}
    told = TOLD | {"seeds": [7]} | ablation.summary(none, {}, PARAMS, 1, {})
    assert told["test"]["arms"]["reasoning"]["mean"]["ndcg@10"] is None
    assert "| reasoning | – | – | – | – |" in ablation.markdown(told)
    ElementTree.fromstring(ablation.plot(told, {}))
