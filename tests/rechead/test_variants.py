"""Changed reasoning: the named part alone is changed, and the oracle names a true target of each group."""

from rporec.reasoning.parse import NO_REASONING, Parsed
from rporec.reasoning.prompt import item_line
from rporec.rechead import variants
from rporec.rechead.examples import Examples
from rporec.rechead.reasoning import Told
from tests.rechead import world

ONE, TWO = Parsed("seen acme", "acme lamp", True, 3), Parsed("seen bolt", "bolt rope", True, 0)
TOLD = Told(Examples.from_rows(world.rows(3, 1)), [[ONE, TWO], [NO_REASONING, TWO], []])


def test_a_part_is_emptied_and_the_rest_stays():
    assert variants.thought_only(TOLD).samples[0] == [
        Parsed("seen acme", "", True, 3),
        Parsed("seen bolt", "", True, 0),
    ]
    assert variants.answer_only(TOLD).samples[1] == [NO_REASONING, Parsed("", "bolt rope", True, 0)]


def test_the_first_samples_are_kept():
    assert variants.first_samples(TOLD, 1).samples == [[ONE], [NO_REASONING], []]
    assert variants.first_samples(TOLD, 8).samples == TOLD.samples


def test_the_oracle_names_the_first_target_of_every_group():
    found = variants.oracle_answer(TOLD, world.catalogue())
    assert [samples[0].thought for samples in found.samples] == ["seen acme", "seen bolt", ""]
    for place, (sample,) in enumerate(found.samples):
        first = TOLD.examples.targets[TOLD.examples.owner == place][0]
        assert sample.answer == item_line(int(first), world.catalogue())
        assert sample.well_formed


def test_a_reader_reads_an_emptied_part_as_nothing():
    reader = world.reader()
    whole, thought = reader.read(TOLD.samples), reader.read(variants.thought_only(TOLD).samples)
    assert whole.answer.abs().sum() > 0
    assert whole.match.abs().sum() > 0
    assert thought.answer.abs().sum() == thought.match.abs().sum() == 0
    assert thought.thought.equal(whole.thought)
    assert reader.read(variants.answer_only(TOLD).samples).thought.abs().sum() == 0


def test_some_groups_are_told_the_truth_and_the_others_keep_what_was_written():
    told = Told(Examples.from_rows(world.rows(400, 1)), [[TWO]] * 400)
    assert len(told.examples) == 400
    right = variants.oracle_answer(told, world.catalogue()).samples
    found = variants.sometimes_right(told, world.catalogue(), 0.3).samples
    hits = [one == true for one, true in zip(found, right, strict=True)]
    assert 80 <= sum(hits) <= 160
    assert all(one == [TWO] for one, hit in zip(found, hits, strict=True) if not hit)
    assert variants.sometimes_right(told, world.catalogue(), 0.0).samples == told.samples
    assert variants.sometimes_right(told, world.catalogue(), 1.0).samples == right
