"""The gate on a real toy package: a verdict bound to its bytes, looks counted, worse than the champion refused."""

# ruff: noqa: F811 - fixtures are arguments

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from rporec import tables
from rporec.errors import InputError
from rporec.evaluation import anchor, contest, rescore, service, terms
from rporec.evaluation.gates import ServiceMeasure
from rporec.evaluation.metrics import Ranks
from rporec.evaluation.rescore import Served
from rporec.files import read_json, write_json
from rporec.release import manifest, registry, verdict
from rporec.release.registry import Place, Request
from steps import evaluate, gate, stage
from tests.release import world
from tests.release.fixtures import place, shared, template  # noqa: F401 - fixtures
from tests.steps import evaluated

GATES = list(terms.GATES)
MODEL = "rporec-demo"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("gate")
    evaluated.judged_ready(root)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that may be changed, before any registry; the service is measured in its own test."""
    monkeypatch.setenv("RPOREC_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(service, "measure", lambda *_: ServiceMeasure(10.0, 1.0, 100.0))
    return Path(shutil.copytree(made, tmp_path / "root"))


def serve(place: Place, package: Path, as_of: str = "2026-01-01") -> registry.Promotion:
    """Make a package the champion of the real registry, in place of the one that is."""
    now = registry.champion(place, MODEL)
    against = {"champion": now.number, "champion_hash": now.package_hash} if now else {}
    package_hash = manifest.read(package).package_hash
    path = world.write_verdict(place.home / "earlier.json", package_hash, **against)
    copy = Path(shutil.copytree(package, place.home / "mlartifacts" / package_hash))
    request = Request(package, verdict.read(path), "", copy.as_uri(), {"as_of": as_of}, "someone")
    return registry.promote(place, MODEL, request, wait_seconds=0.0)


def another(root: Path, tmp_path: Path, mark: str, as_of: str = "2026-01-01") -> Path:
    """Build a package of the same weights but another name."""
    folder = tmp_path / "packages" / mark
    world.write_package(folder, root, mark=mark, as_of=as_of)
    return folder


def line(root: Path, place: Place, tmp_path: Path, *marks: str) -> list[str]:
    """Make packages the champion one after the other, none shown to beat the one before; return their hashes."""
    names = [""]
    for mark in marks:
        folder = another(root, tmp_path, mark)
        serve(place, folder)
        names.append(manifest.read(folder).package_hash)
        passed = anchor.Judgement(MODEL, names[-1], names[-2], "2026-01-01", better=False)
        anchor.note(contest.judgements_file(place.home), passed)
    return names[1:]


def rank(monkeypatch: pytest.MonkeyPatch, above: dict[str, int]) -> list[str]:
    """Let packages rank every target behind so many items; return the list of those that were asked."""
    asked: list[str] = []

    def ranked(_recommender: object, test: object, _ids: object, name: str) -> Served:
        asked.append(name)
        found = np.full(len(test.targets), above[name])
        return Served(Ranks(found, np.zeros_like(found)), 1.0)

    monkeypatch.setattr(rescore, "rank_package", ranked)
    return asked


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


def test_the_table_has_a_row_with_its_reason_for_each_thing_asked(root: Path) -> None:
    stated = gate.gate(root)
    rows = gate.judge.table(stated).splitlines()[2:]
    asked = [check for one in stated["gates"] for check in one["checks"] or [one]]
    assert all(check["reason"] in rows_of for check, rows_of in zip(asked, _told(rows), strict=True))
    assert [row.split()[0] for row in rows if not row.startswith(" ")] == GATES


def _told(rows: list[str]) -> list[str]:
    """Return the rows that answer something: a gate of several checks has a row of its own above theirs."""
    return [row for row in rows if len(row) > 60]


def test_judging_the_same_bytes_again_is_no_new_look_and_other_bytes_are(root: Path) -> None:
    assert gate.gate(root)["look"] == gate.gate(root)["look"]
    shutil.rmtree(root / "outputs/package")
    world.write_package(root / "outputs/package", root, mark="another")
    again = gate.gate(root)["look"]
    assert again["number"] == 2
    assert again["alpha"] < 0.05 * 6 / np.pi**2 / 3.9


@pytest.mark.parametrize(("above", "status"), [(0, "fail"), (20, "pass")])
def test_a_challenger_worse_than_the_champion_is_refused(
    root: Path,
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    above: int,
    status: str,
) -> None:
    serve(place, another(root, tmp_path, "champion"))
    asked = rank(monkeypatch, {"rporec": 5, "champion": above})
    stated = gate.gate(root)
    assert asked == ["rporec", "champion"]
    assert evaluated.gates_of(root)["champion"]["status"] == status
    now = registry.champion(place, MODEL)
    assert now is not None
    assert stated["champion"] == {"version": 1, "package_hash": now.package_hash}
    if status == "fail":
        assert stated["verdict"] == "fail"


def test_the_same_model_as_the_champion_serves_the_same(root: Path, place: Place, tmp_path: Path) -> None:
    """Both by the same path: whatever completions the run stored, no row may differ."""
    serve(place, another(root, tmp_path, "champion"))
    gate.gate(root)
    found = evaluated.gates_of(root)["champion"]
    assert (found["status"], found["observed"], found["interval"]) == ("pass", 0.0, [0.0, 0.0])


def test_the_first_signed_package_is_compared_with_the_unsigned_champion(
    root: Path, place: Place, tmp_path: Path
) -> None:
    """Without a key: judging is no serving. Else nobody could ever switch signatures on."""
    serve(place, another(root, tmp_path, "champion"))
    text = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(text.replace("signature: none", "signature: ed25519"))
    gate.gate(root)
    assert evaluated.gates_of(root)["champion"]["status"] == "pass"


def test_not_worse_than_the_champion_but_than_the_anchor_is_refused(
    root: Path, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first champion was better than the second one, which was never shown to beat it."""
    first, _ = line(root, place, tmp_path, "old", "new")
    asked = rank(monkeypatch, {"rporec": 5, "champion": 5, "anchor": 0})
    stated = gate.gate(root)
    assert asked == ["rporec", "champion", "anchor"]
    assert stated["anchor"] == {"version": 1, "package_hash": first}
    assert {one["name"]: one["status"] for one in evaluated.gates_of(root)["champion"]["checks"]} == {
        "not worse than champion": "pass", "not worse than anchor": "fail",
    }  # fmt: skip


def test_the_oldest_champion_that_is_still_there_is_the_anchor(
    root: Path, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever deletes the anchor in MLflow does not switch the anchor off."""
    line(root, place, tmp_path, "old", "middle", "new")
    registry.client(place).delete_model_version(MODEL, "1")
    asked = rank(monkeypatch, {"rporec": 5, "champion": 5, "anchor": 0})
    assert gate.gate(root)["anchor"]["version"] == 2
    assert asked == ["rporec", "champion", "anchor"]
    assert evaluated.gates_of(root)["champion"]["status"] == "fail"


def test_a_pass_is_written_down_with_whether_it_was_shown_better(
    root: Path, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion = another(root, tmp_path, "champion")
    serve(place, champion)
    rank(monkeypatch, {"rporec": 0, "champion": 20})
    stated = gate.gate(root)
    assert stated["shown_better"]
    rows = anchor.judgements(contest.judgements_file(place.home), MODEL)
    if stated["verdict"] == "pass":
        assert [(row.champion_hash, row.better) for row in rows] == [(manifest.read(champion).package_hash, True)]
    else:
        assert rows == []


def test_data_older_than_the_champions_are_a_failing_verdict(
    root: Path, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(place, another(root, tmp_path, "later", "2026-01-09"), "2026-01-09")
    rank(monkeypatch, {"rporec": 5, "champion": 5})
    assert gate.gate(root)["verdict"] == "fail"
    assert "the champion's up to 2026-01-09" in evaluated.gates_of(root)["data"]["reason"]


def test_a_package_that_was_champion_is_not_judged_again(
    root: Path,
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = gate.gate(root)
    serve(place, root / "outputs/package")
    rank(monkeypatch, {})
    ledger = (place.home / "ledger.jsonl").read_text()
    write_json(root / "outputs/sequence/leakage.json", {"passed": False})
    with caplog.at_level("INFO", "rporec"):
        assert gate.gate(root) == first
    assert "version 1 of rporec-demo already" in caplog.text
    assert (place.home / "ledger.jsonl").read_text() == ledger


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
