"""Write the COMPLETIONS table: resumable by shard, from histories and what older rows say of them.

The rows handed in have no target column, so that no target can reach its own text. Used for the backbone by
stage `cot` and for the policy by stage `align`.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import polars as pl

from rporec import tables
from rporec.backbone.generate import Sampling, generate
from rporec.backbone.source import Writer
from rporec.catalogue import Catalogue
from rporec.config import BackboneParams, CotParams
from rporec.errors import InputError
from rporec.progress import Progress
from rporec.reasoning.ground import Grounder
from rporec.reasoning.lookup import Evidence
from rporec.reasoning.parse import parse
from rporec.reasoning.prompt import Fact, FittedPrompts, fit_prompts, render_facts

log = logging.getLogger(__name__)


Pace = Callable[[int, int], None]  # is told groups and tokens after every batch


class Crew(Protocol):
    """Who writes shards in place of this process, see `rporec.backbone.cluster`."""

    def write(
        self, shards: Mapping[int, pl.DataFrame], catalogue: Catalogue, sampling: Sampling
    ) -> Iterator[tuple[int, pl.DataFrame]]:
        """Yield the rows of each shard with its number, as they are done."""


@dataclass(frozen=True, slots=True)
class Writing:
    """How to write.

    Attributes:
        sampling: samples, temperature, length, batch size, seed.
        prompt_items: newest history items shown (items).
        max_prompt_tokens: budget of a prompt (tokens); evidence goes first, then the oldest items.
        shard_groups: groups of one shard, the unit of resuming.
    """

    sampling: Sampling
    prompt_items: int
    max_prompt_tokens: int
    shard_groups: int


@dataclass(frozen=True, slots=True)
class Written:
    """The COMPLETIONS table, sorted by group and sample, and what the token budget cost."""

    completions: pl.DataFrame
    shortened: int
    dropped: int
    withheld: int


def writing_of(params: CotParams, backbone: BackboneParams, seed: int) -> Writing:
    """Return how stage cot writes, which is how all writes that is compared with it.

    Args:
        params: section `cot`.
        backbone: section `backbone`.
        seed: of the samples.
    """
    sampling = Sampling(
        num_samples=params.samples,
        temperature=params.temperature,
        max_new_tokens=backbone.max_completion_tokens,
        batch_size=params.batch_size * params.samples,
        seed=seed,
    )
    return Writing(sampling, backbone.prompt_items, backbone.max_prompt_tokens, params.shard_groups)


def groups_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Return one row a group with `group`, `slice` and `history`, sorted by group; a target column is left behind."""
    return rows.select("group", "slice", "history").unique("group", keep="first", maintain_order=True).sort("group")


def write_completions(  # noqa: PLR0913 - what is written, how, and by whom
    writer: Writer,
    groups: pl.DataFrame,
    catalogue: Catalogue,
    writing: Writing,
    kept: Path,
    evidence: Mapping[str, Evidence],
    crew: Crew | None = None,
) -> Written:
    """Write completions for groups; whole shards that lie in `kept` already are not written again.

    Args:
        writer: model and tokenizer.
        groups: as made by `groups_of`.
        catalogue: texts of the items.
        writing: how.
        kept: folder for the shards, which survives a kill; its name must change with weights, rows and params.
        evidence: what prompts may show of each slice; {} = nothing.
        crew: who writes the shards; None = this process.

    Raises:
        InputError: a prompt cannot be made to fit.
    """
    fitted = prompts_of(writer, groups, catalogue, writing, evidence)
    tasks = groups.select("group", "slice").with_columns(
        prompt=pl.Series(fitted.prompts, dtype=pl.String),
        shown=pl.Series(fitted.shown, dtype=pl.List(pl.Int32)),
        evidence=pl.Series([render_facts(facts) for facts in fitted.facts], dtype=pl.String),
    )
    shards = dict(enumerate(tasks.iter_slices(writing.shard_groups)))
    found: dict[int, pl.DataFrame] = {}
    with Progress("write reasoning", tasks.height, "groups") as progress:
        for number, shard in shards.items():
            rows = _read_shard(_shard_file(kept, number))
            if rows is not None:
                found[number] = rows
                progress.skip(shard.height)
        left = {number: shard for number, shard in shards.items() if number not in found}
        if crew is None:
            written = _write_here(writer, left, catalogue, writing.sampling, _Pace(progress))
        else:
            written = _counted(crew.write(left, catalogue, writing.sampling), left, progress)
        for number, rows in written:
            tables.write(rows, _shard_file(kept, number), tables.COMPLETIONS)
            found[number] = rows
    completions = pl.concat([tables.empty(tables.COMPLETIONS), *found.values()]).sort("group", "sample")
    return Written(completions, fitted.shortened, fitted.dropped, fitted.withheld)


def prompts_of(
    writer: Writer, groups: pl.DataFrame, catalogue: Catalogue, writing: Writing, evidence: Mapping[str, Evidence]
) -> FittedPrompts:
    """Return the prompt of each group; arguments as for `write_completions`.

    Raises:
        InputError: a prompt cannot be made to fit.
    """
    budget = writer.prompt_budget(writing.max_prompt_tokens, writing.sampling.max_new_tokens)
    facts = _look_up(groups, evidence, writing.prompt_items)
    return fit_prompts(groups["history"].to_list(), catalogue, writing.prompt_items, budget, writer.count, facts)


def _look_up(groups: pl.DataFrame, evidence: Mapping[str, Evidence], items: int) -> list[tuple[Fact, ...]] | None:
    """Return the facts of each group as of its slice, looked up for the items that its prompt may show."""
    if not evidence:
        return None
    rows = groups.select("slice", "history").iter_rows()
    return [evidence[name].look_up(history[-items:]) for name, history in rows]


class _Pace:
    """Shows after every batch how far the writing is, and the tokens a second so far."""

    def __init__(self, progress: Progress) -> None:
        self.progress, self.tokens, self.started = progress, 0, time.monotonic()

    def __call__(self, groups: int, tokens: int) -> None:
        self.tokens += tokens
        speed = self.tokens / max(time.monotonic() - self.started, 1e-9)
        self.progress.advance(groups, f"{speed:.0f} tokens/s")


def _write_here(
    writer: Writer, shards: Mapping[int, pl.DataFrame], catalogue: Catalogue, sampling: Sampling, pace: Pace
) -> Iterator[tuple[int, pl.DataFrame]]:
    grounder = Grounder(catalogue)
    for number, shard in shards.items():
        yield number, write_shard(writer, shard, grounder, sampling, pace)


def _counted(
    written: Iterator[tuple[int, pl.DataFrame]], shards: Mapping[int, pl.DataFrame], progress: Progress
) -> Iterator[tuple[int, pl.DataFrame]]:
    for number, rows in written:
        progress.advance(shards[number].height)
        yield number, rows


def _shard_file(kept: Path, number: int) -> Path:
    return kept / f"shard-{number:05d}.parquet"


def _read_shard(path: Path) -> pl.DataFrame | None:
    """Return a shard that an earlier call wrote; None where there is none, or one that cannot be read any more."""
    if not path.exists():
        return None
    try:
        return tables.read(path, tables.COMPLETIONS)
    except InputError as error:
        log.warning("a kept shard is damaged and is written anew: %s", error.message())
        return None


def write_shard(
    writer: Writer, tasks: pl.DataFrame, grounder: Grounder, sampling: Sampling, pace: Pace
) -> pl.DataFrame:
    """Return the COMPLETIONS rows of a shard.

    Args:
        writer: model and tokenizer.
        tasks: `group`, `slice`, `prompt`, `shown` and `evidence` of each group.
        grounder: knows what is true of the items.
        sampling: how to sample.
        pace: is told of every batch.
    """
    samples = generate(writer, tasks["prompt"].to_list(), tasks["group"].to_list(), sampling, pace)
    rows = []
    for task, written in zip(tasks.iter_rows(named=True), samples, strict=True):
        for number, one in enumerate(written):
            parsed = parse(one.text)
            looked_up = grounder.check(parsed.thought, task["shown"], task["evidence"])
            rows.append(
                {
                    "group": task["group"], "sample": number, "slice": task["slice"], "prompt": task["prompt"],
                    "completion": one.text, "thought": parsed.thought, "answer": parsed.answer,
                    "well_formed": parsed.well_formed,
                    "grounded": looked_up.share, "named": looked_up.true,
                }
            )  # fmt: skip
    return pl.DataFrame(rows, schema=tables.COMPLETIONS.columns)
