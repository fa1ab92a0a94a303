"""The purchases of a day ranked by who could have served them: toy packages in a real registry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from infra import overlay
from infra.replay import score
from infra.replay.score import Known, Service
from rporec import config, tables
from rporec.days import DAY, midnight
from rporec.errors import InputError
from rporec.release import manifest, registry, verdict
from rporec.release.registry import Place, Request
from tests.project import ROOT
from tests.release import world
from tests.release.fixtures import package, place, shared, template, workspace  # noqa: F401 - fixtures

DATE = "2026-02-10"
NEW = "not-in-the-package"


@pytest.fixture(scope="module")
def params() -> config.Params:
    return overlay.merge(ROOT, "tiny", "sequence.valid_days=5 sequence.test_days=5", None)[1]


def _known(days: int = 40, *, today: bool = True) -> Known:
    """A shop of 12 customers who buy baskets of two each second day; on the scored day the new item too."""
    rng, day = np.random.default_rng(5), midnight(DATE)
    items = pl.concat([world.items(), world.items().head(1).with_columns(item_id=pl.lit(NEW))])
    lines = [
        (f"u{user}", f"i{item:02d}", day - back * DAY + user * 60)
        for back in range(days, 0, -2)
        for user in range(12)
        for item in rng.choice(world.N, 2, replace=False)
    ]
    if today:
        lines += [(f"u{user}", "i05", day + 3600) for user in range(3)]
        lines += [("u0", NEW, day + 7200), ("u0", "i06", day + 9000), ("first", "i07", day + 3600)]
    lines.sort(key=lambda line: (line[2], line[0]))
    codes = {key: number for number, key in enumerate(dict.fromkeys((time, user) for user, _, time in lines))}
    sales = pl.DataFrame(
        {
            "user_id": [user for user, _, _ in lines],
            "item_id": [item for _, item, _ in lines],
            "timestamp": [time for _, _, time in lines],
            "order": [codes[time, user] for user, _, time in lines],
            "split": None,
            "history": None,
        },
        schema=tables.INTERACTIONS.columns,
    )
    return Known(sales, items, day)


def _promote(place: Place, folder: Path) -> str:  # noqa: F811
    name = manifest.read(folder).package_hash
    now = registry.champion(place, "rporec-demo")
    rival = {} if now is None else {"champion": now.number, "champion_hash": now.package_hash}
    judged = world.write_verdict(place.home / f"{name}.json", name, **rival)
    request = Request(folder, verdict.read(judged), "", folder.as_uri(), {"as_of": DATE}, "someone")
    registry.promote(place, "rporec-demo", request, wait_seconds=0.0)
    return name


def test_before_the_first_champion_only_markov_ranks(place: Place, params: config.Params) -> None:  # noqa: F811
    found = score.score(_known(), params, Service(place, "rporec-demo", None))
    tables.check(found, score.SCORED, "scored")
    assert found.height == 6
    told = score.means(found)["ndcg@10"]
    assert told["champion"] is None
    assert told["frozen"] is None
    assert told["markov"] is not None
    assert told["markov_all"] is not None


def test_a_champion_ranks_the_day_and_what_it_does_not_know_is_a_miss(
    place: Place,  # noqa: F811
    package: Path,  # noqa: F811
    params: config.Params,
) -> None:
    first = _promote(place, package)
    found = score.score(_known(), params, Service(place, "rporec-demo", first))
    unknown = found.filter(pl.col("item_id") == NEW)
    assert unknown["item_new"].to_list() == [True]
    assert unknown["champion_above"].to_list() == [world.N]
    assert found.filter(pl.col("item_new")).height == 1
    assert found.filter(pl.col("user_id") == "first")["history_length"].to_list() == [0]
    assert found["frozen_above"].equals(found["champion_above"].rename("frozen_above")), "they are one"
    assert all(value is not None for value in score.means(found)["hr@10"].values())


def test_the_frozen_model_stays_when_another_is_promoted(
    place: Place,  # noqa: F811
    package: Path,  # noqa: F811
    workspace: Path,  # noqa: F811
    params: config.Params,
    tmp_path: Path,
) -> None:
    first = _promote(place, package)
    before = score.score(_known(), params, Service(place, "rporec-demo", first))
    other = tmp_path / "other"
    world.write_package(other, workspace, mark="other")
    _promote(place, other)
    after = score.score(_known(), params, Service(place, "rporec-demo", first))
    assert after["frozen_above"].equals(before["frozen_above"])
    assert registry.champion(place, "rporec-demo").package_hash != first


def test_sales_of_the_scored_day_reach_no_ranker_but_as_histories(place: Place, params: config.Params) -> None:  # noqa: F811
    """Ten thousand more sales of one item on that day would lift it in any count that saw them."""
    known, nobody = _known(), Service(place, "rporec-demo", None)
    flood = known.interactions.filter(pl.col("user_id") == "u1").tail(1)
    flood = pl.concat([flood] * 400).with_columns(
        user_id=pl.Series([f"x{number}" for number in range(400)]), item_id=pl.lit("i09"),
        order=pl.int_range(400, dtype=pl.Int64) + 10_000, timestamp=pl.lit(known.day + 100, pl.Int64),
    )  # fmt: skip
    flooded = Known(pl.concat([known.interactions, flood]), known.items, known.day)
    plain, more = (score.score(one, params, nobody) for one in (known, flooded))
    kept = more.filter(~pl.col("user_id").str.starts_with("x"))
    assert more.height == plain.height + 400
    key = ["user_id", "timestamp", "item_id"]
    assert kept.sort(key).equals(plain.sort(key))


def test_markov_all_knows_the_newest_days_and_markov_does_not(place: Place, params: config.Params) -> None:  # noqa: F811
    """On the five newest days everybody buys i20 after anything; only who counts them can rank it high."""
    known = _known(today=False)
    day = known.day
    lines = [(f"u{user}", "i20", day - back * DAY + 50_000 + user) for back in range(1, 6) for user in range(12)]
    lines += [(f"u{user}", "i20", day + 60) for user in range(12)]
    new = pl.DataFrame(lines, schema=["user_id", "item_id", "timestamp"], orient="row").with_columns(
        order=pl.int_range(len(lines), dtype=pl.Int64) + 10_000, split=pl.lit(None, pl.String),
        history=pl.lit(None, pl.List(pl.String)),
    )  # fmt: skip
    merged = pl.concat([known.interactions, new.select(known.interactions.columns)])
    found = score.score(Known(merged, known.items, day), params, Service(place, "rporec-demo", None))
    told = score.means(found)["ndcg@10"]
    assert told["markov_all"] > 0.9
    assert told["markov_all"] > told["markov"] + 0.2


def test_a_day_without_sales_has_null_metrics(place: Place, params: config.Params) -> None:  # noqa: F811
    found = score.score(_known(today=False), params, Service(place, "rporec-demo", None))
    assert found.is_empty()
    told = score.means(found)
    assert set(told) == set(score.METRICS)
    assert all(value is None for figures in told.values() for value in figures.values())


def test_nothing_new_is_told() -> None:
    known = _known(today=False)
    assert not Known(known.interactions, known.items, known.day + 5 * DAY).new
    assert Known(known.interactions, known.items, known.day - DAY).new


def test_the_source_is_read_up_to_the_end_of_the_day(tmp_path: Path) -> None:
    lines = ["user_id,item_id,timestamp"]
    lines += [f"u{user},i{back},{midnight(DATE) - back * DAY + 5}" for user in range(3) for back in range(-3, 9)]
    (tmp_path / "interactions.csv").write_text("\n".join(lines) + "\n")
    ids = {line.split(",")[1] for line in lines[1:]}
    (tmp_path / "items.csv").write_text("item_id,title\n" + "".join(f"{one},thing {one}\n" for one in sorted(ids)))
    given = overlay.merge(ROOT, "tiny", f"ingest.as_of={DATE} ingest.window_days=3", str(tmp_path))[1]
    known = score.look(given, str(tmp_path), DATE, tmp_path)
    days = sorted({(second - known.day) // DAY for second in known.interactions["timestamp"]})
    assert days == list(range(-8, 1)), "all of the past, whatever the window, and the day itself"


def test_interactions_without_times_cannot_be_replayed(tmp_path: Path) -> None:
    for part in ("train", "valid", "test"):
        lines = "".join(f"u{user},['a'],b\n".replace("['a']", '"[""a""]"') for user in range(3))
        (tmp_path / f"{part}.csv").write_text("user_id,history,target\n" + lines)
    (tmp_path / "items.csv").write_text("item_id,title\na,one\nb,two\n")
    given = overlay.merge(ROOT, "tiny", f"ingest.as_of={DATE}", str(tmp_path))[1]
    with pytest.raises(InputError, match="with times"):
        score.look(given, str(tmp_path), DATE, tmp_path)
