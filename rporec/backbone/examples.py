"""Fine-tuning texts from training rows: which rows, what evidence, which words.

Only rows that are handed in are read; the stage hands in the fit slice.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl

from rporec.backbone.finetune import Example
from rporec.backbone.randomness import keyed
from rporec.backbone.source import Writer
from rporec.backbone.taught import Taught, tally
from rporec.reasoning.compose import Source, compose
from rporec.reasoning.parse import render
from rporec.reasoning.prompt import Fact, fit_prompts, render_facts


@dataclass(frozen=True, slots=True)
class Event:
    """A basket to compose for.

    Attributes:
        group: its number, which is its place in time.
        history: item indices as the prompt shows them, oldest first.
        basket: all targets of the event; none is evidence for another.
        targets: those of them that are learned.
        rows: the row id of each learned target.
        draws: a random number of each, for its phrasing.
        facts: evidence that the prompt shows, as far as the budget lets it.
    """

    group: int
    history: list[int]
    basket: list[int]
    targets: list[int]
    rows: list[int]
    draws: list[int]
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True, slots=True)
class Drawing:
    """Which rows become examples.

    Attributes:
        max_items: newest history items shown (items).
        per_group: rows of one group at most.
        most: examples in all, at most.
        seed: of the choice and of the phrasings.
        newest: take the newest groups, not ones drawn from all.
    """

    max_items: int
    per_group: int
    most: int
    seed: int
    newest: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """Examples as token ids and as text, what the token budget cost, and what became of a teacher's replies.

    Attributes:
        examples: one a target.
        texts: their completions.
        shortened: prompts that lost items to the budget.
        dropped: items lost.
        withheld: lines of evidence lost.
        taught: number of replies by outcome (`rporec.backbone.taught.OUTCOMES`); {} without a teacher.
    """

    examples: list[Example]
    texts: list[str]
    shortened: int
    dropped: int
    withheld: int
    taught: dict[str, int]


def draw_events(rows: pl.DataFrame, drawing: Drawing) -> list[Event]:
    """Choose the rows to learn from, by seed and row id alone.

    Args:
        rows: the ROWS table or a part of it.
        drawing: how many, and which.
    """
    drawn = rows.with_columns(draw=keyed(drawing.seed, rows["row_id"].to_numpy()))
    order = ("group", "draw") if drawing.newest else ("draw", "row_id")
    chosen = (
        drawn.filter(pl.col("draw").rank("ordinal").over("group") <= drawing.per_group)
        .sort(*order, descending=drawing.newest)
        .head(drawing.most)
        .sort("row_id")
        .group_by("group", maintain_order=True)
        .agg(pl.col("history").first(), pl.col("target"), pl.col("row_id"), pl.col("draw"))
    )
    baskets = rows.group_by("group").agg(pl.col("target").alias("basket"))
    return [
        Event(
            group=event["group"],
            history=event["history"][-drawing.max_items :],
            basket=event["basket"],
            targets=event["target"],
            rows=event["row_id"],
            draws=event["draw"],
        )
        for event in chosen.join(baskets, on="group", how="left", maintain_order="left").iter_rows(named=True)
    ]


def completions_of(event: Event, source: Source) -> Iterator[str]:
    """Yield the composed completion of each learned target of an event, from what its prompt shows."""
    for target, draw in zip(event.targets, event.draws, strict=True):
        said = compose(event.history, target, source, draw, event.basket, event.facts)
        yield render(said.thought, said.answer)


def prepare(
    events: Sequence[Event], source: Source, writer: Writer, max_prompt_tokens: int, taught: Taught | None = None
) -> Prepared:
    """Fit the prompts to a budget, compose from what is left in them, and turn both into token ids.

    Args:
        events: what to learn from.
        source: texts and counts.
        writer: its tokenizer and chat template are used.
        max_prompt_tokens: budget of a prompt (tokens); evidence goes first, then the oldest items.
        taught: a teacher's replies, which take the place of composed texts where they may be learned.
    """
    histories = [event.history for event in events]
    longest = max(map(len, histories), default=1)
    evidence = [event.facts for event in events]
    fitted = fit_prompts(histories, source.catalogue, max(1, longest), max_prompt_tokens, writer.count, evidence)
    examples: list[Example] = []
    learned: list[str] = []
    outcomes: Counter[str] = Counter()
    for event, prompt, shown, facts in zip(events, fitted.prompts, fitted.shown, fitted.facts, strict=True):
        prompt_ids = writer.encode(prompt)
        texts = list(completions_of(replace(event, history=shown, facts=facts), source))
        if taught is not None:
            judged = [
                taught.judge(row, shown, text, writer.count_completion, render_facts(facts))
                for row, text in zip(event.rows, texts, strict=True)
            ]
            texts = [one.completion for one in judged]
            outcomes.update(one.outcome for one in judged if one.outcome is not None)
        learned += texts
        completions = writer.tokenizer(texts, add_special_tokens=False)["input_ids"]
        examples += [
            Example(prompt_ids=prompt_ids, completion_ids=[*completion, writer.eos_id], row=row)
            for completion, row in zip(completions, event.rows, strict=True)
        ]
    counted = {} if taught is None else tally(outcomes)
    return Prepared(examples, learned, fitted.shortened, fitted.dropped, fitted.withheld, counted)
