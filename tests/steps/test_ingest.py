"""Stage ingest: same input, same bytes; bad input is one message and leaves the last good outputs."""

import polars as pl
import pytest

from rporec import config
from rporec.data.sources import identity
from rporec.errors import InputError
from rporec.files import read_json, write_json
from steps.ingest import ingest
from tests.data import shop
from tests.steps.data_flow import FOLDER, command, hashes, run, workspace

TABLES = ("interactions.parquet", "items.parquet")


def test_the_market_gives_the_same_bytes_again(tmp_path):
    outcome = run(workspace(tmp_path), "ingest", ingest)
    before = hashes(tmp_path / "outputs/ingest")
    assert set(before) == {*TABLES, "quarantine.parquet", "oracle.parquet", "source.json"}
    run(tmp_path, "ingest", ingest)
    assert hashes(tmp_path / "outputs/ingest") == before
    source = read_json(tmp_path / "outputs/ingest/source.json")
    assert source["kind"] == "market"
    assert source["files"] == []
    assert source["end"] == 1_767_225_600
    assert outcome.metrics["interactions"] == source["counts"]["interactions"]["kept"] > 400


def test_the_order_of_rows_has_no_effect_on_tables(tmp_path, monkeypatch):
    rows = [*shop.steady(), ("u0", "i0", 0), ("u1", "i3", 4.01)]
    for name, ordered in (("one", rows), ("two", rows[::-1])):
        monkeypatch.setenv("RPOREC_DATA", str(shop.write_events(tmp_path / f"{name}_data", ordered)))
        run(workspace(tmp_path / name, FOLDER), "ingest", ingest)
    one, two = (hashes(tmp_path / name / "outputs/ingest", *TABLES) for name in ("one", "two"))
    assert one == two
    source = read_json(tmp_path / "one/outputs/ingest/source.json")
    assert [file["name"] for file in source["files"]] == ["interactions.parquet", "items.parquet"]
    assert str(tmp_path) not in str(source)
    assert source["counts"]["interactions"]["quarantined"] == {"duplicate": 1}
    assert source["end"] == shop.START + 20 * shop.DAY
    assert pl.read_parquet(tmp_path / "one/outputs/ingest/oracle.parquet").is_empty()


def test_as_of_bounds_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("RPOREC_DATA", str(shop.write_events(tmp_path / "data", shop.steady())))
    run(workspace(tmp_path, FOLDER, {"ingest": {"as_of": "2023-11-25"}}), "ingest", ingest)  # START + 10 days
    rows = pl.read_parquet(tmp_path / "outputs/ingest/interactions.parquet")
    assert rows.height == 8 * 10
    assert rows["timestamp"].max() < shop.START + 10 * shop.DAY


def test_a_given_split_has_no_end(tmp_path, monkeypatch):
    monkeypatch.setenv("RPOREC_DATA", str(shop.write_given(tmp_path / "data")))
    run(workspace(tmp_path, FOLDER), "ingest", ingest)
    source = read_json(tmp_path / "outputs/ingest/source.json")
    assert (source["end"], source["timed"], source["as_of"]) == (None, False, None)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda d: (d / "items.parquet").unlink(), ["no item table"]),
        (lambda d: [path.unlink() for path in d.iterdir()], ["is empty"]),
        (lambda d: shop.write_events(d, shop.events(shop.steady()).drop("item_id")), ["field: item_id"]),
        (
            lambda d: (d / "interactions.parquet").write_bytes((d / "interactions.parquet").read_bytes()[:-9]),
            ["cannot"],
        ),
        (lambda d: shop.write_events(d, shop.steady(users=1)), ["too few usable users", "at least two users"]),
    ],
    ids=["no_items", "empty", "lacks_a_column", "cut_off", "one_user"],
)
def test_bad_input_leaves_the_last_good_outputs(tmp_path, monkeypatch, spoil, words):
    data = shop.write_events(tmp_path / "data", shop.steady())
    monkeypatch.setenv("RPOREC_DATA", str(data))
    run(workspace(tmp_path, FOLDER), "ingest", ingest)
    before = hashes(tmp_path / "outputs/ingest")
    spoil(data)
    with pytest.raises(InputError) as caught:
        run(tmp_path, "ingest", ingest)
    assert [word for word in [*words, "cure:"] if word not in caught.value.message()] == []
    assert hashes(tmp_path / "outputs/ingest") == before


def test_another_source_than_the_planned_one_is_refused(tmp_path, monkeypatch):
    data = shop.write_events(tmp_path / "data", shop.steady())
    monkeypatch.setenv("RPOREC_DATA", str(data))
    root = workspace(tmp_path, FOLDER)
    planned = identity.describe(config.load(root / "params.yaml").ingest, str(data))
    write_json(root / "source.lock.json", planned)
    run(root, "ingest", ingest)
    before = hashes(root / "outputs/ingest")
    shop.write_events(data, shop.steady(days=21))
    with pytest.raises(InputError, match="not the one that this run was planned for") as caught:
        run(root, "ingest", ingest)
    assert "field: files" in caught.value.message()
    assert hashes(root / "outputs/ingest") == before


def test_the_command_says_one_message_without_a_traceback(tmp_path):
    workspace(tmp_path, FOLDER)
    for environment, words in (({}, "DATA="), ({"RPOREC_DATA": str(tmp_path / "nowhere")}, "does not exist")):
        code, text = command(tmp_path, "ingest", **environment)
        assert code == 1
        assert words in text
        assert "Traceback" not in text
        assert not (tmp_path / "outputs/ingest").exists()
