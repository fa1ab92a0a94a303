"""The one parser of completions: strict, so that a broken format never reaches the Rechead or the reward.

A completion is well formed when it holds each of the four tags exactly once, in the order
``<think> </think> <answer> </answer>``, letter by letter (no capitals, spaces or attributes), with at least one visible
character in both parts: a NUL or a zero-width space says nothing, and would otherwise buy the reward of a full format.
Text outside the two parts is allowed but counted, because the reward charges for it. This module does not judge what
the text says (see `ground`).
"""

from dataclasses import dataclass

THINK_OPEN = "<think>"
THINK_CLOSE = "</think>"
ANSWER_OPEN = "<answer>"
ANSWER_CLOSE = "</answer>"
_TOLD = 200  # characters of a text in an error
TAGS = (THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE)


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a completion says.

    Attributes:
        thought: text inside the think tags, outer white space removed; "" unless well formed.
        answer: text inside the answer tags, outer white space removed; "" unless well formed.
        well_formed: whether the format rule of this module holds.
        outside: characters outside the two parts (before, between and after), outer white space of each gap not
            counted; the whole stripped completion where the format is broken.
    """

    thought: str
    answer: str
    well_formed: bool
    outside: int


NO_REASONING = Parsed(thought="", answer="", well_formed=False, outside=0)


def parse(completion: str) -> Parsed:
    """Read a completion; never raises, whatever the text.

    Args:
        completion: the text as generated, without its prompt and without the end token.

    Returns:
        The thought and answer, or a `Parsed` that is not well formed and holds neither.
    """
    places = [completion.find(tag) for tag in TAGS]
    once = all(completion.count(tag) == 1 for tag in TAGS)
    if not once or places != sorted(places):
        return _broken(completion)
    think, think_end, answer, answer_end = places
    thought = completion[think + len(THINK_OPEN) : think_end].strip()
    guess = completion[answer + len(ANSWER_OPEN) : answer_end].strip()
    if not _visible(thought) or not _visible(guess):
        return _broken(completion)
    gaps = (
        completion[:think],
        completion[think_end + len(THINK_CLOSE) : answer],
        completion[answer_end + len(ANSWER_CLOSE) :],
    )
    return Parsed(thought=thought, answer=guess, well_formed=True, outside=sum(len(gap.strip()) for gap in gaps))


def between(completion: str) -> int:
    """Return the characters between thought and answer of a well-formed completion, outer white space left out."""
    gap = completion[completion.find(THINK_CLOSE) + len(THINK_CLOSE) : completion.find(ANSWER_OPEN)]
    return len(gap.strip())


def render(thought: str, answer: str) -> str:
    """Write a completion that `parse` reads back as exactly this thought and answer.

    Args:
        thought: text free of tags (pass catalogue text through `neutralise` first), with a visible character.
        answer: as thought.

    Raises:
        ValueError: if a part is blank or holds a tag; a caller that composes text must neutralise it.
    """
    completion = f"{THINK_OPEN}{thought}{THINK_CLOSE}{ANSWER_OPEN}{answer}{ANSWER_CLOSE}"
    if parse(completion) != Parsed(thought.strip(), answer.strip(), well_formed=True, outside=0):
        raise ValueError(f"thought and answer must be written text without tags, got {completion[:_TOLD]!r}")
    return completion


def neutralise(text: str) -> str:
    """Make catalogue text harmless inside prompts and completions.

    Angle brackets become their typographic twins (no tag and no special token such as ``<|im_end|>`` can be formed),
    double quotes become single ones, and runs of white space and control characters become one space.
    """
    swapped = text.translate(_HARMLESS)
    if not swapped.isprintable():
        swapped = "".join(letter if letter.isprintable() else " " for letter in swapped)
    return " ".join(swapped.split())


_HARMLESS = str.maketrans({"<": "‹", ">": "›", '"': "'", "“": "'", "”": "'", "„": "'"})


def _visible(text: str) -> bool:
    return any(letter.isprintable() and not letter.isspace() for letter in text)


def _broken(completion: str) -> Parsed:
    return Parsed(thought="", answer="", well_formed=False, outside=len(completion.strip()))
