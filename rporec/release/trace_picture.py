"""The lineage as a picture: one SVG file that opens offline, boxes from the served bytes down to the source files.

Nothing from outside, all text escaped; what a box says is `rporec.release.trace`.
"""

from __future__ import annotations

import itertools
import textwrap
from dataclasses import dataclass
from html import escape

from rporec.release.trace import Link, Trace

_LEFT = ("served bytes", "version", "verdict", "parent champion")
_RIGHT = ("commit", "params", "dvc.lock", "data tables", "source files")
_COLOURS = {"verified": "#2f8f4e", "stated": "#5f6b7a", "broken": "#d1432f"}
_WIDTH, _GAP, _TOP, _LINE, _LETTERS = 500, 34, 62, 17, 66  # pixels, but letters of a line
_LEFT_X, _RIGHT_X = 20, 600
_STYLE = (
    "text{font:12px ui-monospace,monospace;fill:#1c2430}.name{font:600 14px system-ui,sans-serif}"
    ".title{font:600 18px system-ui,sans-serif}.arrow{stroke:#5f6b7a;fill:none;stroke-width:1.5;marker-end:url(#end)}"
)
_MARKER = (
    '<defs><marker id="end" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
    '<path d="M0 0L8 4L0 8z" fill="#5f6b7a"/></marker></defs>'
)


@dataclass(frozen=True)
class _Box:
    link: Link
    x: int
    y: int
    lines: tuple[str, ...]

    @property
    def height(self) -> int:
        return 34 + _LINE * len(self.lines)

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


def svg(trace: Trace) -> str:
    """Return the picture as an SVG file."""
    boxes = {**_column(trace, _LEFT, _LEFT_X), **_column(trace, _RIGHT, _RIGHT_X)}
    height = max(box.y + box.height for box in boxes.values()) + 44
    width = _RIGHT_X + _WIDTH + 20
    arrows = [_down(boxes[a], boxes[b]) for a, b in itertools.pairwise(_LEFT)]
    arrows += [_across(boxes["version"], boxes[name]) for name in ("commit", "params", "dvc.lock")]
    arrows += [_down(boxes["dvc.lock"], boxes["data tables"]), _down(boxes["data tables"], boxes["source files"])]
    end = f"broken at {', '.join(trace.broken)}" if trace.broken else "whole: every link that can be checked holds"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{escape(f"lineage of {trace.title}")}"><style>{_STYLE}</style>{_MARKER}'
        '<rect width="100%" height="100%" fill="#fff"/>'
        f'<text class="title" x="{_LEFT_X}" y="36">{escape(f"Lineage of {trace.title}")}</text>'
        f"{''.join(arrows)}{''.join(_drawn(name, box) for name, box in boxes.items())}"
        f'<text x="{_LEFT_X}" y="{height - 16}">{escape(end)}</text></svg>\n'
    )


def _column(trace: Trace, names: tuple[str, ...], x: int) -> dict[str, _Box]:
    boxes, y = {}, _TOP
    for name in names:
        link = trace.links[name]
        lines = tuple(part for line in link.lines for part in textwrap.wrap(line, _LETTERS) or [""])
        boxes[name] = _Box(link, x, y, lines)
        y += boxes[name].height + _GAP
    return boxes


def _drawn(name: str, box: _Box) -> str:
    colour = _COLOURS[box.link.state]
    rows = "".join(
        f'<text x="{box.x + 14}" y="{box.y + 42 + _LINE * row}">{escape(line)}</text>'
        for row, line in enumerate(box.lines)
    )
    return (
        f'<rect x="{box.x}" y="{box.y}" width="{_WIDTH}" height="{box.height}" rx="6" fill="#f6f8fa" stroke="#d8dee6"/>'
        f'<rect x="{box.x}" y="{box.y}" width="5" height="{box.height}" rx="2" fill="{colour}"/>'
        f'<text class="name" x="{box.x + 14}" y="{box.y + 22}">{escape(name)}</text>'
        f'<text x="{box.x + _WIDTH - 12}" y="{box.y + 22}" text-anchor="end" style="fill:{colour}">'
        f"{box.link.state}</text>{rows}"
    )


def _down(above: _Box, below: _Box) -> str:
    x = above.x + 60
    return f'<path class="arrow" d="M{x} {above.y + above.height}V{below.y}"/>'


def _across(left: _Box, right: _Box) -> str:
    bus = (_LEFT_X + _WIDTH + _RIGHT_X) / 2
    return f'<path class="arrow" d="M{left.x + _WIDTH} {left.middle:g}H{bus:g}V{right.middle:g}H{right.x}"/>'
