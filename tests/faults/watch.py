"""Asks the service all the time, from its start to the end of the faults, and keeps what was not answered."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from typing import Any


class Watch:
    """A user who never stops asking.

    Args:
        address: of the service.
        items: ids of the catalogue.
    """

    def __init__(self, address: str, items: list[str]) -> None:
        self.address = address
        self._items = items
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="watch", daemon=True)
        self.asked = 0
        self.failures: list[str] = []
        self.slowest = 0.0
        self.versions: list[int] = []

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ends.set()
        if self._thread.ident is not None:
            self._thread.join(120)

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.address}{path}", timeout=120) as answer:
            return json.load(answer)

    def _body(self) -> bytes:
        """Every eighth history was never asked for: its reasoning is written while the user waits, and stored."""
        number, count = self.asked // 8 if self.asked % 8 == 0 else 0, len(self._items)
        history = [self._items[(number // count**power) % count] for power in range(3)]
        return json.dumps({"history": history, "k": 5}).encode()

    def _ask(self) -> None:
        while not self._ends.wait(0.25):
            started = time.monotonic()
            request = urllib.request.Request(
                f"{self.address}/recommend", self._body(), {"Content-Type": "application/json"}
            )
            self.asked += 1
            try:
                with urllib.request.urlopen(request, timeout=120) as answer:
                    told = json.load(answer)
                if len(told["items"]) != 5:
                    self.failures.append(f"{time.ctime()} {len(told['items'])} items")
                version = told["model"]["version"]
                if not self.versions or self.versions[-1] != version:
                    self.versions.append(version)
            except Exception as error:  # noqa: BLE001 - whatever it is, the user got no answer
                self.failures.append(f"{time.ctime()} {type(error).__name__}: {error}")
            self.slowest = max(self.slowest, time.monotonic() - started)
