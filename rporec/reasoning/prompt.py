"""The prompt: the newest items of a history as compact lines, newest last, then the instruction.

One item has one line, the same wherever it stands: in the prompt, in composed answers, in checks of an answer. Chat
templates are not applied here (see `rporec.backbone.source`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rporec.catalogue import Catalogue
from rporec.errors import InputError
from rporec.reasoning.parse import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN, neutralise

OPENING = "A customer bought, oldest first:"
LINE = "\n- "
INSTRUCTION = (
    "\nThink briefly about what these items say, then describe the one item bought next as such a line. Write exactly "
    f"{THINK_OPEN}one or two sentences{THINK_CLOSE}{ANSWER_OPEN}brand and title words; category; price{ANSWER_CLOSE}\n"
)

_WORD_CHARACTERS, _PART_CHARACTERS, _READ_CHARACTERS = 24, 96, 1000


@dataclass(frozen=True, slots=True)
class FittedPrompts:
    """Prompts that fit a token budget.

    Attributes:
        prompts: B prompts.
        shown: B histories as shown in the prompts (item indices, oldest first).
        shortened: prompts that lost items to the budget.
        dropped: items lost to the budget, over all prompts.
    """

    prompts: list[str]
    shown: list[list[int]]
    shortened: int
    dropped: int


def item_line(item: int, catalogue: Catalogue) -> str:
    """Return an item as one line: brand and telling title words; category; price band. Unknown parts are left out."""
    band = catalogue.price_band(item)
    parts = [catalogue.short_text(item), catalogue.category(item), f"{band} price" if band else ""]
    return "; ".join(filter(None, map(clip, parts))) or "an item without a title"


def clip(text: str) -> str:
    """Return catalogue text made harmless and short: words of at most 24 characters, 96 in all.

    A title of 10,000 characters must not push the rest of the history out of the prompt.
    """
    words = [word[:_WORD_CHARACTERS] for word in neutralise(text[:_READ_CHARACTERS]).split()]
    while words and sum(map(len, words)) + len(words) - 1 > _PART_CHARACTERS:
        words.pop()
    return " ".join(words)


def build_prompt(history: Sequence[int], catalogue: Catalogue, max_items: int) -> str:
    """Return the prompt for a history.

    Args:
        history: item indices, oldest first; may be empty.
        catalogue: their texts.
        max_items: newest items shown (items).
    """
    shown = list(history)[-max_items:]
    lines = "".join(f"{LINE}{item_line(item, catalogue)}" for item in shown) or f"{LINE}nothing yet"
    return f"{OPENING}{lines}{INSTRUCTION}"


def fit_prompts(
    histories: Sequence[Sequence[int]],
    catalogue: Catalogue,
    max_items: int,
    max_tokens: int,
    count_tokens: Callable[[str], int],
) -> FittedPrompts:
    """Build prompts that fit `max_tokens`; where one does not, its oldest items go first, and that is counted.

    Args:
        histories: B histories of item indices, oldest first.
        catalogue: their texts.
        max_items: newest items shown (items).
        max_tokens: budget of one prompt (tokens).
        count_tokens: length of a prompt as the model reads it (tokens).

    Raises:
        InputError: not even a prompt without items fits.
    """
    prompts: list[str] = []
    shown: list[list[int]] = []
    shortened = dropped = 0
    for history in histories:
        items = list(history)[-max_items:]
        prompt, wanted = build_prompt(items, catalogue, max_items), len(items)
        if count_tokens(prompt) > max_tokens:
            items = _newest_that_fit(items, catalogue, max_tokens, count_tokens)
            prompt = build_prompt(items, catalogue, max_items)
        shortened += len(items) < wanted
        dropped += wanted - len(items)
        prompts.append(prompt)
        shown.append(items)
    return FittedPrompts(prompts=prompts, shown=shown, shortened=shortened, dropped=dropped)


def _newest_that_fit(
    items: list[int], catalogue: Catalogue, max_tokens: int, count_tokens: Callable[[str], int]
) -> list[int]:
    """Return the most items, newest last, whose prompt fits; `items` themselves do not.

    By halving: a prompt of 10,000 items is not read 10,000 times. More lines are more tokens, but for the odd merge
    over a line's end; the last loop sees to it that what is returned fits.
    """

    def tokens(kept: int) -> int:
        return count_tokens(build_prompt(items[len(items) - kept :], catalogue, len(items)))

    least, most = 0, len(items)  # `most` items do not fit
    while least + 1 < most:
        middle = (least + most) // 2
        least, most = (middle, most) if tokens(middle) <= max_tokens else (least, middle)
    while tokens(least) > max_tokens:
        if not least:
            raise InputError(
                "the prompt is too long even without an item", field="backbone.max_prompt_tokens",
                value=max_tokens, rule=f"at least {tokens(0)} tokens for the instruction alone",
                cure="raise backbone.max_prompt_tokens, or take a backbone with a longer context",
            )  # fmt: skip
        least -= 1
    return items[len(items) - least :]
