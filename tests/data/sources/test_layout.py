"""Which files make a source: layouts found, identity described without heavy imports, clear refusals."""

import subprocess
import sys

import pytest

from rporec.data.sources import identity
from rporec.data.sources.layout import find_layout
from rporec.errors import InputError
from tests.data import shop
from tests.project import ROOT


def describe(kind, folder):
    params = shop.ingest_params(source=kind, as_of="2026-01-01")
    return identity.describe(params, None if folder is None else str(folder))


def test_describe_names_files_and_hashes_sorted_and_no_path(tmp_path):
    folder = shop.write_events(tmp_path / "d", shop.steady())
    found = describe("folder", folder)
    assert [file["name"] for file in found["files"]] == ["interactions.parquet", "items.parquet"]
    assert all(len(file["sha256"]) == 64 for file in found["files"])
    assert str(tmp_path) not in str(found)
    assert describe("market", None) == {"kind": "market", "files": []}


def test_describe_changes_with_a_byte(tmp_path):
    folder = shop.write_events(tmp_path, shop.steady(), suffix=".csv")
    before = describe("folder", folder)
    with (folder / "items.csv").open("a") as stream:
        stream.write("i9,thing,,Fenn,mug,1.0\n")
    assert describe("folder", folder) != before


def test_describe_imports_nothing_heavy(tmp_path):
    shop.write_given(tmp_path / "d")
    code = (
        "import sys, pathlib; from rporec import config; from rporec.data.sources import identity;"
        "params = config.load(pathlib.Path('params.yaml')).ingest.model_copy(update={'source': 'folder'});"
        f"identity.describe(params, {str(tmp_path / 'd')!r});"
        "print([m for m in ('polars', 'torch', 'numpy', 'great_expectations', 'mlflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_layouts(tmp_path):
    assert not find_layout(str(shop.write_events(tmp_path / "e", shop.steady()))).given_split
    layout = find_layout(str(shop.write_given(tmp_path / "g")))
    assert layout.given_split
    assert list(layout.tables) == ["train", "valid", "test"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda d: None, ["does not exist", "DATA="]),
        (lambda d: d.mkdir(), ["is empty"]),
        (lambda d: d.write_text("x"), ["is a file"]),
        (lambda d: (d.mkdir(), (d / "notes.txt").write_text("x")), ["no interactions", "notes.txt"]),
        (lambda d: (shop.write_given(d), (d / "valid.parquet").unlink()), ["not whole", "field: valid"]),
        (lambda d: (shop.write_given(d), shop.write_events(d, shop.steady())), ["both layouts"]),
        (lambda d: (shop.write_events(d, shop.steady()), (d / "items.parquet").unlink()), ["no item table"]),
        (
            lambda d: (shop.write_events(d, shop.steady()), shop.write_events(d, shop.steady(), suffix=".csv")),
            ["twice", "interactions.parquet", "interactions.csv"],
        ),
    ],
    ids=["missing", "empty", "a_file", "no_tables", "no_valid", "both_layouts", "no_items", "twice"],
)
def test_refusals(tmp_path, make, words):
    folder = tmp_path / "data"
    make(folder)
    for action in (lambda: find_layout(str(folder)), lambda: describe("folder", folder)):
        with pytest.raises(InputError) as caught:
            action()
        message = caught.value.message()
        assert str(folder) in message
        assert "cure:" in message
        assert [word for word in words if word not in message] == []


def test_no_folder_given():
    with pytest.raises(InputError, match="no data folder"):
        describe("folder", None)
