"""The one error type for bad input: it says what is wrong, where, by which rule, and what to do.

Not for bugs: those keep their traceback.
"""

from __future__ import annotations


class InputError(Exception):
    """Input that the user can mend; shown as one readable message without a traceback.

    Args:
        problem: what is wrong, one sentence without a final stop.
        file: the file or folder at fault, if any.
        field: the column, key or parameter at fault, if any.
        value: the offending value, if any.
        rule: the rule that it breaks, if any.
        cure: what the user can do.
    """

    def __init__(
        self,
        problem: str,
        *,
        cure: str,
        file: object = None,
        field: str | None = None,
        value: object = None,
        rule: str | None = None,
    ) -> None:
        self.problem, self.cure, self.file, self.field, self.value, self.rule = (
            problem,
            cure,
            file,
            field,
            value,
            rule,
        )
        super().__init__(self.message())

    def message(self) -> str:
        """Return the whole message, one part a line, parts that are unknown left out."""
        parts = [
            ("file", self.file),
            ("field", self.field),
            ("value", None if self.value is None else repr(self.value)[:200]),
            ("rule", self.rule),
            ("cure", self.cure),
        ]
        return "\n".join([f"error: {self.problem}", *(f"  {name}: {text}" for name, text in parts if text is not None)])
