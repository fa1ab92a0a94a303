"""Parts of an HTML page that opens offline: the frame with its style inline, tables, figures, statuses.

For the pages of this package alone. What comes in as text is escaped here; table cells and sections are HTML already.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_MOST = 2000  # characters of one text: some titles have 10,000
_STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--dim:#5f6b7a;--line:#d8dee6;--back:#fff;--card:#f6f8fa}
@media(prefers-color-scheme:dark){:root{--ink:#e4e9ef;--dim:#9aa7b8;--line:#39424e;--back:#12171d;--card:#1a2129}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);max-width:1000px;
  margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid var(--line)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}.wide{overflow-x:auto}
th,td{text-align:right;padding:.25rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
th:first-child,td:first-child,.text{text-align:left}tr.own{font-weight:600}
figure{margin:1rem 0;overflow-x:auto}figure svg{min-width:620px}
figcaption,.dim{color:var(--dim);font-size:.9rem}svg{width:100%;height:auto;font:12px system-ui,sans-serif}
svg text{fill:currentColor}.axis{stroke:var(--dim)}.whisker{stroke:currentColor;fill:none}
.pass{color:#2f8f4e}.fail{color:#d1432f}
pre{white-space:pre-wrap;margin:.2rem 0 .6rem;font:13px/1.45 ui-monospace,monospace}
td,pre,.sample div{unicode-bidi:isolate;overflow-wrap:anywhere}
td:not(.text),td b{white-space:nowrap}td:last-child.text{min-width:16rem}h1,h2,p{overflow-wrap:anywhere}
.sample{background:var(--card);border-radius:8px;padding:.7rem 1rem;margin:.7rem 0}
"""


def page(title: str, sections: Sequence[tuple[str, str]]) -> str:
    """Return a whole page: a heading and the HTML of each section; empty ones are left out."""
    body = "".join(f"<h2>{text(name)}</h2>{html}" for name, html in sections if html)
    shown = text(title)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{shown}</title><style>{_STYLE}</style></head><body><h1>{shown}</h1>{body}</body></html>\n"
    )


def text(value: str) -> str:
    """Return any text as HTML that shows it: escaped, cut after 2,000 characters, control characters made visible."""
    shown = "".join(letter if letter.isprintable() or letter == "\n" else _control(letter) for letter in value[:_MOST])
    more = f" … ({len(value) - _MOST} characters more)" if len(value) > _MOST else ""
    return escape(shown + more)


def figure(value: float | int | None, digits: int = 4) -> str:
    """Return a number as the report writes it; unknown is a dash, large ones (milliseconds, MB) need no fractions."""
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:z.{digits if abs(value) < 100 else 0}f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], text: set[int] | None = None) -> str:
    """Return a table; cells are HTML already, those in `text` columns are set to the left."""
    kinds = [' class="text"' * (place in (text or ())) for place in range(len(head))]
    top = "".join(f"<th{kind}>{escape(name)}</th>" for kind, name in zip(kinds, head, strict=True))
    body = ""
    for row in rows:
        cells = "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True))
        own = ' class="own"' if row[0] == "rporec" else ""
        body += f"<tr{own}>{cells}</tr>"
    return f'<div class="wide"><table><tr>{top}</tr>{body}</table></div>'


def mark(status: str) -> str:
    """Return a status such as pass, fail or not_applicable in its colour."""
    shade = status if status in ("pass", "fail") else "dim"
    return f'<b class="{shade}">{escape(status.replace("_", " "))}</b>'


def _control(letter: str) -> str:
    # A joiner makes one picture of several emoji; an override of direction would turn the page around.
    return letter if letter == "\u200d" else f"\\u{ord(letter):04x}"
