"""Stage validate: contracts hold or stop the run, drift only warns, the same tables give the same results."""

import pytest

from rporec.errors import InputError
from rporec.files import read_json
from steps.ingest import ingest
from steps.validate import validate
from tests.data import shop
from tests.steps.data_flow import FOLDER, hashes, run, workspace


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = workspace(tmp_path_factory.mktemp("validate"))
    run(root, "ingest", ingest)
    run(root, "validate", validate)
    return root


def test_results_docs_and_profile(root):
    report = read_json(root / "outputs/validate/validate.json")
    assert report["passed"]
    assert report["end"] == read_json(root / "outputs/ingest/source.json")["end"]
    assert {finding["table"] for finding in report["findings"]} == {"interactions", "items"}
    assert {one["feature"] for one in report["drift"]} >= {"price", "item_popularity"}
    assert "price" in read_json(root / "outputs/validate/profile.json")
    assert (root / "outputs/validate/docs/index.html").is_file()


def test_same_bytes_again(root):
    names = ("validate.json", "profile.json")
    before = hashes(root / "outputs/validate", *names)
    run(root, "validate", validate)
    assert hashes(root / "outputs/validate", *names) == before


def test_a_broken_contract_stops_names_the_rule_and_keeps_the_last_outputs(root):
    before = hashes(root / "outputs/validate", "validate.json")
    workspace(root, {"validate": {"min_users": 5_000}})
    with pytest.raises(InputError) as caught:
        run(root, "validate", validate)
    message = caught.value.message()
    for part in ("interactions.parquet", "field: user_id", "at least 5000", "validate.min_users", "cure:"):
        assert part in message
    docs = message.partition("details: ")[2].strip()
    assert docs.endswith("index.html")
    assert hashes(root / "outputs/validate", "validate.json") == before


def test_drift_warns_and_goes_on(tmp_path, monkeypatch, caplog):
    rows = [*shop.steady(users=6, days=15), *((f"u{u}", "i5", d + u / 100) for d in range(15, 20) for u in range(6))]
    monkeypatch.setenv("RPOREC_DATA", str(shop.write_events(tmp_path / "data", rows)))
    run(workspace(tmp_path, FOLDER), "ingest", ingest)
    outcome = run(tmp_path, "validate", validate)
    assert "item_popularity" in read_json(tmp_path / "outputs/validate/validate.json")["drift_warnings"]
    assert outcome.metrics["drift_warnings"] >= 1
    assert "drift" in caplog.text
