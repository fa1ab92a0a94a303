from __future__ import annotations

from pathlib import Path

import pytest

from rporec.data.sources import place
from rporec.errors import InputError

HOME = Path("/home/ada")


@pytest.mark.parametrize(
    ("data", "want"),
    [
        ("", None),
        ("shop", "/home/ada/shop"),
        ("../shop.zip", "/home/shop.zip"),
        ("/data/shop", "/data/shop"),
        ("s3://bucket/shop", "s3://bucket/shop"),
        ("postgresql+psycopg://u:p@h/db", "postgresql+psycopg://u:p@h/db"),
        ("sqlite:///shop.db?timeout=5", "sqlite:////home/ada/shop.db?timeout=5"),
        ("sqlite+pysqlite:////data/shop.db", "sqlite+pysqlite:////data/shop.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("sqlite://", "sqlite://"),
    ],
)
def test_a_place_means_the_same_in_every_folder(data: str, want: str | None) -> None:
    assert place.resolve(data, HOME) == want


def test_a_mistyped_url_is_refused_without_its_password() -> None:
    with pytest.raises(InputError) as caught:
        place.resolve("postgresql:/ada:hush@host/shop", HOME)
    assert "hush" not in caught.value.message()


def test_what_is_shown_holds_no_user_no_password_and_no_options() -> None:
    assert place.shown("postgresql+psycopg://ada:h@sh@host:5/shop?password=hush") == "postgresql+psycopg://host:5/shop"
    assert place.shown("s3://bucket/shop") == "s3://bucket/shop"
    assert place.shown("/data/a@b") == "/data/a@b"


def test_files_of_this_machine_are_told() -> None:
    assert place.local("/data/shop") == Path("/data/shop")
    assert place.local("sqlite:////data/shop.db?timeout=5") == Path("/data/shop.db")
    assert place.local("s3://bucket/shop") is None
    assert place.local(None) is None


def test_databases_are_told_from_files() -> None:
    assert place.is_database("postgresql://h/db")
    assert not any(place.is_database(other) for other in ("/a", "s3://b", "gs://b", "https://h/f.csv", "file:///a"))
