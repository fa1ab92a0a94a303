"""From training rows to a writer: the whole of stage `backbone`, for every source of weights and texts."""

import dataclasses
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from rporec import tables
from rporec.backbone.drills import make_drills
from rporec.backbone.embedded import Shape, build_model, train_tokenizer
from rporec.backbone.endpoint import Access
from rporec.backbone.examples import Drawing, Event, Prepared, completions_of, draw_events, prepare
from rporec.backbone.finetune import Example, Tuned, Tuning, fine_tune, identity, mean_loss
from rporec.backbone.lora import add_adapters, merge_adapters
from rporec.backbone.source import Writer, cast, load_writer
from rporec.backbone.taught import KEPT, Taught
from rporec.backbone.teacher import Lessons, ask_teacher
from rporec.catalogue import Catalogue
from rporec.config import BackboneParams
from rporec.reasoning.compose import Source
from rporec.reasoning.evidence import FollowCounts
from rporec.reasoning.lookup import Evidence, count_follows, kinds_of, no_neighbours
from rporec.reasoning.parse import parse
from rporec.reasoning.prompt import HEADINGS

log = logging.getLogger(__name__)

_HELD_OUT_EXAMPLES = 256
_CHECKPOINT_EVERY = 50  # steps, about half a minute
_WARM_RATE = 0.25  # of the peak, where a model goes on learning


@dataclass(frozen=True, slots=True)
class Learned:
    """A writer and how it came about.

    Attributes:
        writer: model and tokenizer, in eval mode, in the number format asked for.
        tuned: losses of the fine-tuning; empty without it.
        held_out_loss: nats a token of composed completions of rows not learned, None where there are none.
        composed: the texts learned from, a COMPOSED table.
        rows: all rows learned from, in a text or in a count, a LEARNED table.
        shortened: prompts that lost items to the token budget.
        dropped: items lost.
        withheld: lines of evidence lost.
        taught: a teacher's replies by outcome; {} without a teacher.
        lessons: a teacher's replies by row, and their cost; None without a teacher.
    """

    writer: Writer
    tuned: Tuned
    held_out_loss: float | None
    composed: pl.DataFrame
    rows: pl.DataFrame
    shortened: int
    dropped: int
    withheld: int
    taught: dict[str, int]
    lessons: Lessons | None


@dataclass(frozen=True, slots=True)
class Material:
    """What is learned from.

    Args:
        fit: rows of the fit slice.
        held_out: rows of the reason slice to measure on, never learned.
        catalogue: texts of N items.
        near: [N, K] neighbours in text, None where no prompt shows any.
        beside: rows later than fit that are learned too, whatever `max_examples` leaves of fit; None outside ablations.
        parent: folder of the model of an earlier night, which learned no later rows than `fit`: it goes on learning,
            from the newest texts; None = begin as the params say.
    """

    fit: pl.DataFrame
    held_out: pl.DataFrame
    catalogue: Catalogue
    near: np.ndarray | None = None
    beside: pl.DataFrame | None = None
    parent: Path | None = None

    @property
    def learned(self) -> pl.DataFrame:
        """All rows that texts and counts may hold."""
        return self.fit if self.beside is None else pl.concat([self.fit, self.beside])


@dataclass(frozen=True)
class Means:
    """What learning may use outside its own memory.

    Attributes:
        work: folder for checkpoints, which survives a kill.
        replies: folder for a teacher's replies, which outlives a run.
        device: "cpu" or "cuda", where the model learns and stays.
        key: of the teacher's endpoint, None where it wants none.
    """

    work: Path
    replies: Path
    device: str
    key: str | None = field(default=None, repr=False)


def learn_to_write(material: Material, params: BackboneParams, seed: int, means: Means) -> Learned:
    """Make the backbone: take or build the weights, get texts for the fit rows, fine-tune on them.

    Args:
        material: rows and catalogue.
        params: section `backbone`.
        seed: of weights, choice of rows, phrasings and batches.
        means: folders and the teacher's key.

    Raises:
        InputError: the source of weights or the teacher cannot be used, or there is nothing to learn from.
    """
    drawing = _drawing(params, seed)
    follows = count_follows(material.learned)
    evidence = _evidence(material, params, follows)
    source = source_of(evidence, follows)
    learns = bool(params.epochs) or params.name is None
    goes_on = material.parent is not None
    events = draw_events(material.fit, _fewer(drawing, params) if goes_on else drawing) if learns else []
    if learns and material.beside is not None:
        events += draw_events(material.beside, dataclasses.replace(drawing, most=material.beside.height))
    past = evidence.look_back(material.learned, {event.group for event in events}, params.prompt_items)
    events = [dataclasses.replace(event, facts=past[event.group]) for event in events]
    given = _given(material, params)  # before the teacher is asked, and paid: a name may be wrong
    lessons = taught = None
    if params.teacher.url is not None:
        access = Access(params.teacher, means.key, seed)
        lessons = ask_teacher(events, material.catalogue, access, means.replies)
        taught = Taught(lessons.texts, material.catalogue, params.max_completion_tokens)
    writer = given or _fresh_writer(params, seed, source, events, taught)
    budget = writer.prompt_budget(params.max_prompt_tokens, params.max_completion_tokens)
    prepared = prepare(events if params.epochs else [], source, writer, budget, taught)
    _warn(prepared.taught)
    tuning = _tuning(params, seed, goes_on=goes_on)
    tuned = Tuned(losses=[], tokens=0)
    if params.epochs:
        drills = make_drills(events, source, writer, budget, params.drills, seed)
        writer, tuned = _tune(writer, [*prepared.examples, *drills], tuning, params.lora_rank, means)
    writer.model.to(means.device)
    cast(writer.model, params.dtype)
    unseen = draw_events(material.held_out, dataclasses.replace(drawing, most=_HELD_OUT_EXAMPLES))
    unseen = [dataclasses.replace(event, facts=evidence.look_up(event.history)) for event in unseen]
    measured = prepare(unseen, source_of(evidence, follows.for_unseen()), writer, budget).examples
    return Learned(
        writer=writer,
        tuned=tuned,
        held_out_loss=mean_loss(writer.model, measured, tuning) if measured else None,
        composed=_composed(prepared),
        rows=material.learned.select("row_id").head(material.learned.height if learns else 0),
        shortened=prepared.shortened,
        dropped=prepared.dropped,
        withheld=prepared.withheld,
        taught=prepared.taught,
        lessons=lessons,
    )


def source_of(evidence: Evidence, follows: FollowCounts) -> Source:
    """Return what composing draws on beside the prompt: where prompts show evidence, no counts.

    Counts of the whole slice hold a row's future, which the evidence of its prompt leaves out.

    Args:
        evidence: what prompts show.
        follows: what followed what in the fit slice.
    """
    return Source(evidence.catalogue, FollowCounts.fit([]) if evidence.kinds.any else follows)


def _evidence(material: Material, params: BackboneParams, follows: FollowCounts) -> Evidence:
    near = no_neighbours(material.catalogue.n) if material.near is None else material.near
    return Evidence(kinds_of(params.evidence), material.catalogue, follows, near)


def _composed(prepared: Prepared) -> pl.DataFrame:
    said = [parse(text) for text in prepared.texts]
    columns = {
        "row_id": [example.row for example in prepared.examples],
        "thought": [one.thought for one in said],
        "answer": [one.answer for one in said],
    }
    return pl.DataFrame(columns, schema=tables.COMPOSED.columns)


def _drawing(params: BackboneParams, seed: int) -> Drawing:
    return Drawing(
        max_items=params.prompt_items, per_group=params.targets_per_group, most=params.max_examples, seed=seed
    )


def _fewer(drawing: Drawing, params: BackboneParams) -> Drawing:
    return dataclasses.replace(drawing, most=math.ceil(drawing.most * params.warm_epochs), newest=True)


def _given(material: Material, params: BackboneParams) -> Writer | None:
    """Return weights that exist: the parent's, or those that are named; tuned in float32 whatever is saved."""
    dtype = "float32" if params.epochs else params.dtype
    folder = material.parent or params.name
    return load_writer(folder, dtype) if folder else None


def _tuning(params: BackboneParams, seed: int, *, goes_on: bool) -> Tuning:
    return Tuning(
        epochs=min(params.epochs, 1) if goes_on else params.epochs,
        batch_tokens=params.batch_tokens,
        learning_rate=params.learning_rate * (_WARM_RATE if goes_on else 1),
        autocast=params.dtype == "bfloat16",
        seed=seed,
        checkpoint_every=_CHECKPOINT_EVERY,
    )


def _warn(taught: dict[str, int]) -> None:
    """Say so when a teacher hardly teaches."""
    if sum(taught.values()) > 2 * taught.get(KEPT, 0):
        log.warning(
            "more than half of the teacher's replies were not taken (%s): malformed ones need a model that follows the "
            "format or more backbone.teacher.max_tokens, too long ones more backbone.max_completion_tokens",
            ", ".join(f"{name} {count}" for name, count in taught.items()),
        )


def _tune(
    writer: Writer, examples: Sequence[Example], tuning: Tuning, lora_rank: int, means: Means
) -> tuple[Writer, Tuned]:
    """Fine-tune all weights, or adapters that are merged into them; goes on from a checkpoint over these alone."""
    kept = means.work / f"finetune-{identity(writer.model)}.safetensors"
    adapted = add_adapters(writer.model, lora_rank, tuning.seed) if lora_rank else None
    writer.model.to(means.device)  # after the adapters are drawn: they start alike on every device
    tuned = fine_tune(writer.model, examples, tuning, kept)
    if adapted is None:
        return writer, tuned
    return dataclasses.replace(writer, model=merge_adapters(adapted).eval()), tuned


def _fresh_writer(
    params: BackboneParams, seed: int, source: Source, events: Sequence[Event], taught: Taught | None
) -> Writer:
    """Return the embedded backbone before fine-tuning."""
    context = params.max_prompt_tokens + params.max_completion_tokens
    composed = (text for event in events for text in completions_of(event, source))
    described = (fact.text for event in events for fact in event.facts if fact.item is None)
    worded = taught.thoughts() if taught else []
    headings = HEADINGS if kinds_of(params.evidence).any else ()
    texts = [*source.lines, *composed, *worded, *described]
    tokenizer = train_tokenizer(texts, params.vocab_size, context, headings)
    shape = Shape(width=params.width, layers=params.layers, heads=params.heads, context=context)
    return Writer(model=build_model(tokenizer, shape, seed).eval(), tokenizer=tokenizer)
