"""README commands that need a champion: serve and the curl line, the Bento, gate and promote."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import polars as pl
import pytest

from infra import children
from rporec.release import lookup
from rporec.serving.store_sqlite import SqliteStore
from tests import project
from tests.waiting import until
from tests.worlds import World, only_me

pytestmark = pytest.mark.pipeline
README = (project.ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def port(world: World, base: Path) -> Iterator[int]:
    """The service as `make serve` starts it, on a free port."""
    with only_me(base):
        params = world.root / "params.yaml"
        kept = params.read_text()
        number = children.free_port()
        ported = re.sub(r"port: \d+", f"port: {number}", kept)
        params.write_text(re.sub(r"live_seconds: [\d.]+", "live_seconds: 30.0", ported))  # this machine may be busy
        served = project.start(world.clone, "serve", "PROFILE=tiny")
        try:
            told = (world.clone / ".git" / "make.log").read_text
            page = f"http://127.0.0.1:{number}/readyz"
            until(
                "the service is ready", lambda: httpx.get(page).is_success,
                processes=[served], told=told, pause=0.5, no=httpx.TransportError,
            )  # fmt: skip
            yield number
        finally:
            children.end(served)
            params.write_text(kept)


def test_the_curl_line_works_as_printed(world: World, port: int) -> None:
    line = next(line for line in README.splitlines() if line.startswith("curl ") and "/recommend" in line)
    words = [word.replace(":3000/", f":{port}/") for word in shlex.split(line)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    answer = json.loads(done.stdout)
    asked = json.loads(words[words.index("-d") + 1])
    assert len(answer["items"]) == asked["k"]
    assert answer["unknown_ids"] == [], "the ids of the README exist in the market"
    items = pl.read_parquet(world.root / "outputs" / "ingest" / "items.parquet")
    titles = dict(zip(items["item_id"], items["title"], strict=True))
    assert all(titles[item["item_id"]] == item["title"] for item in answer["items"])
    champion = lookup.by_alias(lookup.default_uri(world.clone / "var"), lookup.model_name("tiny"), "champion")
    assert champion is not None
    assert answer["model"]["package_hash"] == champion.package_hash
    assert answer["thought"]


def test_reasoning_is_written_ahead_of_time_once(world: World, base: Path) -> None:
    with only_me(base):
        first = project.make(world.clone, "reasoning", "PROFILE=tiny")
        assert first.returncode == 0, first.stderr
        assert re.search(r"[1-9]\d* active users", first.stderr)
        again = project.make(world.clone, "reasoning", "PROFILE=tiny")
        assert " 0 written now" in again.stderr
        stored = SqliteStore(world.clone / "var" / "serving.db")
        champion = lookup.by_alias(lookup.default_uri(world.clone / "var"), lookup.model_name("tiny"), "champion")
        events = pl.read_parquet(world.root / "outputs" / "ingest" / "interactions.parquet")
        newest = events.sort("timestamp", "order").tail(1)["user_id"][0]
        assert champion is not None
        history = stored.user(champion.package_hash, newest)
        stored.close()
        assert history == events.filter(pl.col("user_id") == newest).sort("timestamp", "order")["item_id"].to_list()


def test_gate_and_promote_alone(world: World, base: Path) -> None:
    with only_me(base):
        promoted = project.make(world.clone, "promote", "PROFILE=tiny")
        assert promoted.returncode == 0, promoted.stderr
        assert "already" in promoted.stderr
        judged = project.make(world.clone, "gate", "PROFILE=tiny")
        assert judged.returncode == 0, judged.stderr
        refused = project.make(world.clone, "gate", "PROFILE=paper")
        assert refused.returncode != 0
        assert "this profile has not run" in refused.stderr


def test_versions_audit_rollback_and_challenge_alone(world: World, base: Path) -> None:
    """Other tests may have promoted more versions in this world; whatever they left is told and stays as it is."""
    with only_me(base):
        champion = lookup.by_alias(lookup.default_uri(world.clone / "var"), lookup.model_name("tiny"), "champion")
        assert champion is not None
        number = str(champion.number)
        listed = project.make(world.clone, "versions", "PROFILE=tiny")
        assert listed.returncode == 0, listed.stderr
        head, *lines = listed.stdout.splitlines()
        assert head.split()[:5] == ["version", "aliases", "registered", "NDCG@10", "verdict"]
        (own,) = (line.split() for line in lines if line.split()[1] == "champion")
        assert own[0] == number
        assert float(own[3]) > 0
        moved = project.make(world.clone, "audit", "PROFILE=tiny")
        assert moved.returncode == 0, moved.stderr
        acts = [line.split()[2:6] for line in moved.stdout.splitlines()[1:]]
        assert ["promote", "champion", "-", "1"] in acts
        assert number == [to for _, alias, _, to in acts if alias == "champion"][-1]
        refused = project.make(world.clone, "rollback", "PROFILE=tiny", f"TO={number}", "REASON=complaints about shoes")
        assert refused.returncode != 0
        assert "already" in refused.stderr
        waits = project.make(world.clone, "challenge", "PROFILE=tiny")
        assert waits.returncode == 0, waits.stderr
        assert re.search(r"version \d+ of rporec-tiny already", waits.stderr)


def test_the_bento_is_built(world: World, base: Path) -> None:
    with only_me(base):
        env = project.environment({"RPOREC_HOME": str(world.clone / "var")})
        env["PATH"] = f"{env['VENV']}/bin{os.pathsep}{env['PATH']}"
        command = ["python", "-m", "bento.build"]
        done = subprocess.run(
            command, cwd=world.root, env=env, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
