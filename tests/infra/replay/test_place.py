from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from infra import workspace
from infra.replay import place
from rporec import config
from rporec.errors import InputError
from tests.project import ROOT, git

GIVEN = {"PROFILE": "tiny", "FROM": "2026-01-05", "NIGHTS": "3"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    names = ("params.yaml", "dvc.yaml", "requirements.txt", ".gitignore", "README.md", "source.lock.json")
    for path in [*(ROOT / "profiles").glob("*.yaml"), *(ROOT / name for name in names)]:
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "first")
    return folder


def _open(checkout: Path, **given: str) -> place.Replay:
    asked = place.ask(GIVEN | given, checkout)
    return place.open_replay(asked, place.folder_of(asked))


def test_what_is_asked_for(checkout: Path) -> None:
    asked = place.ask(GIVEN, checkout)
    assert asked.dates == ["2026-01-05", "2026-01-06", "2026-01-07"]
    assert (asked.name, asked.first) == ("tiny_nightly", dt.date(2026, 1, 5))
    names = {profile: place.ask(GIVEN | {"PROFILE": profile}, checkout).name for profile in ("", "nightly")}
    assert names == {"": "demo_nightly", "nightly": "nightly"}


@pytest.mark.parametrize(
    ("given", "field"),
    [({"FROM": ""}, "FROM"), ({"FROM": "5.1.2026"}, "FROM"), ({"NIGHTS": ""}, "NIGHTS"), ({"NIGHTS": "0"}, "NIGHTS"),
     ({"NIGHTS": "1.5"}, "NIGHTS"), ({"PROFILE": "none"}, "PROFILE"), ({"SET": "align.step=3"}, "align.step")],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(checkout: Path, given: dict[str, str], field: str) -> None:
    with pytest.raises(InputError) as caught:
        place.ask(GIVEN | given, checkout)
    assert caught.value.field == field


def test_the_nights_profile_is_nightly_on_top_and_stays_inside(checkout: Path) -> None:
    params = checkout / "params.yaml"
    params.write_text(params.read_text().replace("git_remote: null", "git_remote: origin"))
    git(checkout, "commit", "--quiet", "--all", "--message", "push nights")
    replay = _open(checkout, SET="run.dvc_remote=s3://shop/dvc align.steps=3")
    tiny = config.load(checkout / "params.yaml").evaluate
    found = replay.params
    assert (found.run.profile, found.sequence.test_days, found.ingest.market.items) == ("tiny_nightly", 7, 40)
    assert (found.align.steps, found.evaluate.cutoffs) == (3, tiny.cutoffs)
    assert (found.nights.git_remote, found.run.dvc_remote) == (None, "dvc/remote")
    assert git(replay.clone, "remote").strip() == ""
    assert git(replay.clone, "status", "--porcelain") == ""
    assert git(checkout, "status", "--porcelain") == ""
    assert git(checkout, "branch", "--format=%(refname:short)").split() == ["main"]
    assert replay.model == "rporec-tiny_nightly"


def test_a_profile_of_its_own_for_nights_is_taken(checkout: Path) -> None:
    asked = place.ask(GIVEN | {"PROFILE": "online_retail", "DATA": str(_events(checkout.parent))}, checkout)
    assert asked.name == "online_retail_nightly"
    replay = place.open_replay(asked, place.folder_of(asked))
    whole = config.load(checkout / "params.yaml")
    assert replay.params.validate_.min_items == 1000, "of online_retail"
    assert replay.params.sequence.test_days == 7, "of nightly"
    assert replay.params.rechead.epochs < whole.rechead.epochs, "of its own"


def _events(folder: Path) -> Path:
    shop = folder / "shop"
    shop.mkdir()
    (shop / "interactions.csv").write_text("user_id,item_id,timestamp\nu,i,1700000000\n")
    (shop / "items.csv").write_text("item_id,title\ni,thing\n")
    return shop


def test_one_folder_for_one_question(checkout: Path) -> None:
    def folder(**given: str) -> Path:
        return place.folder_of(place.ask(GIVEN | given, checkout))

    first = folder()
    assert first.is_relative_to(checkout / "runs" / "replay" / "tiny_nightly")
    assert folder(NIGHTS="9") == first, "more nights are added"
    assert len({first, folder(FROM="2026-01-06"), folder(SET="run.seed=9"), folder(PROFILE="")}) == 4
    (checkout / "README.md").write_text("other words\n")
    git(checkout, "commit", "--quiet", "--all", "--message", "words")
    assert folder() == first
    (checkout / "params.yaml").write_text((checkout / "params.yaml").read_text() + "# more\n")
    git(checkout, "commit", "--quiet", "--all", "--message", "values")
    assert folder() != first


def test_other_data_are_another_question(checkout: Path) -> None:
    shop = _events(checkout.parent)
    given = GIVEN | {"DATA": str(shop)}
    before = place.folder_of(place.ask(given, checkout))
    (shop / "items.csv").write_text("item_id,title\ni,other\n")
    assert place.folder_of(place.ask(given, checkout)) != before


def test_a_half_made_clone_is_made_anew_and_a_whole_one_is_kept(checkout: Path) -> None:
    asked = place.ask(GIVEN, checkout)
    folder = place.folder_of(asked)
    (folder / ".new-clone").mkdir(parents=True)
    (folder / ".new-clone" / "half").touch()
    replay = place.open_replay(asked, folder)
    tip = git(replay.clone, "rev-parse", "HEAD")
    assert place.open_replay(asked, folder).params == replay.params
    assert git(replay.clone, "rev-parse", "HEAD") == tip


def test_nights_meet_no_registry_but_the_replays(checkout: Path) -> None:
    replay = _open(checkout)
    users = {"MLFLOW_TRACKING_URI": "http://shop:5000", "RPOREC_AUDIT_URL": "sqlite:///a", "RPOREC_HOME": "/shop/var"}
    found = replay.environment({**users, "DATA": "x", "HOME": "/me"})
    assert not {"MLFLOW_TRACKING_URI", "RPOREC_AUDIT_URL", "DATA"} & set(found)
    assert (found["RPOREC_HOME"], found["RPOREC_PROFILE"]) == (str(replay.home), "tiny_nightly")
    assert found[workspace.RUN] == workspace.TOKEN, "what a killed replay left running is found by it"
    assert found["HOME"] == "/me"
    assert replay.registry.home == replay.home
