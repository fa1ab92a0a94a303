from __future__ import annotations

import datetime as dt
import json
import re
import shutil
from pathlib import Path

import pytest

from infra import night, workspace
from rporec import config
from rporec.errors import InputError
from rporec.files import write_json
from tests.project import ROOT, git

DATE = "2026-01-05"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "checkout"
    names = (
        "params.yaml",
        "dvc.yaml",
        "profiles/tiny.yaml",
        "profiles/nightly.yaml",
        "source.lock.json",
        "requirements.txt",
    )
    for name in (
        *names,
        *workspace.WEIGHTS,
        "last_night.json",
        "parent.json",
        ".gitignore",
        ".dvc/config",
        ".dvc/.gitignore",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "first")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("RPOREC_PROFILE", "tiny")
    return folder


def _finish(root: Path) -> str:
    """What `finish` leaves on the branch, without a package and a push; returns the commit."""
    (root / "dvc.lock").write_text("schema: '2.0'\n")
    night._commit(night.prepared(root.name), root.name)
    return git(root, "rev-parse", "HEAD")


def test_a_night_has_its_own_branch_and_its_date_as_its_only_change(checkout: Path) -> None:
    night.prepare(DATE)
    root = checkout / "runs" / "nights" / DATE
    assert git(root, "rev-parse", "--abbrev-ref", "HEAD").strip() == f"nights/{DATE}"
    params = config.load(root / "params.yaml")
    assert (params.run.profile, params.ingest.as_of) == ("tiny", DATE)
    assert git(checkout, "status", "--porcelain") == ""
    assert git(checkout, "rev-parse", "--abbrev-ref", "HEAD").strip() == "main"


def test_the_default_profile_is_nightly(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RPOREC_PROFILE")
    night.prepare(DATE)
    assert night.prepared(DATE).params.run.profile == "nightly"


def test_a_night_runs_what_is_committed(checkout: Path) -> None:
    params = checkout / "params.yaml"
    params.write_text(params.read_text().replace("  seed: 7 ", "  seed: 8 "))
    (checkout / "profiles" / "tiny.yaml").write_text("run: {profile: tiny, seed: 9}\n")
    night.prepare(DATE)
    assert _seed(checkout) == 7
    git(checkout, "commit", "--quiet", "--all", "--message", "newer")
    night.prepare(DATE)
    assert _seed(checkout) == 9


def test_other_packages_than_the_nights_own_are_told(checkout: Path, caplog: pytest.LogCaptureFixture) -> None:
    night.prepare(DATE)
    _finish(checkout / "runs" / "nights" / DATE)
    assert "other packages" not in caplog.text
    with (checkout / "requirements.txt").open("a") as stream:
        stream.write("zstd==1.0\n")
    night.prepare(DATE)
    assert f"night {DATE} states other packages" in caplog.text


def _seed(checkout: Path) -> int:
    return config.load(checkout / "runs" / "nights" / DATE / "params.yaml").run.seed


def test_a_finished_night_keeps_its_commit_an_unfinished_one_takes_the_newest(checkout: Path) -> None:
    night.prepare(DATE)
    root = checkout / "runs" / "nights" / DATE
    params = checkout / "params.yaml"
    params.write_text(params.read_text().replace("  seed: 7 ", "  seed: 8 "))
    git(checkout, "commit", "--quiet", "--all", "--message", "newer")
    night.prepare(DATE)
    assert _seed(checkout) == 8, "not finished: what is committed now"
    tip = _finish(root)
    params.write_text(params.read_text().replace("  seed: 8 ", "  seed: 9 "))
    git(checkout, "commit", "--quiet", "--all", "--message", "newest")
    night.prepare(DATE)
    assert _seed(checkout) == 8, "finished: an old night gives the old bytes"
    assert git(root, "rev-parse", "HEAD") == tip


def test_locks_that_a_killed_git_left_stop_no_night(checkout: Path) -> None:
    night.prepare(DATE)
    root = checkout / "runs" / "nights" / DATE
    own = Path(git(root, "rev-parse", "--absolute-git-dir").strip())
    left = [own / "index.lock", own / "HEAD.lock", checkout / ".git" / "refs" / "heads" / "nights" / f"{DATE}.lock"]
    for lock in left:
        lock.touch()
    night.prepare(DATE)
    assert not [lock for lock in left if lock.exists()]
    _finish(root)


def test_branches_that_could_not_be_pushed_follow_with_the_next_night(
    checkout: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    params, away = checkout / "params.yaml", tmp_path / "away.git"
    params.write_text(params.read_text().replace("  git_remote: null ", f"  git_remote: {away} "))
    git(checkout, "commit", "--quiet", "--all", "--message", "a remote")
    later = "2026-01-06"
    for date in (DATE, later, "2026-01-07"):
        night.prepare(date)
    _finish(checkout / "runs" / "nights" / DATE)
    night._push_branches(night.prepared(DATE))
    assert "not pushed, the next night tries again" in caplog.text
    git(checkout, "init", "--quiet", "--bare", str(away))
    _finish(checkout / "runs" / "nights" / later)
    night._push_branches(night.prepared(later))
    heads = [line.rpartition("/")[2] for line in git(away, "for-each-ref", "--format=%(refname)").splitlines()]
    assert heads == [DATE, later], "what is not finished stays here"


def test_a_users_own_lock_file_makes_no_night_finished(checkout: Path) -> None:
    (checkout / "dvc.lock").write_text("schema: '2.0'\n")
    git(checkout, "add", "dvc.lock")
    git(checkout, "commit", "--quiet", "--message", "keep an experiment")
    for _ in range(2):  # Airflow tries a task again
        night.prepare(DATE)
        params = config.load(checkout / "runs" / "nights" / DATE / "params.yaml")
        assert (params.run.profile, params.ingest.as_of) == ("tiny", DATE)


def test_a_night_that_changes_nothing_is_finished_too(checkout: Path) -> None:
    """All that it would commit may stand in the commit that it ran."""
    night.prepare(DATE)
    root = checkout / "runs" / "nights" / DATE
    _finish(root)
    git(checkout, "merge", "--quiet", "--squash", f"nights/{DATE}")
    git(checkout, "commit", "--quiet", "--message", "take it over")
    git(checkout, "worktree", "remove", "--force", str(root))
    git(checkout, "branch", "--quiet", "-D", f"nights/{DATE}")
    night.prepare(DATE)
    assert git(root, "status", "--porcelain") == ""
    tip = _finish(root)
    assert tip == _finish(root), "once"
    assert tip != git(checkout, "rev-parse", "main")
    git(checkout, "commit", "--quiet", "--allow-empty", "--message", "newer")
    night.prepare(DATE)
    assert git(root, "rev-parse", "HEAD") == tip


def test_another_profile_makes_a_finished_night_anew(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    night.prepare(DATE)
    root = checkout / "runs" / "nights" / DATE
    _finish(root)
    monkeypatch.setenv("RPOREC_PROFILE", "nightly")
    night.prepare(DATE)
    assert config.load(root / "params.yaml").run.profile == "nightly"
    assert git(root, "rev-parse", "HEAD") == git(checkout, "rev-parse", "main")
    assert "was finished with profile tiny" in caplog.text


def test_an_old_night_is_run_again_after_a_change_of_the_schema(checkout: Path) -> None:
    """Its file lacks keys of today and has one that today's schema refuses; the branch is all that is left of it."""
    night.prepare(DATE)
    root = checkout / "runs" / "nights" / DATE
    text = (root / "params.yaml").read_text()
    old = re.sub(r"^  (valid_share|git_remote|patience): .*\n", "", text, flags=re.MULTILINE)
    old = re.sub(r"^monitor:\n(  .*\n)+", "gone:\n  key: 1\n", old, flags=re.MULTILINE)
    old = old.replace("  threads: 1 ", "  threads: 3 ")
    assert "gone:" in old
    (root / "params.yaml").write_text(old)
    tip = _finish(root)
    git(checkout, "worktree", "remove", "--force", str(root))
    night.prepare(DATE)
    assert git(root, "rev-parse", "HEAD") == tip
    assert (root / "params.yaml").read_text() == old
    space = night.prepared(DATE)
    assert (space.params.run.profile, space.params.run.threads, space.params.ingest.as_of) == ("tiny", 3, DATE)
    assert space.params.nights.git_remote is None, "as today"
    assert _finish(root) == tip


def test_a_finished_night_keeps_the_source_that_it_read(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = checkout.parent / "shop"
    shop.mkdir()
    (shop / "interactions.csv").write_text("user_id,item_id,timestamp\nu,i,1700000000\n")
    (shop / "items.csv").write_text("item_id,title\ni,thing\n")
    monkeypatch.setenv("RPOREC_DATA", str(shop))
    night.prepare(DATE)
    lock = checkout / "runs" / "nights" / DATE / "source.lock.json"
    before = lock.read_bytes()
    assert b"interactions.csv" in before
    _finish(lock.parent)
    (shop / "items.csv").write_text("item_id,title\ni,other\n")
    night.prepare(DATE)
    assert lock.read_bytes() == before
    night.prepare("2026-01-06")
    assert (lock.parents[1] / "2026-01-06" / lock.name).read_bytes() != before
    shutil.rmtree(shop)
    night.prepare(DATE)
    assert lock.read_bytes() == before, "an old night's data may be gone"


def test_a_night_that_was_only_begun_is_not_prepared(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPOREC_PROFILE", "none")
    with pytest.raises(InputError, match="profile does not exist"):
        night.prepare(DATE)
    with pytest.raises(InputError, match="was not prepared"):
        night.prepared(DATE)


def _kept(checkout: Path, as_of: str, rows: int) -> None:
    """The profile of a night as the stage and the driver leave it."""
    end = int(dt.datetime.fromisoformat(f"{as_of}T00:00+00:00").timestamp())
    profile = {"end": end, "days": 7, "rows": rows, "features": {}}
    write_json(checkout / "var" / "profiles" / "tiny" / f"{as_of}.json", {"as_of": as_of, "profile": profile})


def test_last_nights_profile_is_pinned_and_a_finished_night_keeps_its_own(checkout: Path) -> None:
    pinned = checkout / "runs" / "nights" / DATE / "last_night.json"
    night.prepare(DATE)
    assert pinned.read_text() == "{}\n", "the first night"
    _kept(checkout, "2026-01-04", rows=4)
    _kept(checkout, "2026-01-06", rows=6)
    night.prepare(DATE)
    assert json.loads(pinned.read_text())["as_of"] == "2026-01-04", "not finished: what is known now"
    _finish(pinned.parent)
    before = pinned.read_bytes()
    _kept(checkout, "2026-01-04", rows=5)
    night.prepare(DATE)
    assert pinned.read_bytes() == before, "finished: an old night gives the old bytes"


def test_stage_validate_alone_keeps_the_nights_profile(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    night.prepare(DATE)
    root = checkout / "runs" / "nights" / DATE
    end = int(dt.datetime.fromisoformat(f"{DATE}T00:00+00:00").timestamp())
    monkeypatch.setattr(night.pipeline, "reproduce", lambda *_: None)
    monkeypatch.setattr(night.pipeline, "keep_records", lambda *_: None)
    write_json(root / "outputs/validate/profile.json", {"end": end, "days": 7, "rows": 9, "features": {}})
    kept = checkout / "var" / "profiles" / "tiny" / f"{DATE}.json"
    night.stage(DATE, "ingest")
    assert not kept.exists()
    night.stage(DATE, "validate")
    assert json.loads(kept.read_text())["profile"]["rows"] == 9
    night.prepare("2026-01-06")
    following = checkout / "runs" / "nights" / "2026-01-06" / "last_night.json"
    assert json.loads(following.read_text()) == json.loads(kept.read_text())


def test_two_nights_do_not_share_a_workspace(checkout: Path) -> None:
    night.prepare(DATE)
    night.prepare("2026-01-06")
    assert night.prepared(DATE).root != night.prepared("2026-01-06").root
    assert night.prepared(DATE).home == night.prepared("2026-01-06").home == checkout / "var"


def test_bad_dates_and_unprepared_nights_are_refused(checkout: Path) -> None:
    with pytest.raises(InputError, match="was not prepared"):
        night.prepared("2026-02-01")
    with pytest.raises(InputError, match="date cannot be read"):
        night._date("tonight")


def test_a_nights_data_counts_from_the_checkout_and_a_url_stays(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night.prepare(DATE)
    for given, want in (("shop", str(checkout / "shop")), ("s3://bucket/shop", "s3://bucket/shop")):
        monkeypatch.setenv("RPOREC_DATA", given)
        assert night.prepared(DATE).data == want
