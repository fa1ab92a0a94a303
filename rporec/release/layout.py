"""How a package folder is laid out, and the settings that serving reads from it. Light: no torch, no MLflow."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import polars as pl

from rporec.errors import InputError
from rporec.files import read_json, write_json
from rporec.tables import Table

RECHEAD, WRITER, ITEMS, POPULARITY = "rechead", "writer", "items.parquet", "popularity.parquet"
EVIDENCE = "evidence.safetensors"  # only where prompts show some
SERVING, LINEAGE, PARAMS, METRICS = "serving.json", "lineage.json", "params.json", "metrics.json"
CARD, CARD_PAGE = "card.md", "card.html"
POPULARITY_TABLE = Table("popularity", {"item_id": pl.String(), "count": pl.Int64()})


@dataclass(frozen=True)
class Settings:
    """What serving must know of the params that the package was made with (`serving.json`).

    Args:
        history_length: newest history items that the Rechead reads.
        prompt_items: newest history items shown in the prompt.
        max_prompt_tokens: budget of the prompt [tokens].
        max_reasoning_tokens: budget of the reasoning written live [tokens].
        writer_dtype: number format of the writer, "float32" or "bfloat16".
        threads: CPU threads of one worker.
        default_k: items returned unless asked otherwise.
        max_k: most items a request may ask for.
        max_history: most history items a request may hold.
        evidence: what prompts show beside the history, as `rporec.reasoning.lookup.Kinds`; {} in packages older than
            evidence, which show nothing.
    """

    history_length: int
    prompt_items: int
    max_prompt_tokens: int
    max_reasoning_tokens: int
    writer_dtype: str
    threads: int
    default_k: int
    max_k: int
    max_history: int
    evidence: dict[str, int] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write serving.json into a package folder."""
        write_json(folder / SERVING, asdict(self))

    @staticmethod
    def load(folder: Path) -> Settings:
        """Read serving.json of a package.

        Raises:
            InputError: it cannot be read.
        """
        try:
            return Settings(**read_json(folder / SERVING))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"the serving settings of the package cannot be read: {error}",
                file=folder / SERVING, cure="build the package with this version of the code (make run)",
            ) from error  # fmt: skip
