"""Small charts as inline SVG: no script, no font, no picture from outside, so a report opens offline and bytes repeat.

All text that comes in is escaped here. Not a plotting library: bars with intervals and lines over a step, nothing more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

_COLOURS = ("#2f6fde", "#d9622b", "#3a9b5c", "#8a5cc2", "#b58a1b", "#c2467d", "#4aa3b5", "#777777")
_ALONE = (  # what a page's style sheet says of charts
    "text{font:12px system-ui,sans-serif;fill:#1c2430}.axis{stroke:#5f6b7a}.whisker{stroke:#1c2430;fill:none}"
)
_LABEL, _PLOT, _VALUE, _ROW = 210, 420, 190, 24


@dataclass(frozen=True)
class Bar:
    """One bar: its label, value, and the interval's ends where known; `strong` for the one that the chart is about."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    strong: bool = False


def bar_chart(title: str, bars: Sequence[Bar]) -> str:
    """Return horizontal bars from 0 with whiskers and figures; values may be below 0."""
    return _figure(title, *_bars(bars)) if bars else _empty(title)


def bar_file(title: str, bars: Sequence[Bar], notes: Sequence[str] = ()) -> str:
    """Return the same bars as an SVG file of its own, with its title on top and notes below; at least one bar."""
    body, width, height = _bars(bars)
    below = "".join(
        f'<text x="8" y="{height + 50 + 16 * place}">{escape(note)}</text>' for place, note in enumerate(notes)
    )
    whole = height + 46 + 16 * len(notes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{whole:g}" '
        f'viewBox="0 0 {width:g} {whole:g}" role="img" aria-label="{escape(title)}">'
        f'<style>{_ALONE}</style><rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="8" y="20" font-weight="600">{escape(title)}</text><g transform="translate(0 34)">{body}</g>{below}'
        "</svg>\n"
    )


def _bars(bars: Sequence[Bar]) -> tuple[str, float, float]:
    """Return what is drawn, its width and its height."""
    ends = [0.0, *(x for bar in bars for x in (bar.value, bar.low, bar.high) if x is not None)]
    low, high = min(ends), max(ends)
    span = (high - low) or 1.0

    def place(value: float) -> float:
        return _LABEL + (value - low) / span * _PLOT

    parts = []
    for row, bar in enumerate(bars):
        top = row * _ROW + 6
        left, right = sorted((place(0.0), place(bar.value)))
        colour = _COLOURS[0] if bar.strong else "#9aa7b8"
        figures = f"{bar.value:.4f}"
        parts.append(f'<text x="{_LABEL - 8}" y="{top + 11}" text-anchor="end">{escape(bar.label)}</text>')
        parts.append(f'<rect x="{left:.1f}" y="{top}" width="{right - left:.1f}" height="14" fill="{colour}"/>')
        if bar.low is not None and bar.high is not None:
            a, b = place(bar.low), place(bar.high)
            parts.append(
                f'<path d="M{a:.1f} {top + 3}v8M{a:.1f} {top + 7}H{b:.1f}M{b:.1f} {top + 3}v8" class="whisker"/>'
            )
            figures += f" [{bar.low:.4f}, {bar.high:.4f}]"
        parts.append(f'<text x="{_LABEL + _PLOT + 8}" y="{top + 11}">{figures}</text>')
    height = len(bars) * _ROW + 8
    parts.append(f'<path d="M{place(0.0):.1f} 0V{height}" class="axis"/>')
    return "".join(parts), _LABEL + _PLOT + _VALUE, height


def line_chart(title: str, across: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Return lines over a common x (named by `across`); points that are not finite are left out."""
    finite = {
        name: [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)] for name, points in series.items()
    }
    finite = {name: points for name, points in finite.items() if points}
    if not finite:
        return _empty(title)
    width, height, left, bottom = 620, 220, 64, 28
    xs = [x for points in finite.values() for x, _ in points]
    ys = [y for points in finite.values() for _, y in points]
    x_span, y_span = (max(xs) - min(xs)) or 1.0, (max(ys) - min(ys)) or 1.0
    parts = [f'<path d="M{left} 8V{height - bottom}H{width - 8}" class="axis" fill="none"/>']
    for value, at in ((max(ys), 16), (min(ys), height - bottom)):
        parts.append(f'<text x="{left - 6}" y="{at}" text-anchor="end">{value:.4g}</text>')
    parts.append(f'<text x="{left}" y="{height - 8}">{min(xs):g}</text>')
    parts.append(f'<text x="{width - 8}" y="{height - 8}" text-anchor="end">{escape(across)} {max(xs):g}</text>')
    for position, (name, points) in enumerate(finite.items()):
        colour = _COLOURS[position % len(_COLOURS)]
        dashes = ' stroke-dasharray="6 4"' * (position >= len(_COLOURS))  # the colours come round again
        path = " ".join(
            f"{left + (x - min(xs)) / x_span * (width - left - 8):.1f},"
            f"{8 + (max(ys) - y) / y_span * (height - bottom - 8):.1f}"
            for x, y in points
        )
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>')
        y = 18 + position * 16
        parts.append(f'<path d="M{width + 4} {y - 4}h18" stroke="{colour}" stroke-width="2"{dashes}/>')
        parts.append(f'<text x="{width + 28}" y="{y}">{escape(name)}</text>')
    return _figure(title, "".join(parts), width + 190, max(height, 24 + 16 * len(finite)))


def _figure(title: str, body: str, width: float, height: float) -> str:
    told = escape(title)
    return (
        f'<figure><figcaption>{told}</figcaption><svg viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="{told}">{body}</svg></figure>'
    )


def _empty(title: str) -> str:
    return f"<figure><figcaption>{escape(title)}</figcaption><p>nothing to show</p></figure>"
