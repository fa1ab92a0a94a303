"""Whether two model folders read and write with the same tokenizer, by hash of what their files say.

Files are compared and no tokenizer is loaded, so that a stage without torch can ask. Not here: tokenizing (`source`).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from rporec.errors import InputError
from rporec.files import read_json, sha256_file

_RULES, _CONFIG, _TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
# Where a tokenizer has no rules file, these hold its vocabulary.
_VOCABULARIES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "merges.txt", "vocab.txt")
_OF_THE_LAST_CALL = ("padding", "truncation")
_NONE = "none"


def require_same_tokenizer(policy: Path, backbone: Path) -> None:
    """Refuse a policy that does not read and write with the backbone's tokenizer.

    Args:
        policy: folder of the policy.
        backbone: folder of the backbone that it began as.

    Raises:
        InputError: it has another one, or none that can be read.
    """
    found, wanted = (tokenizer_hash(folder) for folder in (policy, backbone))
    if found != wanted or found == _NONE:
        raise InputError(
            "the policy's tokenizer is not the backbone's", file=policy, field="tokenizer", value=found, rule=wanted,
            cure="remove this folder and run the stage align again: a policy keeps the tokenizer that it began with",
        )  # fmt: skip


def tokenizer_hash(folder: Path) -> str:
    """Return a hash of what the tokenizer in a folder does, hexadecimal; `none` where there is none to read.

    Vocabulary, rules, end token and chat template count; how the last texts were padded or cut does not.
    """
    try:
        told = {name: sha256_file(folder / name) for name in _VOCABULARIES if (folder / name).is_file()}
        if (folder / _RULES).is_file():
            rules: dict[str, Any] = read_json(folder / _RULES)
            told = {name: repr(rule) for name, rule in rules.items() if name not in _OF_THE_LAST_CALL}
        config: dict[str, Any] = read_json(folder / _CONFIG)
    except (OSError, ValueError):
        return _NONE
    if not told:
        return _NONE
    end = config.get("eos_token")
    template = folder / _TEMPLATE
    text = template.read_text(encoding="utf-8") if template.is_file() else config.get("chat_template")
    # Written as its text alone, or as text and habits.
    said = (sorted(told.items()), end["content"] if isinstance(end, dict) else end, text)
    return hashlib.sha256(repr(said).encode()).hexdigest()[:16]
