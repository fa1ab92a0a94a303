"""Files of old nights go, and nothing that a version, a younger night or a workspace names: real git, DVC, MLflow."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path

import pytest

from infra import housekeeping, pipeline, remote, worktree
from infra.housekeeping import Tidied
from infra.workspace import Workspace, write_dvc_config
from rporec import config
from rporec.errors import InputError
from rporec.release.place import Place, client
from tests.project import ROOT, git
from tests.release.fixtures import *  # noqa: F403

MODEL = "rporec-nightly"
DAY = 86_400
NOW = time.time()
STAGE = """\
stages:
  ingest:
    cmd: mkdir -p outputs/ingest && cp content.txt outputs/ingest/own.txt && echo shared > outputs/ingest/shared.txt
    deps: [content.txt]
    outs:
    - outputs/ingest: {persist: true}
"""
FIRST, SECOND, THIRD, REPLAYED = "2026-01-01", "2026-01-02", "2026-01-03", "2011-09-01"


class Nights:
    """A checkout with four nights: two old ones, of which the first is a version; a young one; a replayed one."""

    def __init__(self, checkout: Path, place: Place) -> None:
        self.checkout, self.place = checkout, place
        for name in ("params.yaml", "profiles/nightly.yaml", ".gitignore", ".dvc/config", ".dvc/.gitignore"):
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            (checkout / name).write_bytes((ROOT / name).read_bytes())
        (checkout / "dvc.yaml").write_text(STAGE)
        git(checkout, "init", "--quiet", "--initial-branch=main")
        git(checkout, "add", "--all")
        git(checkout, "commit", "--quiet", "--message", "first")
        self.runs = {}
        for date, days in ((FIRST, 200), (SECOND, 199), (THIRD, 1), (REPLAYED, 2)):
            self.runs[date] = self._make(date, NOW - days * DAY)
        client(place).create_registered_model(MODEL)
        tags = {"package_hash": "p", "verdict": "pass"}
        client(place).create_model_version(MODEL, "file:///nowhere", run_id=self.runs[FIRST], tags=tags)

    def root(self, date: str) -> Path:
        return self.checkout / "runs" / "nights" / date

    def space(self, root: Path) -> Workspace:
        params = config.load(ROOT / "params.yaml")
        return Workspace(self.checkout, root, self.place.home, None, params, {}, {})

    def _make(self, date: str, when: float) -> str:
        root = self.root(date)
        worktree.ensure_worktree(self.checkout, root, git(self.checkout, "rev-parse", "HEAD").strip(), f"nights/{date}")
        git(root, "reset", "--hard", "--quiet")
        write_dvc_config(self.space(root))
        (root / "content.txt").write_text(f"of {date}")
        pipeline.reproduce(root, {})
        assert remote.push(self.space(root))
        git(root, "add", "--force", "dvc.lock", "content.txt")
        moment = f"{int(when)} +0000"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GIT_COMMITTER_DATE", moment)
            git(root, "commit", "--quiet", "--message", f"night {date}")
        for name in ("params.yaml", "dvc.lock"):
            os.utime(root / name, (when, when))
        return self._run(git(root, "rev-parse", "HEAD").strip(), root)

    def _run(self, commit: str, root: Path) -> str:
        mlflow = client(self.place)
        found = mlflow.get_experiment_by_name(MODEL)
        identity = found.experiment_id if found else mlflow.create_experiment(MODEL, self.place.artifacts(MODEL))
        run = mlflow.create_run(identity, tags={"git_commit": commit}).info.run_id
        mlflow.log_metric(run, "rporec.ndcg_at_10", 0.1)
        mlflow.log_artifact(run, str(root / "dvc.lock"), "run")
        return str(run)

    def objects(self, store: str) -> dict[str, str]:
        """Content to path, of the text files of a cache or remote."""
        found = {}
        for path in (self.place.home / store / "files/md5").rglob("*"):
            if path.is_file() and not path.name.endswith(".dir"):
                found[path.read_text().strip()] = path.name
        return found

    def artefacts(self, date: str) -> list[str]:
        return [file.path for file in client(self.place).list_artifacts(self.runs[date])]

    def tidy(self, *, dry_run: bool = False) -> Tidied:
        return housekeeping.drive(self.checkout, NOW, dry_run=dry_run)


@pytest.fixture
def nights(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nights:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    monkeypatch.chdir(checkout)
    monkeypatch.setenv("RPOREC_HOME", str(place.home))
    return Nights(checkout, place)


def test_old_nights_go_and_what_is_needed_stays(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(nights.checkout)
    (lock,) = (nights.place.home / "mlartifacts").rglob(f"{nights.runs[FIRST]}/**/dvc.lock")
    lock.rename(aside := nights.checkout / "var-lock")
    with pytest.raises(InputError, match=r"cannot be read|keeps no dvc"):
        nights.tidy()
    aside.rename(lock)
    all_of_it = {f"of {date}" for date in (FIRST, SECOND, THIRD, REPLAYED)} | {"shared"}
    assert set(nights.objects("dvc/cache")) == all_of_it, "nothing goes when a version's files are not known"
    told = nights.tidy(dry_run=True)
    assert (told.worktrees, told.objects, told.runs) == ([FIRST, SECOND], 4, [nights.runs[SECOND]])
    assert set(nights.objects("dvc/cache")) == set(nights.objects("dvc/remote")) == all_of_it, (
        "a dry run removes nothing"
    )
    assert nights.root(SECOND).is_dir()
    assert nights.artefacts(SECOND) == ["run"]

    with (nights.root(SECOND).with_name(f".{SECOND}.lock")).open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        busy = nights.tidy()
    assert (busy.worktrees, busy.busy, busy.objects) == ([FIRST], [SECOND, "cache"], 0)

    done = nights.tidy()
    assert (done.worktrees, done.objects, done.runs) == ([SECOND], 4, []), "its run went the time before"
    assert json.loads((nights.checkout / "reports/housekeeping.json").read_text())["objects"] == 4
    for store in ("dvc/cache", "dvc/remote"):
        assert set(nights.objects(store)) == all_of_it - {f"of {SECOND}"}, store
    assert [date for date in nights.runs if nights.root(date).is_dir()] == [THIRD, REPLAYED]
    branches = git(nights.checkout, "branch", "--list", "nights/*").replace("+", " ").split()
    assert len(branches) == 4, "a branch is the night's identity"
    assert (nights.artefacts(FIRST), nights.artefacts(SECOND)) == (["run"], [])
    assert client(nights.place).get_run(nights.runs[SECOND]).data.metrics == {"rporec.ndcg_at_10": 0.1}
    assert nights.tidy().objects == 0

    again = nights.checkout / "runs/reproduce/nightly-v1"
    worktree.fresh_worktree(nights.checkout, again, f"nights/{FIRST}")
    write_dvc_config(nights.space(again))
    pipeline.own_cache(again, nights.place.home / "dvc" / "cache")
    pipeline.fetch(again, ["ingest"])
    assert (again / "outputs/ingest/own.txt").read_text() == f"of {FIRST}", "what make reproduce starts from"
