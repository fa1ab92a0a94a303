"""The page about the written reasoning (reasoning.html): the figures of reasoning.json, how they are defined, samples.

Opens offline. Only shows; what is measured, and how, is in `rporec.reasoning`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rporec.evaluation.markup import figure, mark, page, table, text
from rporec.reasoning.figures import QUANTILES

_FORM = {
    "well_formed": "completions well formed",
    "grounded": "of what a thought names, found in the prompt (mean)",
    "fully_grounded": "thoughts of which all was found there",
    "named": "names a thought has that were found there (mean)",
}
_DIVERSITY = {
    "different": "texts that differ from each other (share)",
    "distinct_1": "distinct-1",
    "distinct_2": "distinct-2",
    "self_bleu_4": "self-BLEU-4 (sample; 1 = all alike)",
}
_COPIES = {
    "thoughts_composed": "thoughts that equal a composed thought of the fine-tuning",
    "answers_composed": "answers that equal a composed answer of the fine-tuning",
    "answers_lines": "answers that equal a line of the catalogue",
}
_TOLD = {
    "rows": "rows that can tell",
    "named": "texts that name their own target by words nobody could know",
    "by_chance": "texts of other groups that name the same target",
    "excess": "excess",
    "margin": "excess let pass",
}
_DEFINITIONS = (
    "Well formed: the four tags once each, in order, something visible in both parts. All other figures but the tokens "
    "are of well-formed completions.",
    "Grounded: brands, categories, title words and numbers that the thought names and the prompt holds.",
    "Words: lower case, punctuation at their edges removed; lengths in words are split at white space.",
    "Distinct-n: different n-grams over all n-grams; it falls with the number of texts.",
    "Self-BLEU-4: mean BLEU-4 (orders 1 to 4 that the text has, an order without a match counts as a tenth of one, "
    "brevity penalty against the nearest length) of at most 500 texts, each against all others of the sample.",
    "Told: words of a target that stand in no other item, no prompt and no everyday English, for targets that no fit "
    "row holds (an item without such a word: its name, where no other has it). A writer that works from the history "
    "names them as seldom as the texts for other customers do.",
)


def render_reasoning(title: str, found: Mapping[str, Any]) -> str:
    """Return the page.

    Args:
        title: its heading.
        found: reasoning.json (see `rporec.evaluation.written`).
    """
    texts = {_shown(name): one for name, one in found["texts"].items()}
    counts = "; ".join(f"{name}: {one['completions']} texts for {one['groups']} groups" for name, one in texts.items())
    judged = f"The {found['ships']} ships. {counts}. Fine-tuned on {found['composed']} composed texts."
    sections = [
        ("What was judged", f'<p class="dim">{text(judged)}</p>'),
        ("Form and truth", _shares(texts, "form", _FORM)),
        ("Told targets", _told(texts)),
        ("Variety", "".join(_variety(texts, part) for part in ("thoughts", "answers"))),
        ("Length", _lengths(texts)),
        ("Copies", _shares(texts, "copies", _COPIES)),
        ("Good samples", _samples(found["samples"]["good"])),
        ("Bad samples", _samples(found["samples"]["bad"])),
        ("How it is measured", "".join(f'<p class="dim">{text(line)}</p>' for line in _DEFINITIONS)),
    ]
    return page(title, sections)


def _shown(name: str) -> str:
    return name.replace("_", ", ")


def _shares(texts: Mapping[str, Any], part: str, names: Mapping[str, str]) -> str:
    rows = [[shown, *(figure(one[part][key]) for one in texts.values())] for key, shown in names.items()]
    return table(["share", *texts], rows)


def _told(texts: Mapping[str, Any]) -> str:
    rows = [[shown, *(figure(one["told"][key]) for one in texts.values())] for key, shown in _TOLD.items()]
    return table(["", *texts], [*rows, ["verdict", *(mark(_verdict(one["told"])) for one in texts.values())]])


def _verdict(told: Mapping[str, Any]) -> str:
    if not told["rows"]:
        return "not_applicable"
    return "fail" if told["told"] else "pass"


def _variety(texts: Mapping[str, Any], part: str) -> str:
    rows = [
        [shown, *(figure(one["diversity"][part][key]) for one in texts.values())] for key, shown in _DIVERSITY.items()
    ]
    return table([part, *texts], rows)


def _lengths(texts: Mapping[str, Any]) -> str:
    rows = []
    for name, one in texts.items():
        for key, found in one["lengths"].items():
            cells = ["–"] * len(QUANTILES) if found is None else [f"{value:g}" for value in found]
            rows.append([text(f"{name}: {key.replace('_', ', ')}"), *cells])
    return table(["quantile", *(f"{share:.0%}" for share in QUANTILES)], rows)


def _samples(samples: Sequence[Mapping[str, Any]]) -> str:
    return "".join(_sample(sample) for sample in samples)


def _sample(sample: Mapping[str, Any]) -> str:
    parts = [("bought", "\n".join(sample["shown"]))]
    if sample["well_formed"]:
        parts += [("thought", sample["thought"]), ("answer", sample["answer"])]
    else:
        parts.append(("completion, not well formed", sample["completion"]))
    if sample["missing"]:
        parts.append(("named, but not in the history", ", ".join(sample["missing"])))
    told = "".join(f'<div class="dim">{name}</div><pre dir="auto">{text(value)}</pre>' for name, value in parts)
    head = f"{_shown(sample['texts'])}, group {sample['group']}, grounded {sample['grounded']:.2f}"
    return f'<div class="sample"><b>{text(head)}</b>{told}</div>'
