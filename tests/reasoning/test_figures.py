"""The figures of reasoning.json, on six texts counted by hand; samples by seed."""

import polars as pl
import pytest

from rporec import tables
from rporec.reasoning.figures import Known, figures, quantiles, share_in
from rporec.reasoning.parse import ANSWER_OPEN, THINK_OPEN
from rporec.reasoning.prompt import build_prompt, item_line
from rporec.reasoning.report import Finished, report
from tests.reasoning.shop import catalogue

SHOP = catalogue()
HAMMER = item_line(0, SHOP)
WRITTEN = [
    # thought, answer, grounded; None = not well formed
    ("Acme comes back", HAMMER, 1.0),
    ("Acme comes back", "Acme Steel Saw", 1.0),
    ("Bolt may be next", HAMMER, 0.5),
    ("", "", None),
]


def completions(written=WRITTEN, slice_name="valid", first=0):
    rows = [
        {
            "group": first + number, "sample": 0, "slice": slice_name,
            "prompt": build_prompt([number % 3], SHOP, 4),
            "completion": "broken <think>" if grounded is None else f"{THINK_OPEN}{thought}{ANSWER_OPEN}{answer}",
            "thought": thought, "answer": answer, "well_formed": grounded is not None,
            "grounded": 1.0 if grounded is None else grounded, "named": 0 if grounded is None else number + 1,
        }
        for number, (thought, answer, grounded) in enumerate(written)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=tables.COMPLETIONS.columns)


def rows(groups, slice_name="valid", target=1):
    lines = [(group, group, f"u{group}", None, [group % 3], target, slice_name) for group in groups]
    return pl.DataFrame(lines, schema=tables.ROWS.columns, orient="row")


def composed(*said):
    lines = [(number, *one) for number, one in enumerate(said)]
    return pl.DataFrame(lines, schema=tables.COMPOSED.columns, orient="row")


def known(thoughts=(), answers=()):
    return Known(set(thoughts), set(answers), {item_line(item, SHOP) for item in range(SHOP.n)})


def test_form_counts_grounded_among_the_well_formed_only():
    form = figures(completions(), known(), len, 0)["form"]
    assert form == {"well_formed": 3 / 4, "grounded": 2.5 / 3, "fully_grounded": 2 / 3, "named": 2.0}


def test_copies():
    found = figures(completions(), known(["Acme comes back", "x"], [HAMMER]), len, 0)["copies"]
    assert found == {"thoughts_composed": 2 / 3, "answers_composed": 2 / 3, "answers_lines": 2 / 3}
    nothing_learned = figures(completions(), known(), len, 0)["copies"]
    assert nothing_learned == {"thoughts_composed": None, "answers_composed": None, "answers_lines": 2 / 3}
    assert share_in(["a", "b", "a"], ["a"]) == pytest.approx(2 / 3)
    assert share_in(["A"], ["a"]) == 0.0


def test_diversity_and_lengths():
    found = figures(completions(), known(), len, 0)
    assert found["completions"] == found["groups"] == 4
    # acme comes back, twice, and bolt may be next: 7 words of 10, 5 pairs of 7.
    thoughts = found["diversity"]["thoughts"]
    assert (thoughts["different"], thoughts["distinct_1"], thoughts["distinct_2"]) == (2 / 3, 7 / 10, 5 / 7)
    assert found["lengths"]["thought_words"] == quantiles([3, 3, 4])
    assert found["lengths"]["thought_characters"] == quantiles([15, 15, 16])
    assert found["lengths"]["completion_tokens"][0] == len("broken <think>")  # of all, broken ones too
    assert quantiles([1, 2, 3, 4, 5]) == pytest.approx([1, 1.2, 2, 3, 4, 4.8, 5])


def test_of_nothing_nothing_is_said():
    for table in (completions([]), completions([WRITTEN[3]])):
        found = figures(table, known(), len, 0)
        assert found["form"]["grounded"] is None
        assert found["diversity"]["answers"]["self_bleu_4"] is None
        assert found["lengths"]["answer_words"] is None
        assert found["copies"]["answers_lines"] is None


def finished(**texts):
    fit = rows([100], "fit", target=1)
    return Finished(
        texts, pl.concat([rows(range(20)), rows(range(20, 40), "test", 7), fit]), composed(("a", HAMMER)), SHOP, len
    )


def test_the_report_has_all_texts_by_name_and_the_fit_rows_say_what_was_learned():
    told = [("so", item_line(7, SHOP), 1.0)]
    found = report(finished(valid=completions(), test=completions(told, "test", 20)), 0.05, 1)
    assert found.figures["composed"] == 1
    assert {name: one["completions"] for name, one in found.figures["texts"].items()} == {"valid": 4, "test": 1}
    assert found.figures["texts"]["valid"]["copies"]["answers_composed"] == 2 / 3
    # Item 1 was learned, so valid cannot tell; test has a single text, so there is no other to compare with.
    assert found.told["valid"].rows == found.told["test"].rows == 0


def test_samples_are_five_a_kind_by_seed_with_what_is_missing():
    written = completions([("Acme comes back", HAMMER, 1.0)] * 9 + [("Bolt Bros., Inc. again", HAMMER, 0.0)] * 7)
    found = report(finished(valid=written), 0.05, 1).figures["samples"]
    assert [len(found[kind]) for kind in ("good", "bad")] == [5, 5]
    assert found == report(finished(valid=written), 0.05, 1).figures["samples"]
    assert found != report(finished(valid=written), 0.05, 2).figures["samples"]
    assert all(one["grounded"] == 1.0 for one in found["good"])
    assert all(one["shown"] == [item_line(one["group"] % 3, SHOP)] for one in found["good"])
    assert {(one["group"] % 3 == 2, tuple(one["missing"])) for one in found["bad"]} <= {
        (True, ()), (False, ("bolt bros inc",))
    }  # fmt: skip
    few = report(finished(valid=completions([WRITTEN[3]])), 0.05, 1).figures["samples"]
    assert [len(few[kind]) for kind in ("good", "bad")] == [0, 1]
