"""May a teacher's reply be learned? Only a thought that is well formed, true of the history shown, and short enough.

Else the composed text stands, and that is counted. Asks nobody: see `teacher`.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rporec.catalogue import Catalogue
from rporec.reasoning.ground import Grounder
from rporec.reasoning.parse import neutralise, parse, render

KEPT, MALFORMED, UNGROUNDED, LONG = "kept", "malformed", "ungrounded", "too_long"
OUTCOMES = (KEPT, MALFORMED, UNGROUNDED, LONG)


@dataclass(frozen=True, slots=True)
class Judged:
    """A completion to learn, and what became of the teacher's reply: one of `OUTCOMES`, None where none was asked."""

    completion: str
    outcome: str | None


class Taught:
    """What a teacher wrote for some rows, and whether it may be learned.

    Args:
        texts: reply by row id.
        catalogue: texts of the items.
        max_tokens: of a completion that is learned, end token included.
    """

    def __init__(self, texts: dict[int, str], catalogue: Catalogue, max_tokens: int) -> None:
        self._texts = texts
        self._grounder = Grounder(catalogue)
        self._max_tokens = max_tokens

    def judge(
        self, row: int, shown: Sequence[int], composed: str, count: Callable[[str], int], evidence: str = ""
    ) -> Judged:
        """Return the completion of a row: the teacher's thought if it may be learned, else the composed one.

        Args:
            row: row id.
            shown: the history in the prompt, item indices.
            composed: the composed completion; its answer stands in any case, it is a fact and not the teacher's.
            count: length of a completion in tokens.
            evidence: what the prompt holds beside the history, as text.
        """
        if row not in self._texts:
            return Judged(composed, None)
        said = parse(self._texts[row])
        thought = neutralise(said.thought)
        if not thought:
            return Judged(composed, MALFORMED)
        if self._grounder.check(thought, shown, evidence).missing:
            return Judged(composed, UNGROUNDED)
        completion = render(thought, parse(composed).answer)
        if count(completion) >= self._max_tokens:  # the end token comes on top
            return Judged(composed, LONG)
        return Judged(completion, KEPT)

    def thoughts(self) -> list[str]:
        """Return the well-formed thoughts, for a tokenizer to learn their words."""
        return [neutralise(said.thought) for said in map(parse, self._texts.values()) if said.well_formed]


def tally(outcomes: Counter[str]) -> dict[str, int]:
    """Return the number of each outcome, those that never came included."""
    return {name: outcomes[name] for name in OUTCOMES}
