"""The plot of a replay as one SVG file: NDCG@10 of the next day by night, and which nights were promoted.

No script, no font, no picture from outside, so it opens offline. Not a plotting library.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

_COLOURS = {"champion": "#2f6fde", "frozen": "#d9622b", "markov": "#9aa7b8", "markov_all": "#3a9b5c"}
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM, _LEGEND = 760, 300, 60, 40, 46, 190
_STYLE = "text{font:12px system-ui,sans-serif;fill:#1c2430}.axis{stroke:#5f6b7a;fill:none}.grid{stroke:#e3e7ec}"


def draw(title: str, nights: Sequence[dict[str, Any]], metric: str) -> str:
    """Return the plot.

    Args:
        title: stands above it.
        nights: of replay.json, oldest first; a null breaks the line.
        metric: which of their figures is drawn.
    """
    values = [value for night in nights for value in night[metric].values() if value is not None]
    top = max(values, default=1.0) * 1.08 or 1.0
    step = (_WIDTH - _LEFT - 10) / max(1, len(nights) - 1)

    def at(place: int, value: float) -> tuple[float, float]:
        return _LEFT + step * place, _TOP + (1 - value / top) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [f'<text x="8" y="20" font-weight="600">{escape(title)}</text>']
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = at(0, top * share)[1]
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - 10}" class="{"grid" if share else "axis"}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{top * share:.3f}</text>')
    for place, night in enumerate(nights):
        x = at(place, 0.0)[0]
        if place % max(1, round(len(nights) / 14)) == 0:
            parts.append(
                f'<text x="{x:.1f}" y="{_HEIGHT - 26}" text-anchor="middle">{escape(night["date"][5:])}</text>'
            )
        fill = _COLOURS["champion"] if night["promoted"] else "#fff"
        parts.append(f'<circle cx="{x:.1f}" cy="{_HEIGHT - 12}" r="4" fill="{fill}" stroke="{_COLOURS["champion"]}"/>')
    for row, (name, colour) in enumerate(_COLOURS.items()):
        for run in _runs([night[metric][name] for night in nights]):
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(place, value) for place, value in run))
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in (at(*p) for p in run)]
        y = _TOP + 10 + 18 * row
        parts.append(f'<path d="M{_WIDTH + 4} {y - 4}h18" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{_WIDTH + 28}" y="{y}">{escape(name)}</text>')
    parts.append(f'<text x="{_WIDTH + 4}" y="{_HEIGHT - 8}">filled: promoted that night</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH + _LEGEND}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH + _LEGEND} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f'<style>{_STYLE}</style><rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def _runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """Return the stretches without a null, as (place, value)."""
    runs: list[list[tuple[int, float]]] = [[]]
    for place, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((place, value))
    return [run for run in runs if run]
