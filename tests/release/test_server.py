"""The registry on a real MLflow server, asked while it is still starting: the outage is waited out."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from infra import children
from rporec.release import audit, lookup, manifest, registry, summary
from rporec.release.registry import Place
from steps import promote as step
from tests.release import world

pytestmark = pytest.mark.platform


@pytest.fixture
def server(template: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a server that is starting."""
    port = children.free_port()
    shutil.copy(template, tmp_path / "server.db")
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{tmp_path}/server.db", "--artifacts-destination", str(tmp_path / "store"),
    ]  # fmt: skip
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        children.end(process)


def test_a_promotion_waits_for_the_server_and_the_champion_comes_back_from_it(
    server: str,
    workspace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    root, home = tmp_path / "root", tmp_path / "home"
    shutil.copytree(workspace, root)
    shutil.copytree(workspace / "scratch/package", root / "outputs/package")
    package_hash = manifest.read(root / summary.PACKAGE).package_hash
    world.write_verdict(root / summary.GATES, package_hash)
    monkeypatch.setenv("RPOREC_HOME", str(home))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["promote"]["outage_seconds"] = 600.0  # a busy machine starts the server slowly
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    done = step.promote(root, must=True)
    assert (done.verdict, done.version) == ("pass", 1)
    assert "does not answer" in caplog.text
    found = registry.champion_package(Place(server, home), "rporec-demo")
    assert found is not None
    assert found[1] == home / "packages" / package_hash
    assert lookup.aliased(server) == {package_hash}
    assert "Ranking" in (root / "reports/recommendation.txt").read_text()
    traces = registry.client(Place(server, home)).search_traces(
        locations=[registry.client(Place(server, home)).get_experiment_by_name("rporec-demo").experiment_id],
        run_id=found[0].run_id,
    )
    assert [trace.data.spans[0].inputs for trace in traces] == [{"prompt": "bought a lamp"}]
    assert {judged.name: judged.feedback.value for judged in traces[0].info.assessments}["reward"] == 0.5
    rows = audit.rows(Place(server, home).audit, "rporec-demo")  # no database is named: it is kept here
    assert [(row.alias, row.from_version, row.to_version) for row in rows] == [("champion", None, 1)]
    assert (home / "audit.db").exists()
    assert step.promote(root, must=True).version == 1
    assert summary.standing(root, server, "rporec-demo").settled
