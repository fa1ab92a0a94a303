"""Stage validate: contracts hold or stop the run, drift only warns, the same tables give the same results."""

import pytest

from rporec.errors import InputError
from rporec.files import read_json, write_json
from steps.ingest import ingest
from steps.validate import validate
from tests.data import shop
from tests.steps.data_flow import FOLDER, hashes, run, workspace

NIGHT = "outputs/validate/validate.json"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = workspace(tmp_path_factory.mktemp("validate"))
    run(root, "ingest", ingest)
    run(root, "validate", validate)
    return root


def shop_night(folder, rows, monkeypatch):
    """A workspace after ingest of a shop's events."""
    monkeypatch.setenv("RPOREC_DATA", str(shop.write_events(folder / "data", rows)))
    run(workspace(folder, FOLDER), "ingest", ingest)
    return folder


def test_results_docs_and_profile(root):
    report = read_json(root / NIGHT)
    assert report["passed"]
    assert report["end"] == read_json(root / "outputs/ingest/source.json")["end"]
    assert {finding["table"] for finding in report["findings"]} == {"interactions", "items"}
    assert {one["feature"] for one in report["drift"]} >= {"price", "item_popularity", "new_users", "volume"}
    assert report["compared_with"] == "the 7 days before"
    assert len(report["drift_warnings"]) == len(report["drift_messages"])
    profile = read_json(root / "outputs/validate/profile.json")
    assert (profile["end"], profile["days"]) == (report["end"], 7)
    assert "price" in profile["features"]
    assert (root / "outputs/validate/docs/index.html").is_file()


def test_same_bytes_again(root):
    before = hashes(root / "outputs/validate")
    run(root, "validate", validate)
    assert hashes(root / "outputs/validate") == before, "the pages too"


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
    usual = [(f"u{u}", f"i{(u + d) % 6}", d + u / 100) for d in range(23) for u in range(12)]
    dear = [(f"u{u}", "i5", d + u / 100) for d in (23, 24, 25, 26, 28, 29) for u in range(12)]  # nothing on day 27
    shop_night(tmp_path, usual + dear, monkeypatch)
    outcome = run(tmp_path, "validate", validate)
    report = read_json(tmp_path / NIGHT)
    assert report["drift_warnings"] == ["item_popularity", "price", "silent_days"]
    assert "compared with the 7 days before" in report["drift_messages"][0]
    assert "no interactions on 2023-12-12: did the feed stop?" in report["drift_messages"][2]
    assert outcome.metrics["drift_warnings"] == 3
    assert all(message in caplog.text for message in report["drift_messages"])


def test_tonight_is_compared_with_the_last_night(tmp_path, monkeypatch, caplog):
    shop_night(tmp_path, shop.steady(users=12, days=21), monkeypatch)
    write_json(tmp_path / "last_night.json", {"as_of": "2023-12-05", "profile": {"damaged": True}})
    run(tmp_path, "validate", validate)
    assert "last_night.json cannot be used" in caplog.text
    report = read_json(tmp_path / NIGHT)
    assert (report["compared_with"], report["drift_warnings"]) == ("the 7 days before", [])

    profile = read_json(tmp_path / "outputs/validate/profile.json")
    profile["rows"] *= 3
    write_json(tmp_path / "last_night.json", {"as_of": "2023-12-05", "profile": profile})
    run(tmp_path, "validate", validate)
    report = read_json(tmp_path / NIGHT)
    assert (report["compared_with"], report["drift_warnings"]) == ("the night of 2023-12-05", ["volume"])
    assert "12 rows a day, earlier 36" in report["drift_messages"][0]
    assert read_json(tmp_path / "outputs/validate/profile.json")["rows"] == 84, "its own profile is of tonight"
