"""Progress of long work: a bar on a terminal, a plain line every few seconds in a log.

Only shows; no result depends on it.
"""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType

from tqdm import tqdm

log = logging.getLogger(__name__)
_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Counts units of work (rows, tokens, steps) towards a total; use as a context manager.

    Args:
        what: the work in a few words.
        total: units in all.
        unit: the unit's name, plural.
    """

    def __init__(self, what: str, total: int, unit: str) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = self._before = 0
        self._start = self._last = time.monotonic()
        self._bar = tqdm(total=total, desc=what, unit=unit, leave=False) if sys.stderr.isatty() else None

    def __enter__(self) -> Progress:
        """Start counting."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()

    def skip(self, units: int) -> None:
        """Add units that an earlier process finished: they count as done, but not in the rate and the time left."""
        self.done += units
        self._before += units
        if self._bar is not None:
            self._bar.initial += units
            self._bar.n += units
            self._bar.refresh()

    def advance(self, units: int, note: str = "") -> None:
        """Add units that this process finished; `note` (a loss, tokens/s) is shown beside the count."""
        self.done += units
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(units)
            return
        now = time.monotonic()
        if now - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = now
            rate = (self.done - self._before) / max(now - self._start, 1e-9)
            left = (self.total - self.done) / max(rate, 1e-9)
            log.info(
                "%s: %d/%d %s, %.1f a second, %.0f s left %s",
                self.what,
                self.done,
                self.total,
                self.unit,
                rate,
                left,
                note,
            )
