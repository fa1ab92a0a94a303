"""A workspace for the tests of stages backbone and cot: a toy shop, rows of every slice, a very small backbone."""

import polars as pl

from rporec import tables
from tests.reasoning.shop import table
from tests.steps.data_flow import workspace

SMALL = {
    "run": {"threads": 1},
    "backbone": {
        "vocab_size": 420, "width": 16, "layers": 1, "heads": 2, "epochs": 2, "batch_tokens": 256,
        "prompt_items": 2, "max_prompt_tokens": 160, "max_completion_tokens": 40, "targets_per_group": 2,
        "max_examples": 40,
    },
    "cot": {"batch_size": 4, "shard_groups": 5},
}  # fmt: skip
SLICES = {"train": ["fit"] * 24 + ["reason"] * 8 + ["align"] * 4, "valid": ["valid"] * 5, "test": ["test"] * 6}


def write_rows(root, move=0):
    """Write the tables of ingest and sequence; `move` shifts every target that stage cot must not see."""
    items = table()
    tables.write(items, root / "outputs/ingest/items.parquet", tables.ITEMS)
    number = 0
    for part, slices in SLICES.items():
        lines = []
        for name in slices:
            history = [(number + step) % 8 for step in range(1 + number % 3)]
            target = (2 * number + (move if name != "fit" else 0)) % 8
            lines.append((number, number, f"u{number}", None, history, target, name))
            number += 1
        frame = pl.DataFrame(lines, schema=tables.ROWS.columns, orient="row")
        tables.write(frame, root / f"outputs/sequence/{part}.parquet", tables.ROWS)


def prepared(root, *changes):
    workspace(root, SMALL, *changes)
    write_rows(root)
    return root
