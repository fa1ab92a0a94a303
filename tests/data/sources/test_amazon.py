"""Amazon Reviews 2023: fields, bad lines, and no later knowledge in an item's text."""

import gzip
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rporec.data.sources import jsonl
from rporec.data.sources.amazon import AmazonSource
from rporec.data.sources.base import FAULTS, RAW_INTERACTIONS, RAW_ITEMS, Bounds
from rporec.errors import InputError

REVIEW = {
    "rating": 5.0, "title": "Good", "text": "It works.", "images": [], "asin": "B01", "parent_asin": "P01",
    "user_id": "U1", "timestamp": 1588687728923, "helpful_vote": 3, "verified_purchase": True,
}  # fmt: skip
META = {
    "main_category": "Industrial & Scientific", "title": "A drill", "average_rating": 4.7, "rating_number": 1234,
    "features": ["Strong", " ", "Quiet"], "description": ["It drills.", "Well."], "price": 12.5, "images": [],
    "videos": [], "store": "The Shop", "categories": ["Tools", "Drills"], "parent_asin": "P01",
    "details": {"Colour": "red", "Brand": "Fenn", "Amperage Rating": "15 A"}, "bought_together": "P77 together",
}  # fmt: skip


def write(path, lines):
    body = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(body) if path.suffix == ".gz" else body)


def read(folder, reviews=(REVIEW,), metas=(META,), suffix=".jsonl.gz"):
    write(folder / f"Tools{suffix}", reviews)
    write(folder / f"meta_Tools{suffix}", metas)
    return AmazonSource(str(folder)).read(folder / "scratch", Bounds())


def item(folder, **change):
    return read(folder, metas=[{**META, **change}]).items.collect().row(0, named=True)


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_one_review_and_one_item(suffix, tmp_path):
    raw = read(tmp_path, suffix=suffix)
    interactions, items = raw.interactions.collect(), raw.items.collect()
    assert dict(interactions.schema) == RAW_INTERACTIONS
    assert dict(items.schema) == RAW_ITEMS
    assert (raw.timed, raw.given) == (True, False)
    assert interactions.row(0, named=True) == {
        "user_id": "U1", "item_id": "P01", "timestamp": 1588687728, "rating": 5.0, "split": None, "history": None,
        "fault": None, "note": None, "file": f"Tools{suffix}", "row": 0,
    }  # fmt: skip
    assert items.row(0, named=True) == {
        "item_id": "P01", "title": "A drill",
        "description": "It drills. Well. Strong Quiet Amperage Rating: 15 A; Brand: Fenn; Colour: red",
        "brand": "Fenn", "category": "Tools > Drills", "price": 12.5, "known_from": None,
        "fault": None, "note": None, "file": f"meta_Tools{suffix}", "row": 0,
    }  # fmt: skip
    assert raw.stated[f"Tools{suffix}"]["timestamp"] == "ms since 1970, UTC"


def test_brand_and_category_have_a_second_source(tmp_path):
    found = item(tmp_path, details={}, categories=[], features=[], description=[])
    assert (found["brand"], found["category"]) == ("The Shop", "Industrial & Scientific")
    assert found["description"] is None
    found = item(tmp_path, details=None, categories=None, store=None, main_category=None)
    assert (found["brand"], found["category"], found["note"]) == (None, None, None)


def test_details_written_as_text_are_read_in_the_same_order(tmp_path):
    turned = dict(reversed(META["details"].items()))
    assert item(tmp_path, details=json.dumps(turned)) == item(tmp_path, details=META["details"])
    assert item(tmp_path, details="no json")["note"] == "details 'no json'"
    assert item(tmp_path, details=[1])["note"] == "details '[1]'"


@pytest.mark.parametrize(
    "details",
    [
        {"Best Sellers Rank": {"Tools": 12, "Drills": 3}}, {"Best-sellers rank": "#12 in Tools"}, {"Sales Rank": 1},
        {"Customer Reviews": "SECRET"}, {"Average Customer Review": "SECRET"}, {"average_rating": 4.7},
        {"Ratings": 1234},
        {"rating_number": 1234}, {"Number of Reviews": 1234}, {"Customers also bought": "SECRET"},
        {"Frequently bought together": "SECRET"}, {"More": {"Deep": {"Best Sellers Rank": "SECRET"}}},
        {"Page": "4.7 out of 5 stars"}, {"Page": ["1,234 ratings"]}, {"Place": "#12 in Tools & Home"},
    ],
)  # fmt: skip
def test_no_later_knowledge_reaches_the_text(details, tmp_path):
    found = item(
        tmp_path, details=details, features=["4.7 out of 5 stars", "Strong"], description=["Customer Reviews: 1234"]
    )
    assert found["description"] == "Strong"
    assert "P77" not in str(found)


def test_honest_details_that_sound_alike_stay(tmp_path):
    kept = {"Voltage rating": "20 V", "Age Rating": "12", "Frank": "yes"}
    assert item(tmp_path, details=kept, features=[], description=[])["description"] == (
        "Age Rating: 12; Frank: yes; Voltage rating: 20 V"
    )


@pytest.mark.parametrize(
    ("price", "value", "noted"),
    [
        (3, 3.0, False), (None, None, False), ("—", None, False), ("None", None, False), ("from 3.99", 3.99, False),
        ("$1,234.50", 1234.5, False), ("3.99 - 5.99", 3.99, False), ("cheap", None, True), (True, None, True),
        ([3], None, True), ("3.99.1", None, True),
    ],
)  # fmt: skip
def test_prices(price, value, noted, tmp_path):
    found = item(tmp_path, price=price)
    assert found["price"] == value
    assert (found["note"] is not None) == noted


def test_wrong_types_become_null_with_a_note(tmp_path):
    wrong = {"user_id": 7, "parent_asin": ["P"], "timestamp": "soon", "rating": True}
    row = read(tmp_path, [{**REVIEW, **wrong}, {}, REVIEW]).interactions.collect()
    assert row.select("user_id", "item_id", "timestamp", "rating").row(0) == (None, None, None, None)
    assert row["note"].to_list() == ["user_id '7'; item_id '['P']'; timestamp 'soon'; rating 'True'".replace(
        "item_id", "parent_asin"), None, None]  # fmt: skip
    assert row["fault"].is_null().all()
    found = item(tmp_path, title=5, features=["a", 3], description="one text")
    assert found["title"] is None
    assert found["note"] == "features '['a', 3]'; title '5'"
    assert found["description"].startswith("one text a ")


def test_times_of_another_unit_are_noted_and_mixed_files_are_refused(tmp_path):
    rows = [{**REVIEW, "timestamp": REVIEW["timestamp"] + number} for number in range(50)]
    found = read(tmp_path, [*rows, {**REVIEW, "timestamp": 1588687728}]).interactions.collect()
    assert found["timestamp"].null_count() == 1
    assert found["note"][50] == "timestamp '1588687728'"
    assert found["note"][0] is None
    with pytest.raises(InputError, match="times of the reviews") as caught:
        read(tmp_path, [*rows, *[{**REVIEW, "timestamp": 1588687728}] * 20])
    assert caught.value.field == "timestamp"


def test_bad_lines_stay_rows(tmp_path):
    lines = [REVIEW, b"{broken", b"[1, 2]", b'{"user_id": "\xff"}', b"", b"[" * 5000, b"null", REVIEW]
    found = read(tmp_path, lines).interactions.collect()
    faults = [None, "not_json", "not_an_object", "not_utf8", "not_json", "not_json", "not_an_object", None]
    assert found["fault"].to_list() == faults
    assert found["row"].to_list() == list(range(8))
    assert found["note"][1] == "{broken"
    assert found["note"][5] == "[" * 200
    assert found["user_id"].to_list() == ["U1", *[None] * 6, "U1"]


def test_a_byte_order_mark_is_no_fault(tmp_path):
    found = read(tmp_path, [b"\xef\xbb\xbf" + json.dumps(REVIEW).encode()]).interactions.collect()
    assert found["user_id"].to_list() == ["U1"]


def test_categories_are_read_in_the_order_of_their_names(tmp_path):
    for name in ("Zebra", "Apple"):
        write(tmp_path / f"{name}.jsonl", [{**REVIEW, "user_id": name}])
        write(tmp_path / f"meta_{name}.jsonl", [{**META, "parent_asin": name}])
    raw = AmazonSource(str(tmp_path)).read(tmp_path / "scratch", Bounds())
    assert raw.interactions.collect()["user_id"].to_list() == ["Apple", "Zebra"]
    assert raw.items.collect()["item_id"].to_list() == ["Apple", "Zebra"]


def test_an_empty_file_and_a_cut_file_are_refused(tmp_path):
    with pytest.raises(InputError, match="empty"):
        read(tmp_path, reviews=[])
    write(tmp_path / "Tools.jsonl.gz", [{**REVIEW, "user_id": str(number)} for number in range(3000)])
    whole = (tmp_path / "Tools.jsonl.gz").read_bytes()
    (tmp_path / "Tools.jsonl.gz").write_bytes(whole[: len(whole) - 20])
    with pytest.raises(InputError, match="gzip"):
        AmazonSource(str(tmp_path)).read(tmp_path / "scratch", Bounds())


def test_batches_do_not_change_the_rows(tmp_path, monkeypatch):
    lines = [{**REVIEW, "user_id": str(number)} for number in range(23)]
    whole = read(tmp_path / "a", lines).interactions.collect()
    monkeypatch.setattr(jsonl, "_BATCH_ROWS", 5)
    raw = read(tmp_path / "b", lines)
    assert len(list((tmp_path / "b/scratch/Tools.jsonl.gz.parts").iterdir())) == 5
    assert raw.interactions.collect().equals(whole)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("user_id", "parent_asin", "rating", "price", "details", "features", "store"), VALUES),
)
LINES = st.one_of(
    st.binary(max_size=40).map(lambda line: line.replace(b"\n", b" ").replace(b"\r", b" ")),
    OBJECTS.map(lambda value: json.dumps(value).encode()),
    st.just(json.dumps(REVIEW).encode()),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(LINES, max_size=8))
def test_every_line_ends_as_one_row(lines):
    with tempfile.TemporaryDirectory() as folder:
        every = [REVIEW, *lines]  # a file of no line is refused, one that begins like gzip is read as gzip
        raw = read(Path(folder), every, every, suffix=".jsonl")
        for table in (raw.interactions.collect(), raw.items.collect()):
            assert table["row"].to_list() == list(range(len(every)))
            assert set(table["fault"].drop_nulls()) <= set(FAULTS)
        good = [number for number, line in enumerate(lines, 1) if line == json.dumps(REVIEW).encode()]
        assert raw.interactions.collect()["user_id"].gather(good).to_list() == ["U1"] * len(good)
