"""The audit of memorised targets: it finds a planted memory, lets honest writers and easier rows pass, and says why."""

from functools import cache

import numpy as np
import polars as pl
import pytest

from rporec import tables
from rporec.catalogue import Catalogue
from rporec.errors import InputError
from rporec.reasoning.parse import Parsed
from rporec.reasoning.prompt import item_line
from rporec.rechead import crossfit
from rporec.rechead.crossfit import Asked
from rporec.rechead.examples import Examples
from rporec.rechead.reasoning import Told
from tests.rechead import world

MARGIN = 0.02
FIT = Examples.from_rows(world.rows(500, 1))


def asked(rows: pl.DataFrame, honesty: float, seed: int) -> Asked:
    """Rows with a writer that names a target with chance `honesty`, else any item."""
    examples, rng, known = Examples.from_rows(rows), np.random.default_rng(seed), world.catalogue()
    first = {int(owner): int(target) for owner, target in zip(examples.owner, examples.targets, strict=True)}
    named = [first[place] if rng.random() < honesty else int(rng.integers(world.N)) for place in range(len(examples))]
    told = Told(examples, [[Parsed("so", item_line(item, known), True, 0)] for item in named])
    return Asked(told, np.array([f"u{group}" for group in examples.groups]))


def look(reason: Asked, valid: Asked, margin: float = MARGIN) -> crossfit.Memory:
    return crossfit.look(FIT, reason, valid, world.catalogue(), margin)


REASON, VALID = world.rows(400, 2, 1000, "reason"), world.rows(300, 3, 2000, "valid")


@pytest.mark.parametrize("honesty", [0.0, 0.3, 0.8])
def test_a_writer_that_guesses_alike_on_both_passes_however_well_it_guesses(honesty):
    found = look(asked(REASON, honesty, 4), asked(VALID, honesty, 5))
    assert not found.memorised
    assert abs(found.known) < 4 * found.error
    assert found.reason >= honesty - 0.1
    crossfit.refuse(found, MARGIN)


@pytest.mark.parametrize("memory", [0.15, 0.9])
def test_a_planted_memory_is_found_and_told(memory):
    found = look(asked(REASON, memory, 4), asked(VALID, 0.0, 5))
    assert found.memorised
    assert found.known == pytest.approx(memory, abs=0.08)
    with pytest.raises(InputError, match="memorised targets of the slice reason") as caught:
        crossfit.refuse(found, MARGIN)
    assert "rechead.memory_margin" in caught.value.message()
    lines = {item_line(item, world.catalogue()) for item in range(world.N)}
    assert found.examples
    assert set(found.examples) <= lines


def test_the_margin_is_let_pass():
    assert not look(asked(REASON, 0.3, 4), asked(VALID, 0.0, 5), margin=0.4).memorised


def test_rows_that_are_merely_easier_are_no_memory():
    """On reason three of four buyers take the last item again, on valid one of four; the writer always names it."""
    parts = []
    for rows, repeats, seed in ((REASON, 0.75, 6), (VALID, 0.25, 7)):
        rng = np.random.default_rng(seed)
        again = rng.random(rows.height) < repeats
        last = rows["history"].list.last().to_numpy()
        moved = rows.with_columns(target=pl.Series(np.where(again, last, rows["target"].to_numpy()), dtype=pl.Int32))
        examples = Examples.from_rows(moved)
        lines = [item_line(int(history[-1]), world.catalogue()) for history in examples.histories]
        told = Told(examples, [[Parsed("", line, True, 0)] for line in lines])
        parts.append(Asked(told, np.array([f"u{group}" for group in examples.groups])))
    found = look(*parts)
    assert found.reason > found.valid + 0.2
    assert not found.memorised


def test_a_false_alarm_is_as_rare_as_stated():
    """Two thousand honest worlds with a margin of 0: about two alarms are to be expected, ten are beyond chance."""
    rng = np.random.default_rng(8)
    chances = np.array([0.5, 0.1, 0.01])
    alarms = 0
    for _ in range(2000):
        strata = [rng.integers(0, 3, size) for size in (800, 400)]
        hits = [(rng.random(len(part)) < chances[part]).astype(float) for part in strata]
        known, error = crossfit._known(strata, hits, [np.arange(800), np.arange(800, 1200)])
        alarms += known > 3.09 * error
    assert alarms < 10


def test_many_groups_of_one_user_are_no_proof():
    strata = [np.zeros(200), np.zeros(200)]
    hits = [np.repeat([1.0, 0.0], 100), np.repeat([1.0, 0.0], [50, 150])]
    apart = crossfit._known(strata, hits, [np.arange(200), np.arange(200, 400)])
    together = crossfit._known(strata, hits, [np.arange(200) // 50, 100 + np.arange(200) // 50])
    assert together[0] == apart[0]
    assert together[1] > 3 * apart[1]


def test_a_malformed_completion_and_part_of_a_line_name_nothing():
    examples = Examples.from_rows(REASON)
    whole = [item_line(int(examples.targets[examples.owner == place][0]), world.catalogue()) for place in range(400)]
    for one in (lambda line: Parsed("", line, False, 0), lambda line: Parsed("", line.split()[0], True, 0)):
        told = Told(examples, [[one(line)] for line in whole])
        assert look(Asked(told, np.arange(400)), asked(VALID, 0.0, 5)).reason < 0.01
    told = Told(examples, [[Parsed("", f"It is {line.upper()}, no doubt.", True, 0)] for line in whole])
    assert look(Asked(told, np.arange(400)), asked(VALID, 0.0, 5)).reason == 1.0


def test_nothing_written_is_nothing_known():
    none = asked(REASON.head(0), 0.0, 4)
    found = look(none, asked(VALID, 0.0, 5))
    assert (found.groups, found.reason, found.known, found.memorised) == (0, None, None, False)
    crossfit.refuse(found, MARGIN)


def test_learned_rows_may_not_be_read():
    crossfit.refuse_learned([1, 2, 3], {"reason": [4, 5], "valid": [6]})
    with pytest.raises(InputError, match="slice valid") as caught:
        crossfit.refuse_learned([1, 2, 6, 7], {"reason": [4, 5], "valid": [6, 7, 8]})
    assert "2 rows, for instance 6" in caught.value.message()


@pytest.mark.parametrize("where", ["thought", "answer"])
def test_a_memory_told_in_the_thought_or_without_the_last_word_is_found(where):
    examples = Examples.from_rows(REASON)
    whole = [item_line(int(examples.targets[examples.owner == place][0]), world.catalogue()) for place in range(400)]
    thought = [[Parsed(f"After it comes {line}.", "more", True, 0)] for line in whole]
    short = [[Parsed("so", " ".join(line.split()[:-1]), True, 0)] for line in whole]
    found = look(Asked(Told(examples, thought if where == "thought" else short), np.arange(400)), asked(VALID, 0.0, 5))
    assert found.reason == 1.0
    assert found.memorised


def test_words_that_the_history_holds_are_not_enough():
    line = ["acme", "fan", "duct", "inch", "4", "black"]
    assert not crossfit._names(["acme", "fan", "duct", "inch", "6"], line, {"acme", "fan", "duct", "inch", "6"})
    assert crossfit._names(["acme", "fan", "duct", "inch", "6"], line, {"rope"})
    assert crossfit._names(["acme", "fan", "duct", "inch", "4", "black"], line, {"acme", "fan", "duct", "inch", "6"})
    assert crossfit._names(["such", "rope"], ["rope"], set())  # a line of one telling word: the whole line
    assert not crossfit._names(["such"], ["rope"], set())


WIDE = 400  # items: enough for targets that lie beyond every rank


def wide(share: float, seed: int) -> Asked:
    """Rows whose targets nothing suggests, with a writer that knows this share of them."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(350, WIDE, 300)
    histories = [rng.integers(0, 300, 3) for _ in targets]
    examples = Examples(np.arange(300), histories, np.arange(300), targets)
    lines = [line_of(int(target)) if rng.random() < share else "nothing" for target in targets]
    return Asked(Told(examples, [[Parsed("so", line, True, 0)] for line in lines]), np.arange(300) + 1000 * seed)


@cache
def wide_catalogue() -> Catalogue:
    table = pl.DataFrame(
        [(f"i{n}", f"Maker{n % 7} thing{n} part{n}", "", "", "", None, None) for n in range(WIDE)],
        schema=tables.ITEMS.columns, orient="row",
    )  # fmt: skip
    return Catalogue.from_table(table)


def line_of(item: int) -> str:
    return item_line(item, wide_catalogue())


def test_a_memory_of_both_slices_is_refused_by_each_slice_alone():
    rng = np.random.default_rng(9)
    sold = np.repeat(np.arange(340), 5)
    fit = Examples(np.arange(1700), [rng.integers(0, 300, 3) for _ in sold], np.arange(1700), sold)
    for knows, told in (((1.0, 1.0), ("reason", "valid")), ((0.0, 0.5), ("valid",)), ((0.1, 0.1), ())):
        found = crossfit.look(fit, wide(knows[0], 1), wide(knows[1], 2), wide_catalogue(), MARGIN)
        assert found.hard == {
            "reason": pytest.approx(knows[0], abs=0.07), "valid": pytest.approx(knows[1], abs=0.07),
        }  # fmt: skip
        assert (found.too_often, found.memorised) == (told, False)
        if told:
            with pytest.raises(InputError, match="by heart") as caught:
                crossfit.refuse(found, MARGIN)
            assert all(f"on {name}" in caught.value.message() for name in told)
        else:
            crossfit.refuse(found, MARGIN)
