"""What the tests of source sql share: parameters, and a look at what crosses between database and reader."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import sqlalchemy as sa

from rporec import config
from tests.project import ROOT

START = 1_700_000_000  # s UTC of the first event in the toy databases


def params(interactions: str, items: str, **columns: str) -> config.IngestParams:
    """Return section ingest for two queries, with the user's own column names."""
    ingest = config.load(ROOT / "params.yaml").ingest.model_dump()
    ingest |= {"source": "sql", "as_of": None, "sql": {"interactions": interactions, "items": items}}
    ingest["columns"] |= columns
    return config.IngestParams(**ingest)


@dataclass
class Crossing:
    """What was asked of a database and how many rows came back."""

    statements: list[str] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)  # rows each

    @property
    def rows(self) -> int:
        """Rows that came back."""
        return sum(self.batches)

    def clear(self) -> None:
        """Forget what has crossed so far."""
        self.statements.clear()
        self.batches.clear()


@contextmanager
def crossing() -> Iterator[Crossing]:
    """Watch every engine: statements as they are sent, rows as they arrive in batches."""
    seen = Crossing()
    original = sa.CursorResult.partitions

    def sent(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        seen.statements.append(statement)

    def counted(self: Any, size: int | None = None) -> Iterator[Any]:
        for rows in original(self, size):
            seen.batches.append(len(rows))
            yield rows

    sa.event.listen(sa.Engine, "before_cursor_execute", sent)
    try:
        with mock.patch.object(sa.CursorResult, "partitions", counted):
            yield seen
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", sent)
