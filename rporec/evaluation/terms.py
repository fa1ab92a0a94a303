"""The words of a verdict: gate names, statuses, and the digest of the limits. Light: whoever reads a verdict needs it.

Asking the gates is gates.py, putting them together judge.py.
"""

from __future__ import annotations

import hashlib
from typing import Literal, get_args

from rporec.config import GateParams

Status = Literal["pass", "fail", "not_applicable"]
STATUSES: tuple[str, ...] = get_args(Status)
# Every verdict answers all of them, in this order (design section 7).
GATES = ("data", "floor", "reasoning", "alignment", "champion", "form", "slices", "service")


def limits_digest(params: GateParams) -> str:
    """Return the SHA-256 that names the limits of a judgement: every value of section `gate`."""
    return hashlib.sha256(params.model_dump_json().encode()).hexdigest()
