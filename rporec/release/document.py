"""A short document written once and shown twice: as Markdown and as an HTML page that opens offline.

All text is data: what a title holds changes neither form. Not a template engine; sections of paragraphs, lists, tables.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from rporec.evaluation import markup

_MARKED = re.compile(r"[\\`*\[\]<>|~]|(?<!\w)_|_(?!\w)")
_LONGEST = 2000  # characters of one text, as on every page


@dataclass(frozen=True)
class Paragraph:
    """One paragraph."""

    text: str


@dataclass(frozen=True)
class Points:
    """A list."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class Grid:
    """A table; the first column is text, the others are figures."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    name: str
    blocks: tuple[Paragraph | Points | Grid, ...]


def markdown(title: str, sections: Sequence[Section]) -> str:
    """Return the document as Markdown; sections without blocks are left out."""
    parts = [f"# {plain(title)}"]
    for section in sections:
        if section.blocks:
            parts += [f"## {plain(section.name)}", *(_markdown(block) for block in section.blocks)]
    return "\n\n".join(parts) + "\n"


def html(title: str, sections: Sequence[Section]) -> str:
    """Return the document as one HTML page, everything inline; sections without blocks are left out."""
    return markup.page(title, [(section.name, "".join(map(_html, section.blocks))) for section in sections])


def plain(text: str) -> str:
    """Return any text as one line of Markdown that shows it."""
    cut = text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
    line = "".join(letter if letter.isprintable() else " " for letter in cut)
    return _MARKED.sub(lambda found: f"\\{found[0]}", line)


def _markdown(block: Paragraph | Points | Grid) -> str:
    if isinstance(block, Paragraph):
        return plain(block.text)
    if isinstance(block, Points):
        return "\n".join(f"- {plain(text)}" for text in block.texts)
    rule = f"|---|{'---:|' * (len(block.head) - 1)}"
    return "\n".join([_row(block.head), rule, *map(_row, block.rows)])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(plain, cells))} |"


def _html(block: Paragraph | Points | Grid) -> str:
    if isinstance(block, Paragraph):
        return f"<p>{markup.text(block.text)}</p>"
    if isinstance(block, Points):
        return f"<ul>{''.join(f'<li dir=auto>{markup.text(text)}</li>' for text in block.texts)}</ul>"
    return markup.table(block.head, [[escape(cell) for cell in row] for row in block.rows])
