"""Texts of the catalogue as prompts and encoders see them."""

import polars as pl

from rporec import tables
from rporec.catalogue import Catalogue


def catalogue():
    rows = [
        ("a", "Acme Steel Hammer, the 16 oz hammer <b>", "good", "Acme", "Tools", 10.0, None),
        ("b", "", "", "", "", None, None),
        ("c", "one two three four five six seven eight", "", "<answer>", "", 30.0, None),
    ]
    return Catalogue.from_table(pl.DataFrame(rows, schema=tables.ITEMS.columns, orient="row"))


def test_short_text_is_brand_and_telling_terms_without_repeats_or_markup():
    assert catalogue().short_text(0) == "Acme Steel Hammer 16 oz b"
    assert catalogue().short_text(1) == ""
    assert catalogue().short_text(2) == "answer one two three four five six"


def test_price_bands_come_from_known_prices_only():
    assert catalogue().price_band(1) == ""
    assert (catalogue().price_band(0), catalogue().price_band(2)) == ("lowest", "highest")


def test_index_is_the_row_number():
    assert [catalogue().index[item] for item in ("a", "b", "c")] == [0, 1, 2]
