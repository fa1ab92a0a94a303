"""The rows of a contest: tonight's and those of earlier nights, without what any of those compared has trained on."""

from pathlib import Path

import polars as pl

from rporec.evaluation import contest, unseen
from rporec.evaluation.candidate import Candidate
from rporec.evaluation.contest import Rival
from rporec.release.lookup import Version
from tests.evaluation import toy

IDS = toy.items()["item_id"].to_list()


def candidate(rows: pl.DataFrame, since: str) -> Candidate:
    nothing = pl.DataFrame()
    return Candidate(Path("package"), "own", {"unseen_from": since}, IDS, rows, nothing, {}, {}, {})


def rival(since: str) -> dict[str, Rival]:
    version = Version("rporec-demo", 1, "", "", {"package_hash": "rival"})
    return {"champion": Rival(version, Path("champion"), {"unseen_from": since})}


def test_earlier_nights_join_and_rows_that_somebody_has_trained_on_do_not_count(tmp_path: Path) -> None:
    """Two rows a second: last night from 980 to 989, tonight from 1000 to 1009; the champion knows all up to 984."""
    last = toy.rows(20, users=6).with_columns(timestamp=pl.col("timestamp") - 20)
    unseen.keep(tmp_path, "last night", last, IDS)
    tonight = toy.rows(20, users=6)
    field = contest.lay(candidate(tonight, "900"), rival("985"), tmp_path)
    assert field.rows.height == 20 + 10
    assert field.rows["timestamp"].to_list()[20:] == [985, 985, 986, 986, 987, 987, 988, 988, 989, 989]
    assert field.fair.all()
    later = contest.lay(candidate(tonight, "1005"), rival("985"), tmp_path)
    assert (later.rows.height, later.fair.tolist()) == (20, [False] * 10 + [True] * 10)


def test_where_a_split_was_given_tonights_rows_alone_count(tmp_path: Path) -> None:
    unseen.keep(tmp_path, "last night", toy.rows(20, users=6).with_columns(timestamp=pl.col("timestamp") - 20), IDS)
    tonight = toy.rows(20, users=6)
    for own, champions in (("", "985"), ("900", "")):
        field = contest.lay(candidate(tonight, own), rival(champions), tmp_path)
        assert (field.rows.height, bool(field.fair.all())) == (20, True)
    alone = contest.lay(candidate(tonight, "900"), {}, tmp_path)
    assert (alone.rows.height, bool(alone.fair.all())) == (20, True)
