"""The prompt: the newest items of a history as compact lines, newest last, then evidence, then the instruction.

One item has one line, the same wherever it stands: in the prompt, in composed answers, in checks of an answer. Chat
templates are not applied here (see `rporec.backbone.source`), and evidence is looked up elsewhere (`lookup`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rporec.catalogue import Catalogue
from rporec.errors import InputError
from rporec.reasoning.parse import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN, neutralise
from rporec.reasoning.words import EVERYDAY

OPENING = "A customer bought, oldest first:"
LINE = "\n- "
# Of evidence, in the order of the prompt; what stands last goes first where the budget is short.
FOLLOWED = "\nOften bought next:"
NEIGHBOURS = "\nMost like the last:"
DESCRIBED = "\nOf the last it is said:"
HEADINGS = (FOLLOWED, NEIGHBOURS, DESCRIBED)
INSTRUCTION = (
    "\nThink briefly about what these items say, then describe the one item bought next as such a line. Write exactly "
    f"{THINK_OPEN}one or two sentences{THINK_CLOSE}{ANSWER_OPEN}brand and title words; category; price{ANSWER_CLOSE}\n"
)

_WORD_CHARACTERS, _PART_CHARACTERS, _READ_CHARACTERS = 24, 96, 1000
_EDGES = ".,;:!?()[]{}'*•·–—-"


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of evidence.

    Attributes:
        heading: one of HEADINGS; lines of one heading stand together.
        text: one harmless line, as it stands in the prompt.
        item: index of the item that it is the line of, None for words of a description.
        times: how often the item followed; 0 for other kinds.
    """

    heading: str
    text: str
    item: int | None = None
    times: int = 0


@dataclass(frozen=True, slots=True)
class FittedPrompts:
    """Prompts that fit a token budget.

    Attributes:
        prompts: B prompts.
        shown: B histories as shown in the prompts (item indices, oldest first).
        shortened: prompts that lost items to the budget.
        dropped: items lost to the budget, over all prompts.
        facts: B times the evidence as shown in the prompts.
        withheld: lines of evidence lost to the budget, over all prompts.
    """

    prompts: list[str]
    shown: list[list[int]]
    shortened: int
    dropped: int
    facts: list[tuple[Fact, ...]]
    withheld: int


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


def telling_words(item: int, catalogue: Catalogue, most: int) -> list[str]:
    """Return up to `most` words of an item's description that its line does not hold and that are not everyday ones."""
    seen = {word.strip(_EDGES).casefold() for word in item_line(item, catalogue).split()} | EVERYDAY
    words: list[str] = []
    for written in neutralise(catalogue.descriptions[item][:_READ_CHARACTERS]).split():
        word = written.strip(_EDGES)[:_WORD_CHARACTERS]
        if len(words) == most:
            break
        if any(map(str.isalnum, word)) and word.casefold() not in seen:
            seen.add(word.casefold())
            words.append(word)
    return words


def build_prompt(history: Sequence[int], catalogue: Catalogue, max_items: int, facts: Sequence[Fact] = ()) -> str:
    """Return the prompt for a history.

    Args:
        history: item indices, oldest first; may be empty.
        catalogue: their texts.
        max_items: newest items shown (items).
        facts: evidence, in the order of the headings.
    """
    shown = list(history)[-max_items:]
    lines = "".join(f"{LINE}{item_line(item, catalogue)}" for item in shown) or f"{LINE}nothing yet"
    return f"{OPENING}{lines}{render_facts(facts)}{INSTRUCTION}"


def render_facts(facts: Sequence[Fact]) -> str:
    """Return evidence as it stands in a prompt: each heading once, items as lines; "" without any."""
    text, heading = "", ""
    for fact in facts:
        text += fact.heading if fact.heading != heading else ""
        text += f" {fact.text}" if fact.item is None else f"{LINE}{fact.text}"
        heading = fact.heading
    return text


def split_prompt(prompt: str) -> tuple[list[str], str]:
    """Return the history's lines of a prompt and its evidence as text ("" without); item texts hold no line break."""
    body = prompt.removeprefix(OPENING).removesuffix(INSTRUCTION)
    start = min((at for at in map(body.find, HEADINGS) if at >= 0), default=len(body))
    return body[:start].split(LINE)[1:], body[start:]


def fit_prompts(
    histories: Sequence[Sequence[int]],
    catalogue: Catalogue,
    max_items: int,
    max_tokens: int,
    count_tokens: Callable[[str], int],
    facts: Sequence[Sequence[Fact]] | None = None,
) -> FittedPrompts:
    """Build prompts that fit `max_tokens`; where one does not, first its evidence goes, then its oldest items.

    Evidence goes line by line from the last. What goes is counted.

    Args:
        histories: B histories of item indices, oldest first.
        catalogue: their texts.
        max_items: newest items shown (items).
        max_tokens: budget of one prompt (tokens).
        count_tokens: length of a prompt as the model reads it (tokens).
        facts: B times the evidence; None = no evidence.

    Raises:
        InputError: not even a prompt without items fits.
    """
    prompts: list[str] = []
    shown: list[list[int]] = []
    told: list[tuple[Fact, ...]] = []
    shortened = dropped = withheld = 0
    for history, known in zip(histories, facts or [()] * len(histories), strict=True):
        items, kept = list(history)[-max_items:], list(known)
        wanted = len(items)
        prompt = build_prompt(items, catalogue, max_items, kept)
        while kept and count_tokens(prompt) > max_tokens:
            kept.pop()
            prompt = build_prompt(items, catalogue, max_items, kept)
        if not kept and count_tokens(prompt) > max_tokens:
            items = _newest_that_fit(items, catalogue, max_tokens, count_tokens)
            prompt = build_prompt(items, catalogue, max_items)
        shortened += len(items) < wanted
        dropped += wanted - len(items)
        withheld += len(known) - len(kept)
        prompts.append(prompt)
        shown.append(items)
        told.append(tuple(kept))
    return FittedPrompts(prompts, shown, shortened, dropped, told, withheld)


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
