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


def test_items_of_one_name_are_told_apart_by_later_words_in_their_order():
    titles = [
        "Acme PLA 3D Printer Filament True Round 1 kg Red",
        "Acme PLA 3D Printer Filament True Round 1 kg Neon Red",
    ]
    titles += ["Acme PLA 3D Printer Filament True Round 2 kg", "Acme PLA 3D Printer Filament True Square 9 kg"]
    rows = [(str(number), title, "", "Acme", "", None, None) for number, title in enumerate(titles)]
    found = Catalogue.from_table(pl.DataFrame(rows, schema=tables.ITEMS.columns, orient="row"))
    assert [" ".join(found.title_terms(item)) for item in range(4)] == [
        "PLA 3D Printer Filament 1 Red",
        "PLA 3D Printer 1 Neon Red",
        "PLA 3D Printer Filament True 2",
        "PLA 3D Printer Filament True Square",
    ]
