"""From training rows to a writer: the whole of stage `backbone`, for every source of weights."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from rporec import tables
from rporec.backbone.embedded import Shape, build_model, train_tokenizer
from rporec.backbone.examples import Drawing, Event, Prepared, completions_of, count_follows, draw_events, prepare
from rporec.backbone.finetune import Tuned, Tuning, fine_tune, mean_loss
from rporec.backbone.source import Writer, load_writer
from rporec.catalogue import Catalogue
from rporec.config import BackboneParams
from rporec.reasoning.compose import Source
from rporec.reasoning.parse import parse

_HELD_OUT_EXAMPLES = 256
_CHECKPOINT_EVERY = 50  # steps, about half a minute


@dataclass(frozen=True, slots=True)
class Learned:
    """A writer and how it came about.

    Attributes:
        writer: model and tokenizer, in eval mode.
        tuned: losses of the fine-tuning; empty without it.
        held_out_loss: nats a completion token on rows that were not learned, None where there are none.
        composed: the texts learned from, a COMPOSED table.
        shortened: prompts that lost items to the token budget.
        dropped: items lost.
    """

    writer: Writer
    tuned: Tuned
    held_out_loss: float | None
    composed: pl.DataFrame
    shortened: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Material:
    """What is learned from: rows of the fit slice, later rows to measure on (never learned), the catalogue."""

    fit: pl.DataFrame
    held_out: pl.DataFrame
    catalogue: Catalogue


def learn_to_write(material: Material, params: BackboneParams, seed: int, kept: Path) -> Learned:
    """Make the backbone: take or build the weights, compose reasoning on the fit rows, fine-tune on it.

    Args:
        material: rows and catalogue.
        params: section `backbone`.
        seed: of weights, choice of rows, phrasings and batches.
        kept: folder for checkpoints, which survives a kill.

    Raises:
        InputError: the source of weights cannot be used, or there is nothing to learn from.
    """
    drawing = Drawing(
        max_items=params.prompt_items, per_group=params.targets_per_group, most=params.max_examples, seed=seed
    )
    source = Source(material.catalogue, count_follows(material.fit))
    events = draw_events(material.fit, drawing)
    writer = _writer(params, seed, source, events)
    budget = writer.prompt_budget(params.max_prompt_tokens, params.max_completion_tokens)
    prepared = prepare(events, source, writer, budget) if params.epochs else prepare([], source, writer, budget)
    tuning = Tuning(
        epochs=params.epochs,
        batch_tokens=params.batch_tokens,
        learning_rate=params.learning_rate,
        autocast=params.dtype == "bfloat16",
        seed=seed,
        checkpoint_every=_CHECKPOINT_EVERY,
    )
    tuned = Tuned(losses=[], tokens=0)
    if params.epochs:
        tuned = fine_tune(writer.model, prepared.examples, tuning, kept / "finetune.safetensors")
    unseen = draw_events(material.held_out, dataclasses.replace(drawing, most=_HELD_OUT_EXAMPLES))
    measured = prepare(unseen, source, writer, budget).examples
    return Learned(
        writer=writer,
        tuned=tuned,
        held_out_loss=mean_loss(writer.model, measured, tuning) if measured else None,
        composed=_composed(prepared),
        shortened=prepared.shortened,
        dropped=prepared.dropped,
    )


def _composed(prepared: Prepared) -> pl.DataFrame:
    said = [parse(text) for text in prepared.texts]
    columns = {
        "row_id": [example.row for example in prepared.examples],
        "thought": [one.thought for one in said],
        "answer": [one.answer for one in said],
    }
    return pl.DataFrame(columns, schema=tables.COMPOSED.columns)


def _writer(params: BackboneParams, seed: int, source: Source, events: Iterable[Event]) -> Writer:
    """Return the weights before fine-tuning."""
    if params.name is not None:
        return load_writer(params.name, params.dtype)
    context = params.max_prompt_tokens + params.max_completion_tokens
    composed = (text for event in events for text in completions_of(event, source))
    tokenizer = train_tokenizer([*source.lines, *composed], params.vocab_size, context)
    shape = Shape(width=params.width, layers=params.layers, heads=params.heads, context=context)
    return Writer(model=build_model(tokenizer, shape, seed).eval(), tokenizer=tokenizer)
