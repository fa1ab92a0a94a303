"""Data Docs that need no network: Great Expectations' pages with our own style, flat in one folder.

The library's pages load style sheets, fonts, scripts and a tracking picture from elsewhere, and fill their index by
script. Here their content is kept (suites, results, observed values, examples), everything that loads or needs a
script goes, and so do run times and paths: the same tables give the same bytes.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from html import escape
from html.parser import HTMLParser
from pathlib import Path

Findings = Mapping[str, Sequence[Mapping[str, object]]]
_KEPT = {
    "a", "br", "div", "h4", "h5", "h6", "li", "ol", "p", "pre", "span", "strong", "table", "tbody", "td", "th",
    "thead", "tr", "ul",
}  # fmt: skip
_DROPPED = {"script", "style", "button", "footer", "form", "svg"}  # with all that they hold
_VOID = {"br", "hr", "img", "input", "link", "meta"}
_BADGES = {"text-success": "pass", "text-danger": "fail", "text-warning": "warn"}
_STYLE = """
:root { --ink: #1d2733; --soft: #5c6b7a; --line: #dde3ea; --ground: #f5f7f9; --blue: #1f5fa8; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans",
  sans-serif; }
header { background: #16324f; color: #fff; padding: 14px 32px; display: flex; gap: 14px; align-items: baseline; }
header a { color: #fff; font-size: 20px; font-weight: 700; text-decoration: none; }
header span { color: #b9cbe0; }
main { max-width: 1140px; margin: 24px auto; padding: 0 24px; }
h1 { font-size: 24px; margin: 0 0 4px; }
h2, h5 { font-size: 18px; margin: 0; }
h6 { font-size: 14px; margin: 14px 0 4px; color: var(--soft); }
a { color: var(--blue); }
p { margin: 4px 0; }
.lead { color: var(--soft); margin-bottom: 16px; }
.toc { display: flex; flex-wrap: wrap; gap: 6px; margin: 0 0 18px; padding: 0; list-style: none; }
.toc a { display: block; padding: 2px 10px; border: 1px solid var(--line); border-radius: 12px; background: #fff;
  text-decoration: none; font-size: 13px; }
.card, .ge-section { background: #fff; border: 1px solid var(--line); border-radius: 8px; padding: 18px 22px;
  margin: 0 0 16px; scroll-margin-top: 10px; }
.ge-section .card { border: 0; border-left: 3px solid var(--line); border-radius: 0; padding: 0 0 0 12px;
  margin: 4px 0 10px; color: var(--soft); font-size: 14px; }
.ge-section .card h6 { display: none; }
table { border-collapse: collapse; width: 100%; margin: 10px 0 2px; }
th, td { text-align: left; vertical-align: top; padding: 7px 10px; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-size: 12px; text-transform: uppercase; letter-spacing: .04em; white-space: nowrap; }
tr:last-child > td { border-bottom: 0; }
td { overflow-wrap: break-word; }
td:first-child { white-space: nowrap; }
.rules { table-layout: fixed; }
.rules th:nth-child(1) { width: 78px; } .rules th:nth-child(2), .rules th:nth-child(3) { width: 130px; }
.table td:nth-child(3) { min-width: 150px; }
.table:not(.table-sm) td:first-child { width: 90px; }
.table-sm { width: auto; min-width: 320px; }
td table { font-size: 13px; margin: 8px 0; }
ul { padding-left: 20px; margin: 6px 0; }
code, .badge { font: 13px ui-monospace, "DejaVu Sans Mono", monospace; background: #eaf0f6; border-radius: 4px;
  padding: 1px 6px; }
.mark { display: inline-block; min-width: 46px; text-align: center; border-radius: 10px; padding: 1px 9px;
  font-size: 12px; font-weight: 700; color: #fff; }
.pass { background: #1c7c45; } .fail { background: #b3261e; } .warn { background: #9a6700; }
"""


def make_offline(folder: Path, findings: Findings) -> None:
    """Rewrite the library's site in `folder` into `index.html`, `result_<suite>.html` and `suite_<suite>.html`.

    Args:
        folder: the site as Great Expectations built it.
        findings: suite → its findings (table, column, rule, passed, observed), shown on the index.
    """
    pages = {f"suite_{path.stem}": path for path in folder.glob("expectations/*.html")}
    pages |= {f"result_{path.relative_to(folder).parts[1]}": path for path in folder.glob("validations/**/*.html")}
    texts = {name: _page(name, path.read_text(encoding="utf-8")) for name, path in sorted(pages.items())}
    shutil.rmtree(folder)
    folder.mkdir()
    for name, text in {**texts, "index": _index(findings)}.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")


def _page(name: str, text: str) -> str:
    reader = _Reader()
    reader.feed(text)
    reader.close()
    kind, _, suite = name.partition("_")
    title, lead = f"{suite}: the rules", "What must hold"
    if kind == "result":
        title, lead = f"{suite}: the results", "What was found"
    other = "result" if kind == "suite" else "suite"
    links = "".join(f'<li><a href="{escape(to)}">{escape(words)}</a></li>' for to, words in reader.sections)
    return _shell(
        title,
        f'<h1>{escape(title)}</h1><p class="lead">{lead}. Texts and ids were measured first: <code>_length</code> is a '
        "number of characters, <code>_code</code> a number that stands for an id. "
        f'<a href="{other}_{escape(suite)}.html">See the {other}</a>.</p>'
        f'<ul class="toc">{links}</ul>{"".join(reader.out)}',
    )


def _index(findings: Findings) -> str:
    suites, rows = [], []
    for suite, found in sorted(findings.items()):
        broken = sum(not one["passed"] for one in found)
        name = escape(suite)
        suites.append(
            f"<tr><td>{_mark(passed=not broken)}</td><td>{name}</td><td>{len(found)}</td><td>{broken}</td>"
            f'<td><a href="result_{name}.html">results</a> · <a href="suite_{name}.html">rules</a></td></tr>'
        )
        for one in found:
            cells = (one["table"], one["column"] or "whole table", one["rule"], one["observed"])
            text = "".join(f"<td>{escape(str(cell))}</td>" for cell in cells)
            rows.append((bool(one["passed"]), f"<tr><td>{_mark(passed=bool(one['passed']))}</td>{text}</tr>"))
    rows.sort(key=lambda row: row[0])  # what is broken comes first
    every = "".join(text for _, text in rows)
    broken = sum(not passed for passed, _ in rows)
    verdict = "All rules are kept" if not broken else f"{broken} of {len(rows)} rules are broken: the run stops"
    return _shell(
        "data contracts",
        f'<h1>Data contracts</h1><p class="lead">{_mark(passed=not broken)} {verdict}.</p>'
        '<div class="card"><h2>Suites</h2><table><thead><tr><th>Status</th><th>Suite</th><th>Rules</th>'
        f"<th>Broken</th><th>Pages</th></tr></thead><tbody>{''.join(suites)}</tbody></table></div>"
        '<div class="card"><h2>Every rule</h2><table class="rules"><thead><tr><th>Status</th><th>Table</th>'
        f"<th>Column</th><th>Rule</th><th>Observed</th></tr></thead><tbody>{every}</tbody></table></div>",
    )


def _mark(*, passed: bool) -> str:
    word = "pass" if passed else "fail"
    return f'<span class="mark {word}">{word}</span>'


def _shell(title: str, body: str) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>RPORec · {escape(title)}</title><style>{_STYLE}</style></head><body>"
        '<header><a href="index.html">RPORec</a><span>data contracts, checked by Great Expectations</span></header>'
        f"<main>{body}</main></body></html>\n"
    )


class _Reader(HTMLParser):
    """Keeps the content column of a page: `out` its HTML in pieces, `sections` what its table of contents names."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.out: list[str] = []
        self.sections: list[tuple[str, str]] = []
        self._open: list[tuple[str, str]] = []  # (tag, what closes it) within the column
        self._skipped = 0  # depth within an element that is dropped with all it holds
        self._link = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        classes = given.get("class", "").split()
        if not self._open:
            if "ge-navigation-sidebar-link" in classes:
                self._link = given["href"]
            if tag == "div" and "col-md-10" in classes:
                self._open.append((tag, ""))
        elif tag in _VOID:
            if tag == "br" and not self._skipped:
                self.out.append("<br>")
        elif self._skipped or tag in _DROPPED or _is_dead(tag, given, classes):
            self._skipped += 1
            self._open.append((tag, ""))
        else:
            opening = _opening(tag, given, classes)
            self.out.append(opening)
            closing = f"</{tag}>" if opening.startswith(f"<{tag}") else ""
            self._open.append((tag, closing))

    def handle_endtag(self, tag: str) -> None:
        self._link = "" if tag == "a" else self._link
        if tag in _VOID or tag not in [name for name, _ in self._open]:
            return
        while self._open:
            name, closing = self._open.pop()
            if self._skipped:
                self._skipped -= 1
            self.out.append(closing)
            if name == tag:
                break

    def handle_data(self, data: str) -> None:
        if self._link and data.strip():
            self.sections.append((self._link, data.strip()))
        if self._open and not self._skipped:
            self.out.append(escape(data.replace("Data asset: None", "")))


def _is_dead(tag: str, given: Mapping[str, str], classes: Sequence[str]) -> bool:
    """Whether an element only works with scripts, or tells of the run (times, paths) and not of the data."""
    machine = "collapse" in classes and "p-1" not in classes
    empty = "list-style-type:none" in given.get("style", "") and tag == "li"
    return ("data-toggle" in given and tag == "a") or "hidden" in given or "top" in classes or machine or empty


def _opening(tag: str, given: Mapping[str, str], classes: Sequence[str]) -> str:
    """Return the opening tag as it stays, "" where only the content stays."""
    if tag == "i":
        word = next((_BADGES[name] for name in classes if name in _BADGES), "")
        return f'<span class="mark {word}">{word}</span>' if word else ""
    href = given.get("href", "")
    if tag == "a" and not href.startswith("#"):
        stem = Path(href).stem
        local = "expectations/" in href and "://" not in href
        return f'<a href="suite_{escape(stem)}.html">' if local else ""
    if tag not in _KEPT:
        return ""
    kept = {"class": " ".join(classes), "href": href}
    kept["id"] = given["id"] if given.get("id", "").removeprefix("section-").isdigit() else ""
    attributes = "".join(f' {key}="{escape(value)}"' for key, value in kept.items() if value)
    return f"<{tag}{attributes}>"
