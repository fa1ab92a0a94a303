"""The suites of the data contracts: what must hold of the two tables, as plain values.

Each rule names a Great Expectations class and the measured column (`rporec.data.measures`) that it looks at, and says
in words what it asks of which column of the table. Nothing here imports Great Expectations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rporec.config import ValidateParams
from rporec.days import EARLIEST
from rporec.tables import INTERACTIONS, ITEMS

LONGEST_ID, LONGEST_TITLE, LONGEST_TEXT = 200, 2_000, 50_000  # characters
MOSTLY_SHORT = 0.99  # share of texts that must keep to the length
FULLEST_DAY = 0.5  # share of all rows; more is an import at one moment, not a history
LEAST_DAYS = 14  # a shorter time line may well have one great day


@dataclass(frozen=True)
class Rule:
    """One expectation.

    Args:
        expectation: class of Great Expectations.
        arguments: its arguments; `column` is a measured column.
        table, about: what it is a rule of: the table and its column, "" = the whole table.
        words: the rule in words.
        by_row: the measures have one row for each row of the table.
    """

    expectation: str
    arguments: dict[str, Any]
    table: str
    about: str
    words: str
    by_row: bool = True


def interaction_rules(params: ValidateParams, end: int | None, *, given: bool, once: bool) -> list[Rule]:
    """Return the suite of interactions: end = end of the time line [s UTC], None for rows without times."""
    rules = [
        _rule("ExpectTableRowCountToBeBetween", "", at_least(params.min_interactions, "rows", "min_interactions"),
              min_value=params.min_interactions),
        *_id("user_id"),
        *_id("item_id"),
        _rule("ExpectColumnUniqueValueCountToBeBetween", "user_id", at_least(params.min_users, "users", "min_users"),
              column="user_code", min_value=params.min_users),
        _rule("ExpectColumnUniqueValueCountToBeBetween", "item_id", "at least 2 different items",
              column="item_code", min_value=2),
        _rule("ExpectColumnValuesToBeInSet", "item_id", "every item is in the item table",
              column="item_known", value_set=[True]),
        _rule("ExpectColumnValuesToNotBeNull", "order", "every row has its place in time", column="order"),
        _rule("ExpectColumnValuesToBeBetween", "order", "places in time count from 0", column="order", min_value=0),
    ]  # fmt: skip
    if end is not None:
        rules += _times(end)
        if once and not given:
            about = "user_id, timestamp, item_id"
            rules.append(_rule("ExpectColumnValuesToBeInSet", about, "a user buys an item once at a time",
                               column="seen_before", value_set=[False]))  # fmt: skip
    if given:
        rules += [
            _rule("ExpectColumnValuesToBeInSet", "split", "a row of a given split is of train, valid or test",
                  column="split", value_set=["train", "valid", "test"]),
            _rule("ExpectColumnUniqueValueCountToBeBetween", "split", "the given split has train, valid and test",
                  column="split", min_value=3),
            _rule("ExpectColumnValuesToBeBetween", "history", "no history is empty",
                  column="history_length", min_value=1),
        ]  # fmt: skip
    return rules


def day_rules(days: int) -> list[Rule]:
    """Return the suite of the rows a day, for a time line of so many days from its first row to its end."""
    rules = [_rule("ExpectColumnMinToBeBetween", "timestamp", "there is a day with rows", column="rows", min_value=1)]
    if days >= LEAST_DAYS:
        words = f"no day holds more than {FULLEST_DAY:.0%} of all rows"
        rules.append(
            _rule("ExpectColumnMaxToBeBetween", "timestamp", words, column="share_of_rows", max_value=FULLEST_DAY)
        )
    return rules


def item_rules(params: ValidateParams, end: int | None) -> list[Rule]:
    """Return the suite of items."""
    words = f"at most {params.max_title_missing:.1%} of items lack a title (validate.max_title_missing)"
    rules = [
        _item("ExpectTableRowCountToBeBetween", "", at_least(params.min_items, "rows", "min_items"),
              min_value=params.min_items),
        *_id("item_id", "items"),
        _item("ExpectColumnValuesToBeUnique", "item_id", "an item has one row", column="item_code"),
        _item("ExpectColumnValuesToNotBeNull", "title", words, column="title_length",
              mostly=1 - params.max_title_missing),
        *(
            _item("ExpectColumnValuesToBeBetween", text, f"{MOSTLY_SHORT:.0%} have at most {longest} characters",
                  column=f"{text}_length", max_value=longest, mostly=MOSTLY_SHORT)
            for text, longest in (("title", LONGEST_TITLE), ("description", LONGEST_TEXT))
        ),
        _item("ExpectColumnValuesToBeBetween", "price", "a known price is not negative", column="price", min_value=0),
    ]  # fmt: skip
    if end is not None:
        words = "what is known of an item was known before the end of the time line"
        rules.append(
            _item("ExpectColumnValuesToBeBetween", "known_from", words, column="known_from", max_value=end - 1)
        )
    return rules


def type_rules() -> list[Rule]:
    """Return the suite of types: each column has the type of `rporec.tables`."""
    return [
        Rule("ExpectColumnValuesToBeInSet", {"column": f"{table.name}.{column}", "value_set": [str(kind)]},
             table.name, column, f"the type is {kind}", by_row=False)
        for table in (INTERACTIONS, ITEMS) for column, kind in table.columns.items()
    ]  # fmt: skip


def at_least(least: int, what: str, key: str) -> str:
    """Say a lower limit and the key that sets it."""
    return f"at least {least} {what} (validate.{key})"


def _times(end: int) -> list[Rule]:
    return [
        _rule("ExpectColumnValuesToNotBeNull", "timestamp", "every row has a time", column="timestamp"),
        _rule("ExpectColumnValuesToBeBetween", "timestamp", "times lie between 1990 and the end of the time line",
              column="timestamp", min_value=EARLIEST, max_value=end - 1),
    ]  # fmt: skip


def _id(column: str, table: str = INTERACTIONS.name) -> list[Rule]:
    measured = f"{column}_length"
    lengths = {"column": measured, "min_value": 1, "max_value": LONGEST_ID}
    return [
        Rule("ExpectColumnValuesToNotBeNull", {"column": measured}, table, column, "no id is missing"),
        Rule("ExpectColumnValuesToBeBetween", lengths, table, column, f"ids have 1 to {LONGEST_ID} characters"),
    ]


def _rule(expectation: str, about: str, words: str, **arguments: Any) -> Rule:  # noqa: ANN401 - the library's own
    return Rule(expectation, arguments, INTERACTIONS.name, about, words)


def _item(expectation: str, about: str, words: str, **arguments: Any) -> Rule:  # noqa: ANN401 - the library's own
    return Rule(expectation, arguments, ITEMS.name, about, words)
