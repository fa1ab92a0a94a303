"""Data contracts: Great Expectations suites for the two tables, run as one Checkpoint, with Data Docs.

Great Expectations takes about ten seconds to import, so only this module imports it, and only when called. Column
types are held by `rporec.tables` and single bad rows by `rporec.data.clean`; here whole tables must be plausible.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from rporec.config import ValidateParams

_EARLIEST = 631_152_000  # 1990-01-01: older times are a wrong unit or a default
_LONGEST_ID, _LONGEST_TITLE, _LONGEST_TEXT = 200, 2_000, 50_000  # characters
_MOSTLY_SHORT = 0.99  # share of texts that must keep to the length
Rule = tuple[str, dict[str, Any], str]  # expectation class, its arguments, the rule in words


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


def check(
    interactions: pl.DataFrame, items: pl.DataFrame, params: ValidateParams, end: int | None, folder: Path
) -> list[Finding]:
    """Check both tables against their suites; Data Docs are left in `folder`/docs.

    Args:
        interactions: table INTERACTIONS.
        items: table ITEMS.
        params: section `validate`.
        end: end of the time line, s UTC, exclusive; None = rows without times.
        folder: scratch folder, emptied first.
    """
    shutil.rmtree(folder, ignore_errors=True)
    tables = folder / "tables"
    tables.mkdir(parents=True)
    views = {"interactions": _interaction_view(interactions, items), "items": _item_view(items)}
    for name, view in views.items():
        view.write_parquet(tables / f"{name}.parquet")
    given = interactions["split"].null_count() == 0
    suites = {"interactions": interaction_rules(params, end, given=given), "items": item_rules(params)}
    return _run(suites, tables, folder)


def interaction_rules(params: ValidateParams, end: int | None, *, given: bool) -> list[Rule]:
    """Return the suite of interactions."""
    rules = [
        _rows(params.min_interactions, "validate.min_interactions"),
        *(_text(column) for column in ("user_id", "item_id")),
        _distinct("user_id", params.min_users, "validate.min_users"),
        (
            "ExpectColumnValuesToBeInSet",
            {"column": "item_known", "value_set": [True]},
            "every item is in the item table",
        ),
        ("ExpectColumnValuesToNotBeNull", {"column": "order"}, "every row has its place in time"),
        ("ExpectColumnValuesToBeBetween", {"column": "order", "min_value": 0}, "places in time count from 0"),
    ]
    if end is not None:
        one = {"column_list": ["user_id", "timestamp", "item_id"]}
        span = {"column": "timestamp", "min_value": _EARLIEST, "max_value": end - 1}
        rules += [
            ("ExpectColumnValuesToNotBeNull", {"column": "timestamp"}, "every row has a time"),
            ("ExpectColumnValuesToBeBetween", span, "times lie between 1990 and the end of the time line"),
        ]
        if not given:
            rules.append(("ExpectCompoundColumnsToBeUnique", one, "a user buys an item once at a time"))
    if given:
        splits = {"column": "split", "value_set": ["train", "valid", "test"]}
        rules += [
            ("ExpectColumnDistinctValuesToEqualSet", splits, "the given split has train, valid and test"),
            ("ExpectColumnValuesToBeBetween", {"column": "history_length", "min_value": 1}, "no history is empty"),
        ]
    return rules


def item_rules(params: ValidateParams) -> list[Rule]:
    """Return the suite of items."""
    titled = {"column": "title", "mostly": 1 - params.max_title_missing}
    return [
        _rows(params.min_items, "validate.min_items"),
        _text("item_id"),
        ("ExpectColumnValuesToBeUnique", {"column": "item_id"}, "an item has one row"),
        ("ExpectColumnValuesToNotBeNull", titled, "items have titles (validate.max_title_missing)"),
        _short("title", _LONGEST_TITLE),
        _short("description", _LONGEST_TEXT),
        ("ExpectColumnValuesToBeBetween", {"column": "price", "min_value": 0}, "a known price is not negative"),
    ]


def _rows(least: int, key: str) -> Rule:
    return "ExpectTableRowCountToBeBetween", {"min_value": least}, f"at least {least} rows ({key})"


def _distinct(column: str, least: int, key: str) -> Rule:
    bounds = {"column": column, "min_value": least}
    return "ExpectColumnUniqueValueCountToBeBetween", bounds, f"at least {least} different values ({key})"


def _text(column: str) -> Rule:
    bounds = {"column": column, "min_value": 1, "max_value": _LONGEST_ID}
    return "ExpectColumnValueLengthsToBeBetween", bounds, f"ids have 1 to {_LONGEST_ID} characters"


def _short(column: str, longest: int) -> Rule:
    bounds = {"column": column, "max_value": longest, "mostly": _MOSTLY_SHORT}
    return "ExpectColumnValueLengthsToBeBetween", bounds, f"{_MOSTLY_SHORT:.0%} have at most {longest} characters"


def _interaction_view(interactions: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    known = items.select("item_id", item_known=pl.lit(value=True)).unique("item_id")
    return interactions.join(known, on="item_id", how="left", maintain_order="left").select(
        "user_id", "item_id", "timestamp", "order", "split",
        pl.col("item_known").fill_null(value=False),
        history_length=pl.col("history").list.len(),
    )  # fmt: skip


def _item_view(items: pl.DataFrame) -> pl.DataFrame:
    texts = ("title", "description", "brand", "category")
    return items.with_columns(pl.when(pl.col(name) != "").then(pl.col(name)).alias(name) for name in texts)


def _run(suites: dict[str, list[Rule]], tables: Path, folder: Path) -> list[Finding]:
    # Read when the library is imported: without it, every run would call home.
    os.environ["GX_ANALYTICS_ENABLED"] = "False"
    import great_expectations as gx
    from great_expectations import expectations
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="file", project_root_dir=str(folder))
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_pandas_filesystem("tables", base_directory=str(tables))
    definitions = []
    for table, rules in suites.items():
        suite = context.suites.add(gx.ExpectationSuite(name=table))
        for kind, arguments, words in rules:
            suite.add_expectation(getattr(expectations, kind)(**arguments, notes=words))
        suite.save()
        batch = source.add_parquet_asset(name=table).add_batch_definition_path(table, path=f"{table}.parquet")
        definitions.append(
            context.validation_definitions.add(gx.ValidationDefinition(name=table, data=batch, suite=suite))
        )
    docs = gx.checkpoint.UpdateDataDocsAction(name="docs")
    checkpoint = gx.Checkpoint(
        name="contracts", validation_definitions=definitions, actions=[docs], result_format="SUMMARY"
    )
    result = context.checkpoints.add(checkpoint).run()
    shutil.copytree(Path(context.root_directory) / "uncommitted" / "data_docs" / "local_site", folder / "docs")
    _silence(folder / "docs")
    return sorted(
        (_finding(run.suite_name, one) for run in result.run_results.values() for one in run.results),
        key=lambda finding: (finding.table, finding.column, finding.expectation),
    )


def _silence(docs: Path) -> None:
    """Take the tracking picture out of the pages: opening them must not tell anybody."""
    for page in docs.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        page.write_text(re.sub(r"<img[^>]*dataContextId[^>]*>", "", text), encoding="utf-8")


def _finding(table: str, result: Any) -> Finding:  # noqa: ANN401 - Great Expectations is untyped here
    config, found = result.expectation_config, result.result
    column = config.kwargs.get("column") or ", ".join(config.kwargs.get("column_list", []))
    if result.exception_info.get("raised_exception"):
        observed = str(result.exception_info.get("exception_message"))
    elif "observed_value" in found:
        observed = str(found["observed_value"])
    else:
        observed = f"{found.get('unexpected_count', 0)} of {found.get('element_count', 0)} rows break it"
        if examples := found.get("partial_unexpected_list"):
            observed += f", for instance {examples[0]!r}"
    return Finding(table, column, str(config.notes or ""), config.type, bool(result.success), observed)
