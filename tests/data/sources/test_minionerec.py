"""MiniOneRec's files: the official split, the development cut, item texts in any of their forms."""

import csv
import json

import polars as pl
import pytest

from rporec.data.sources import adapters, layout
from rporec.data.sources.base import RAW_INTERACTIONS, RAW_ITEMS, Bounds
from rporec.data.sources.folder import FolderSource
from rporec.data.sources.minionerec import _NAMES, MiniOneRecSource
from rporec.errors import InputError
from tests.project import ROOT

REAL = ROOT.parent / "shared" / "data" / "industrial"
HEADER = ["user_id", "history_item_title", "item_title", "history_item_id", "item_id", "history_item_sid", "item_sid"]
ITEMS = {
    "1": {"title": "Mug", "description": ["Blue.", "", "Large."], "brand": "Fenn", "categories": ["Home", "Mugs"]},
    "2": {
        "title": 'Bowl, "deep"',
        "description": "['Red.', \"It's deep.\"]",
        "brand": None,
        "categories": "Home,Bowls",
    },
    "3": {"title": "Plate", "description": "[not a list]"},
}


def write(place, rows, items, stem="Toys_5"):
    """Write rows (user, history, target) of each split and the items as published."""
    titles = {item: str(record.get("title")) for item, record in items.items() if isinstance(record, dict)}
    for split, table in rows.items():
        (place / split).mkdir(parents=True, exist_ok=True)
        with (place / split / f"{stem}.csv").open("w", newline="", encoding="utf-8") as stream:
            out = csv.writer(stream)
            out.writerow(HEADER)
            for user, history, target in table:
                known = [titles.get(item, "") for item in history]
                ids = f"[{', '.join(history)}]" if len(history) % 2 else str(history)  # [117] and ['117', '12']
                out.writerow([user, known, titles.get(target, ""), ids, target, ["<a_1>"] * len(history), "<a_2>"])
    (place / "index").mkdir(parents=True, exist_ok=True)
    (place / "index" / f"{stem}.item.json").write_text(json.dumps(items), encoding="utf-8")
    return place


def toy(place, train=20, items=ITEMS):
    rows = {
        "train": [(f"A{number}", ["1", "2"], "3") for number in range(train)],
        "valid": [("A1", ["1"], "2"), ("A2", ["3", "1"], "1")],
        "test": [("A3", ["2"], "1")],
    }
    return write(place, rows, items)


def read(place, split="official"):
    return MiniOneRecSource(str(place), split).read(place / "scratch", Bounds())


def test_the_official_split(tmp_path):
    raw = read(toy(tmp_path))
    rows = raw.interactions.collect()
    assert dict(rows.schema) == RAW_INTERACTIONS
    assert (raw.timed, raw.given) == (False, True)
    assert rows["split"].to_list() == ["train"] * 20 + ["valid"] * 2 + ["test"]
    assert rows.select("user_id", "history", "item_id").row(20) == ("A1", ["1"], "2")
    assert rows.select("user_id", "history", "item_id").row(21) == ("A2", ["3", "1"], "1")
    assert rows.select("file", "row").row(21) == ("valid/Toys_5.csv", 1)
    for name in ("timestamp", "rating", "fault", "note"):
        assert rows[name].is_null().all()


@pytest.mark.parametrize(("rows", "train"), [(20, 18), (19, 17), (11, 9), (1, 0)])
def test_development_is_cut_from_train_and_leaves_the_test_file_alone(rows, train, tmp_path):
    toy(tmp_path, train=rows)
    (tmp_path / "test/Toys_5.csv").write_text("what stands here is not looked at")
    with_it = read(tmp_path, "development").interactions.collect()
    (tmp_path / "test/Toys_5.csv").unlink()
    found = read(tmp_path, "development").interactions.collect()
    assert found.equals(with_it)
    assert found["split"].to_list() == ["train"] * train + ["valid"] * (rows - train) + ["test"] * 2
    assert found["file"].to_list()[-1] == "valid/Toys_5.csv"
    assert found["user_id"].to_list()[:-2] == [f"A{number}" for number in range(rows)]


def test_item_texts_in_any_form(tmp_path):
    items = read(toy(tmp_path)).items.collect()
    assert dict(items.schema) == RAW_ITEMS
    assert items["item_id"].to_list() == ["1", "2", "3"]
    assert items["description"].to_list() == ["Blue. Large.", "Red. It's deep.", "[not a list]"]
    assert items["brand"].to_list() == ["Fenn", None, None]
    assert items["category"].to_list() == ["Home > Mugs", "Home,Bowls", None]
    assert items["note"].is_null().all()
    assert items["row"].to_list() == [0, 1, 2]


def test_wrong_items_stay_rows(tmp_path):
    odd = {"1": {"title": 5}, "2": "Mug", "3": {"title": "X", "description": "[" * 5000 + "]" * 5000}, "4": None}
    items = read(toy(tmp_path, items=odd)).items.collect()
    assert items["fault"].to_list() == [None, "not_an_object", None, "not_an_object"]
    assert items["note"].to_list() == ["title '5'", "Mug", None, "None"]
    assert items["description"][2].startswith("[[")


def test_text_is_never_run(tmp_path):
    call = f"[__import__('pathlib').Path({str(tmp_path / 'ran')!r}).touch()]"
    toy(tmp_path, items={"1": {"title": "X", "description": call}})
    body = (tmp_path / "train/Toys_5.csv").read_text().replace("\"['1', '2']\"", f'"{call}"')
    assert call in body
    (tmp_path / "train/Toys_5.csv").write_text(body)
    raw = read(tmp_path)
    rows = raw.interactions.collect()
    assert rows["history"][0] is None
    assert rows["note"][0].startswith("history (column history_item_id) '[__import__")
    assert raw.items.collect()["description"][0] == call
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("body", [b"{cut", b"[1]", b"\xff", b""])
def test_a_broken_item_file_is_refused(body, tmp_path):
    toy(tmp_path)
    (tmp_path / "index/Toys_5.item.json").write_bytes(body)
    with pytest.raises(InputError, match="item file") as caught:
        read(tmp_path)
    assert caught.value.file == str(tmp_path / "index/Toys_5.item.json")


def test_a_missing_column_is_refused(tmp_path):
    toy(tmp_path)
    (tmp_path / "train/Toys_5.csv").write_text("user_id,item_id\nA1,2\n")
    with pytest.raises(InputError, match="lacks a column") as caught:
        read(tmp_path)
    assert caught.value.field == "history_item_id"


@pytest.mark.skipif(
    not REAL.is_dir(), reason="the real data set industrial is not beside the checkout (../shared/data)"
)
@pytest.mark.parametrize("split", ["development", "official"])
def test_the_real_rows_come_back_as_the_folder_adapter_gives_them(split, tmp_path):
    rows = {
        name: pl.read_parquet(REAL / f"{name}.parquet").select("user_id", "history", "target").rows()
        for name in ("train", "valid", "test")
    }
    items = {row.pop("item_id"): row for row in pl.read_parquet(REAL / "items.parquet").to_dicts()}
    if split == "development":  # what the folder calls train and valid is the published train
        rows = {"train": rows["train"] + rows["valid"], "valid": rows["test"], "test": []}
    write(tmp_path, rows, items)
    names = _NAMES.model_copy(
        update={"item_id": "item_id", "target": "target", "history": "history", "category": "category"}
    )
    ours = read(tmp_path, split)
    folder = FolderSource(layout.find_layout(str(REAL)), names).read(tmp_path / "scratch", Bounds())
    columns = ["user_id", "item_id", "split", "history", "fault", "note", "timestamp"]
    one, two = (raw.interactions.select(columns).collect() for raw in (ours, folder))
    assert one.group_by("split", maintain_order=True).len().rows() == [
        ("train", 32_633),
        ("valid", 3_626),
        ("test", 4_532),
    ]
    assert one.equals(two)
    texts = ["item_id", "title", "description", "brand", "category", "fault", "note"]
    assert ours.items.select(texts).collect().equals(folder.items.select(texts).collect())


def test_adapters_open_the_published_kinds(tmp_path):
    class Params:
        source, minionerec_split = "minionerec", "development"

    opened = adapters.open_source(Params, 0, str(tmp_path))
    assert opened == MiniOneRecSource(str(tmp_path), "development")
