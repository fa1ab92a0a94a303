"""Fine-tuning texts by a teacher: a stronger model words the thought of rows of the fit slice, if it stays true.

Its prompt holds the target, so its thoughts are material for fine-tuning only, as composed ones are (design, section
6); nothing here may feed the Rechead. What may be learned of the replies is `taught`, how they are got `replies`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rporec.backbone.endpoint import Access
from rporec.backbone.examples import Event
from rporec.backbone.replies import Asked, ask_all
from rporec.catalogue import Catalogue
from rporec.reasoning.parse import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN
from rporec.reasoning.prompt import LINE, item_line

_ASK = (
    "A customer bought, oldest first:{history}\nThe item bought next was:{target}\n"
    "Write the short thought of somebody who sees only the list of what was bought before and tries to guess the item "
    "bought next. Rules: one or two plain sentences, {words} words at most. Say which brand, category or item of the "
    "list speaks for the guess. Name no brand, no product word and no number that is not in the list, do not name the "
    "item bought next, and do not say that it is known. Write nothing else than exactly:\n"
    f"{THINK_OPEN}the thought{THINK_CLOSE}{ANSWER_OPEN}{{answer}}{ANSWER_CLOSE}"
)
_WORDS = 40


@dataclass(frozen=True)
class Lessons:
    """The replies of a teacher by row, and what they cost."""

    texts: dict[int, str]
    asked: Asked


def ask_teacher(events: Sequence[Event], catalogue: Catalogue, access: Access, kept: Path) -> Lessons:
    """Ask a teacher for the thoughts of the rows to learn from, `max_rows` of them at most.

    Args:
        events: rows of the fit slice.
        catalogue: texts of the items.
        access: how the endpoint is reached.
        kept: folder of the replies, which outlives a run.

    Raises:
        InputError: the endpoint cannot be used.
    """
    rows = sorted(
        (draw, row, event.history, target)
        for event in events
        for target, row, draw in zip(event.targets, event.rows, event.draws, strict=True)
    )[: access.params.max_rows]
    prompts = {row: teacher_prompt(history, target, catalogue) for _, row, history, target in rows}
    asked = ask_all(list(prompts.values()), access, kept)
    return Lessons({row: asked.replies[prompt].text for row, prompt in prompts.items()}, asked)


def teacher_prompt(history: Sequence[int], target: int, catalogue: Catalogue) -> str:
    """Return what a teacher is asked for one row: history and target as lines, and the rules of a thought."""
    lines = "".join(f"{LINE}{item_line(item, catalogue)}" for item in history) or f"{LINE}nothing yet"
    answer = item_line(target, catalogue)
    return _ASK.format(history=lines, target=f"{LINE}{answer}", answer=answer, words=_WORDS)
