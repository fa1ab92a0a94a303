"""The bench of the writer, at toy size: both ways write the same kind of text, and the figures are those of the run."""

from __future__ import annotations

import pytest

from tests import project

TOY = (
    "ingest.market.users=600 ingest.market.items=60 ingest.market.days=60 backbone.width=32 backbone.layers=1 "
    "backbone.heads=2 backbone.vocab_size=400 backbone.max_prompt_tokens=300 backbone.max_completion_tokens=16"
)


def test_it_prints_a_line_a_writer_and_the_ratio():
    told = project.bench(
        "generate",
        *["--prompts", "5", "--batches", "16", "24", "--rounds", "2", "--examples", "40"],
        settings=TOY,
    )
    ours, plain, ratio = told
    assert (ours["bench"], plain["bench"]) == ("generate, rporec", "generate, transformers")
    for line in (ours, plain):
        assert (line["prompts"], line["samples"], line["threads"]) == (5, 8, 1)
        assert line["tokens_per_s"] == line[f"at_{line['batch']}"] == max(line["at_16"], line["at_24"])
        assert 1 <= line["mean_tokens"] <= 16
        assert line["tokens_per_s"] > 0
    assert ours["mean_tokens"] == pytest.approx(plain["mean_tokens"], abs=3.0)
    assert ratio["ratio"] == pytest.approx(ours["tokens_per_s"] / plain["tokens_per_s"], rel=0.05)
