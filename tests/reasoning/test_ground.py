"""What a thought names is looked up in the history: brands, categories, item words, numbers."""

import pytest

from rporec.reasoning.ground import Grounder, words_of
from tests.reasoning.shop import catalogue

TABLE = [
    # thought, history, share, missing
    ("", [0], 0.0, ()),
    ("", [], 1.0, ()),
    ("something new may come next", [0], 0.0, ()),
    ("Acme comes back", [0], 1.0, ()),
    ("acme, again", [0], 1.0, ()),
    ("Acme comes back", [2], 0.0, ("acme",)),
    ("Bolt Bros., Inc. it is", [2], 1.0, ()),
    ("Bolt Bros. Inc it is", [0], 0.0, ("bolt bros inc",)),
    ("Steel Hammer", [0], 1.0, ()),
    ("Steel Hammer", [1], 0.0, ("steel", "hammer")),
    ("Copper Hammer", [2], 0.5, ("hammer",)),
    ("likes tools", [1], 1.0, ()),
    ("likes garden", [1], 0.0, ("garden",)),
    ("wire of 3/8 inch", [2], 1.0, ()),
    ("wire of 5/8 inch", [2], pytest.approx(2 / 3), ("5/8",)),
    ("2 of 3 items are from Acme", [0, 1, 2], 1.0, ()),
    ("4 of 3 items are from Acme", [0, 1, 2], pytest.approx(2 / 3), ("4",)),
    ("Acme Acme Acme Milwaukee", [0], 0.5, ("milwaukee",)),
    ("a change of brand", [0], 0.0, ("change",)),
    ("a Change Purse", [4], 1.0, ()),
    ("Acme", [], 0.0, ("acme",)),
    ("words that no title holds: zebra", [0], 0.0, ()),  # names nothing
    ("Zebra is a word that opens a sentence of Acme. Zebra opens another", [0], 1.0, ()),
    ("Acme, or the Zorblax of Acme", [0], 0.5, ("zorblax",)),
    ("said of Acme: I chose A once", [0], 1.0, ()),
    ("Acme was chosen. Next may be Zorblax Quantum", [0], pytest.approx(1 / 3), ("zorblax", "quantum")),
]


@pytest.mark.parametrize(("thought", "history", "share", "missing"), TABLE)
def test_table(thought, history, share, missing):
    found = Grounder(catalogue()).check(thought, history)
    assert found.share == share
    assert found.missing == missing


def test_one_grounder_serves_many_histories():
    grounder = Grounder(catalogue())
    assert grounder.check("Acme", [0]).share == 1.0
    assert grounder.check("Acme", [2]).share == 0.0
    assert grounder.check("Acme", [0, 2]).named == ("acme",)


def test_words_lose_case_and_outer_punctuation_only():
    assert words_of("“Hello”, (World): 1-1/4-Inch; it's 'so'.") == ["hello", "world", "1-1/4-inch", "it's", "so"]
