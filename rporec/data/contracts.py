"""Data contracts: Great Expectations suites for the two tables, run as one Checkpoint, with Data Docs.

Great Expectations takes about ten seconds to import, so only this module imports it, and only when called. Column
types are held by `rporec.tables` and single bad rows by `rporec.data.clean`; here whole tables must be plausible. The
rules are in `rporec.data.rules`, what they look at in `rporec.data.measures`, the pages in `rporec.data.docs`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from rporec.config import ValidateParams
from rporec.data import docs, measures, rules
from rporec.data.rules import Rule
from rporec.days import DAY

_LONGEST_EXAMPLE = 80  # characters of a value that is shown


@dataclass(frozen=True)
class Finding:
    """One checked rule.

    Args:
        table, column: where; column "" = the whole table.
        rule: in words.
        expectation: Great Expectations' name of it.
        passed: whether the table keeps it.
        observed: what was found: a value, or how many rows break the rule.
    """

    table: str
    column: str
    rule: str
    expectation: str
    passed: bool
    observed: str


@dataclass(frozen=True)
class Suite:
    """Rules and the frame of measures that they look at."""

    rules: list[Rule]
    measures: pl.DataFrame


def check(
    interactions: pl.DataFrame,
    items: pl.DataFrame,
    params: ValidateParams,
    end: int | None,
    folder: Path,
    *,
    once: bool,
) -> list[Finding]:
    """Check both tables against their suites; Data Docs that need no network are left in `folder`/docs.

    Args:
        interactions: table INTERACTIONS.
        items: table ITEMS.
        params: section `validate`.
        end: end of the time line, s UTC, exclusive; None = rows without times.
        folder: scratch folder, emptied first.
        once: a user may buy an item only once at a time (false where ingest keeps duplicates).

    Returns:
        Every rule's finding, by table, column and expectation; the same tables give the same findings.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    found = _run(_suites(interactions, items, params, end, once=once), folder)
    tables = {"interactions": interactions, "items": items}
    by_suite = {name: [_finding(one, tables) for one in results] for name, results in found.items()}
    docs.make_offline(folder / "docs", {name: [vars(one) for one in group] for name, group in by_suite.items()})
    every = [one for group in by_suite.values() for one in group]
    return sorted(every, key=lambda one: (one.table, one.column, one.expectation, one.rule))


def _suites(
    interactions: pl.DataFrame, items: pl.DataFrame, params: ValidateParams, end: int | None, *, once: bool
) -> dict[str, Suite]:
    given = len(interactions) > 0 and interactions["split"].null_count() == 0
    suites = {
        "interactions": Suite(
            rules.interaction_rules(params, end, given=given, once=once),
            measures.interaction_measures(interactions, items),
        ),
        "items": Suite(rules.item_rules(params, end), measures.item_measures(items)),
        "types": Suite(rules.type_rules(), measures.type_measures(interactions, items)),
    }
    if end is not None:
        days = measures.day_measures(interactions)
        first = interactions["timestamp"].min()
        span = (end - first) // DAY + 1 if isinstance(first, int) else 0
        suites["days"] = Suite(rules.day_rules(span), days)
    return suites


def _run(suites: dict[str, Suite], folder: Path) -> dict[str, list[Any]]:
    """Run all suites as one Checkpoint; return suite → results, and leave the library's pages in `folder`/docs."""
    # Read when the library is imported: without it, every run would call home.
    os.environ["GX_ANALYTICS_ENABLED"] = "False"
    import great_expectations as gx
    from great_expectations import expectations
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="file", project_root_dir=str(folder))
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    (folder / "measures").mkdir()
    source = context.data_sources.add_pandas_filesystem("measures", base_directory=str(folder / "measures"))
    definitions = []
    for name, part in suites.items():
        part.measures.write_parquet(folder / "measures" / f"{name}.parquet")
        suite = context.suites.add(gx.ExpectationSuite(name=name))
        for rule in part.rules:
            meta = {"table": rule.table, "about": rule.about, "by_row": rule.by_row}
            suite.add_expectation(
                getattr(expectations, rule.expectation)(**rule.arguments, notes=rule.words, meta=meta)
            )
        suite.save()
        batch = source.add_parquet_asset(name=name).add_batch_definition_path(name, path=f"{name}.parquet")
        definitions.append(
            context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=suite))
        )
    pages = gx.checkpoint.UpdateDataDocsAction(name="docs")
    checkpoint = gx.Checkpoint(
        name="contracts", validation_definitions=definitions, actions=[pages], result_format="SUMMARY"
    )
    result = context.checkpoints.add(checkpoint).run()
    shutil.copytree(Path(context.root_directory) / "uncommitted" / "data_docs" / "local_site", folder / "docs")
    return {run.suite_name: list(run.results) for run in result.run_results.values()}


def _finding(result: Any, tables: Mapping[str, pl.DataFrame]) -> Finding:  # noqa: ANN401 - untyped library
    config, found = result.expectation_config, result.result
    table, about = config.meta["table"], config.meta["about"]
    if raised := _raised(result.exception_info):
        observed = raised
    elif not config.meta["by_row"]:
        observed = str((found.get("partial_unexpected_list") or config.kwargs["value_set"])[0])
    elif "element_count" in found:
        observed = f"{found.get('unexpected_count', 0)} of {found['element_count']} rows break it"
        if rows := found.get("partial_unexpected_index_list"):
            observed += f", for instance {_example(tables[table], about, rows[0])}"
    else:
        value = found.get("observed_value")
        observed = f"{value:.6g}" if isinstance(value, float) else str(value)
    return Finding(table, about, str(config.notes or ""), config.type, bool(result.success), observed)


def _raised(info: Mapping[str, Any]) -> str:
    """Return what an expectation stumbled over, "" when it did not; the library nests it under metrics."""
    if info.get("raised_exception"):
        return str(info.get("exception_message"))
    inner = [_raised(value) for value in info.values() if isinstance(value, Mapping)]
    return next((text for text in inner if text), "")


def _example(table: pl.DataFrame, about: str, row: int) -> str:
    """Show what a row of the table itself holds: the library saw only its measures."""
    values = table.select(about.split(", ")).row(row)
    text = ", ".join(repr(value) for value in values)
    return f"{text[:_LONGEST_EXAMPLE]} (row {row})"
