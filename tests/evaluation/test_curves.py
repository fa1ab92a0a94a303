"""Curves of the training stages: what is measured is there with its steps, what is not is left out."""

import yaml

from rporec.align.curves import COLUMNS
from rporec.evaluation.charts import line_chart
from rporec.evaluation.curves import read_curves, training_charts
from tests.project import ROOT


def test_a_point_is_where_something_was_measured(tmp_path):
    (tmp_path / "align").mkdir()
    (tmp_path / "align" / "rewards.csv").write_text("step,phase,reward,length,kl\n1,a,0.5,30,\n2,b,0.6,28,0.1\n")
    found = read_curves(tmp_path)
    assert set(found) == {"align"}
    assert found["align"].across == "step"
    assert found["align"].series == {"reward": [(1, 0.5), (2, 0.6)], "length": [(1, 30), (2, 28)], "kl": [(2, 0.1)]}


def test_without_steps_there_is_no_curve(tmp_path):
    (tmp_path / "align").mkdir()
    (tmp_path / "align" / "rewards.csv").write_text(",".join(COLUMNS) + "\n")
    assert read_curves(tmp_path) == {}
    assert training_charts(tmp_path) == {}


def test_every_column_of_alignment_is_drawn_once(tmp_path):
    (tmp_path / "align").mkdir()
    rows = [",".join(str(i + 0.5 * j) for j in range(len(COLUMNS))) for i in range(3)]
    (tmp_path / "align" / "rewards.csv").write_text("\n".join([",".join(COLUMNS), *rows]))
    charts = training_charts(tmp_path)
    drawn = [name for _, series in charts.values() for name in series]
    assert sorted(drawn) == sorted(set(COLUMNS) - {"step"})
    assert set(charts["Alignment: form of the completions"][1]) == {
        "well_formed", "valid", "zero_variance", "zero_variance_first", "heldout_well_formed", "heldout_grounded",
    }  # fmt: skip
    title, (across, series) = "Alignment: held-out NDCG@10", charts["Alignment: held-out NDCG@10"]
    assert line_chart(title, across, series).count("<polyline") == 1


def test_dvc_draws_what_is_watched():
    plots = yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"]
    drawn = {"reward"}  # the file's own plot
    for one in plots:
        for plot in one.values():
            y = plot["y"]["outputs/align/rewards.csv"] if isinstance(plot["y"], dict) else []
            drawn |= {y} if isinstance(y, str) else set(y)
    assert drawn <= set(COLUMNS)
    assert set(COLUMNS) - drawn == {"step", "loss", "grad_norm", "heldout_length"}
