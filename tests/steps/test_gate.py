"""The gate on a real toy package: a verdict bound to its bytes, looks counted, worse than the champion refused."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from rporec import tables
from rporec.errors import InputError
from rporec.evaluation import rescore, service, terms
from rporec.evaluation.gates import ServiceMeasure
from rporec.evaluation.metrics import Ranks
from rporec.evaluation.results import RANKERS
from rporec.files import read_json, write_json
from rporec.release import verdict
from rporec.release.lookup import Version
from steps import evaluate, gate, stage
from tests.release import world
from tests.steps import evaluated

GATES = list(terms.GATES)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("gate")
    evaluated.judged_ready(root)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that may be changed; the service is measured in its own test."""
    monkeypatch.setenv("RPOREC_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(service, "measure", lambda *_: ServiceMeasure(10.0, 1.0, 100.0))
    return Path(shutil.copytree(made, tmp_path / "root"))


def serve(monkeypatch: pytest.MonkeyPatch, package: Path, above: int | None) -> None:
    """Let a champion serve; with `above`, it ranks every target behind so many items."""
    version = Version("rporec-demo", 3, str(package), "", {"package_hash": "of the champion"})
    monkeypatch.setattr(gate, "champion", lambda *_: (version, package))
    if above is not None:
        monkeypatch.setattr(
            rescore, "rank_package", lambda _, test, __: Ranks(np.full(len(test.targets), above), np.zeros(40, int))
        )


def test_the_verdict_is_bound_to_the_package_and_readable_by_promotion(root: Path) -> None:
    stated = gate.gate(root)
    assert read_json(root / "reports/gates.json") == stated
    assert [one["name"] for one in stated["gates"]] == GATES
    assert set(stated["gates"][0]) >= {"name", "status", "observed", "threshold", "interval", "reason"}
    bound = verdict.read(root / "reports/gates.json")
    assert bound.package_hash == read_json(root / "outputs/package/manifest.json")["package_hash"]
    assert bound.champion is None
    found = evaluated.gates_of(root)
    assert found["champion"]["status"] == found["slices"]["status"] == "not_applicable"
    assert found["data"]["status"] == found["form"]["status"] == found["service"]["status"] == "pass"
    assert "Verdict" in (root / "reports/report.html").read_text()
    assert read_json(root / "records/gate.json")["stage"] == "gate"


def test_the_table_gives_every_gate_with_its_reason(root: Path) -> None:
    stated = gate.gate(root)
    told = gate.judge.table(stated)
    assert len(told.splitlines()) == 1 + len(GATES)
    assert all(one["reason"] in told for one in stated["gates"])


def test_judging_the_same_bytes_again_is_no_new_look_and_other_bytes_are(root: Path) -> None:
    assert gate.gate(root)["look"] == gate.gate(root)["look"]
    shutil.rmtree(root / "outputs/package")
    world.write_package(root / "outputs/package", root, mark="another")
    again = gate.gate(root)["look"]
    assert again["number"] == 2
    assert again["alpha"] < 0.05 * 6 / np.pi**2 / 3.9


@pytest.mark.parametrize(("above", "status"), [(0, "fail"), (20, "pass")])
def test_a_challenger_worse_than_the_champion_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch, above: int, status: str
) -> None:
    serve(monkeypatch, root / "outputs/package", above)
    path, contract = root / "outputs/evaluate/ranks.parquet", tables.ranks_table(list(RANKERS))
    own = tables.read(path, contract).with_columns(rporec_above=pl.lit(5, pl.Int32))
    tables.write(own, path, contract)
    stated = gate.gate(root)
    assert evaluated.gates_of(root)["champion"]["status"] == status
    assert stated["champion"] == {"version": 3, "package_hash": "of the champion"}
    if status == "fail":
        assert stated["verdict"] == "fail"


def test_a_champion_is_scored_by_its_own_package(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, root / "outputs/package", None)
    gate.gate(root)
    found = evaluated.gates_of(root)["champion"]
    assert found["status"] in {"pass", "fail"}
    assert found["interval"] is not None


def test_the_champion_itself_is_not_compared_with_itself(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package_hash = read_json(root / "outputs/package/manifest.json")["package_hash"]
    version = Version("rporec-demo", 3, "", "", {"package_hash": package_hash})
    monkeypatch.setattr(gate, "champion", lambda *_: (version, root / "outputs/package"))
    assert gate.gate(root)["champion"]["version"] == 3
    assert evaluated.gates_of(root)["champion"]["status"] == "not_applicable"


def test_a_failed_audit_fails_the_data_gate(root: Path) -> None:
    write_json(root / "outputs/sequence/leakage.json", {"passed": False})
    assert gate.gate(root)["verdict"] == "fail"
    assert evaluated.gates_of(root)["data"]["status"] == "fail"


def test_a_package_of_another_evaluation_or_with_a_changed_byte_is_an_error(root: Path) -> None:
    write_json(root / "outputs/evaluate/metrics.json", {**read_json(root / "outputs/evaluate/metrics.json"), "rows": 1})
    with pytest.raises(InputError, match="another evaluation"):
        gate.gate(root)
    (root / "outputs/package/card.md").write_text("other")
    with pytest.raises(InputError, match="changed"):
        gate.gate(root)
    assert not (root / "reports").exists()


@pytest.mark.parametrize("name", ["interactions", "items"])
def test_the_package_of_an_earlier_run_is_not_judged_on_newer_data(root: Path, name: str) -> None:
    """A run that was stopped after `ingest` leaves its tables beside the last package."""
    path = root / f"outputs/ingest/{name}.parquet"
    pl.concat([frame := pl.read_parquet(path), frame.tail(1)]).write_parquet(path)
    with pytest.raises(InputError, match="made from other data"):
        gate.gate(root)
    assert not (root.parent / "home/ledger.jsonl").exists()  # no look was spent


@pytest.mark.parametrize("column", ["user_id", "group", "target"])
def test_ranks_of_other_rows_with_the_same_numbers_are_an_error(root: Path, column: str) -> None:
    path = root / "outputs/sequence/test.parquet"
    rows = tables.read(path, tables.ROWS)
    tables.write(rows.with_columns(pl.col(column).reverse()), path, tables.ROWS)
    with pytest.raises(InputError, match="ranks are not of the test rows"):
        gate.gate(root)


def test_a_failing_verdict_is_a_result_in_one_line(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_json(root / "outputs/sequence/leakage.json", {"passed": False})
    monkeypatch.chdir(root)
    with caplog.at_level("INFO", "rporec"):
        gate.main()
    last = caplog.messages[-1]
    assert last.startswith("gate: verdict fail for package")
    assert "data" in last
    assert "\n" not in last


def test_a_day_without_events_is_judged_undecided(root: Path) -> None:
    tables.write(tables.empty(tables.ROWS), root / "outputs/sequence/test.parquet", tables.ROWS)
    stage.execute("evaluate", evaluate.evaluate, root)
    shutil.rmtree(root / "outputs/package")
    world.write_package(root / "outputs/package", root)
    assert gate.gate(root)["verdict"] == "fail"
    assert "no test rows" in evaluated.gates_of(root)["floor"]["reason"]


def test_the_service_is_measured_in_a_process_of_its_own(made: Path) -> None:
    test = tables.read(made / "outputs/sequence/test.parquet", tables.ROWS)
    asked = [[f"i{item:02d}" for item in history] for history in test["history"].head(2)]
    found = service.measure(made / "outputs/package", asked, 2)
    assert 0 < found.p95_ms < 60_000
    assert found.package_mb == pytest.approx(
        sum(path.stat().st_size for path in (made / "outputs/package").rglob("*") if path.is_file()) / 1e6
    )
    assert 50 < found.memory_mb < 4000
