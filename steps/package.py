"""Stage package: everything that serves, as one folder whose manifest names every byte."""

from __future__ import annotations

import os
from typing import Any

from rporec import tables
from rporec.align.shipped import recheads_of
from rporec.backbone.tokens import require_same_tokenizer
from rporec.config import Params
from rporec.files import read_json
from rporec.release import build, signature
from rporec.release.layout import Settings
from steps.stage import Outcome, Stage, run_stage

SHIPPED = {"policy": "align/policy", "backbone": "backbone/model"}
SECTIONS = ("ingest", "sequence", "backbone", "cot", "rechead", "align", "evaluate", "package", "serve")
RUN_KEYS = {"profile", "seed", "threads"}
# Where a teacher stands and how patiently it is asked changes no byte of what it wrote.
ASKING = {
    "url", "concurrency", "requests_per_minute", "timeout", "retries", "backoff", "max_wait", "prompt_price",
    "completion_price",
}  # fmt: skip
# Limits and habits of a running service are its own, not the model's.
RUNNING = {
    "port", "live_seconds", "store", "active_days", "poll_seconds", "shadow_share", "max_batch", "max_body_kb",
    "max_concurrency", "client_rate", "client_burst",
}  # fmt: skip
NOT_SHAPING: dict[str, Any] = {"serve": RUNNING, "backbone": {"teacher": ASKING}}


def package(stage: Stage) -> Outcome:
    """Build the package from the shipped writer, the final Rechead, the catalogue and the evaluation."""
    params = stage.params
    require_same_tokenizer(stage.inputs(SHIPPED["policy"]), stage.inputs(SHIPPED["backbone"]))
    ships = str(read_json(stage.inputs("align/align.json"))["ships"])
    interactions, items = stage.inputs("ingest/interactions.parquet"), stage.inputs("ingest/items.parquet")
    events = tables.read(interactions, tables.INTERACTIONS)
    rows = (stage.inputs("sequence/train.parquet"), stage.inputs("sequence/valid.parquet"))
    parts = build.Parts(
        rechead=recheads_of(stage.root / "outputs") / "final",
        writer=stage.inputs(SHIPPED[ships]),
        items=items,
        rows=rows,
        neighbours=stage.inputs("backbone/neighbours.safetensors"),
        metrics=stage.inputs("evaluate/metrics.json"),
        samples=stage.inputs("evaluate/samples.json"),
        lineage={
            "profile": params.run.profile,
            "data_hash": build.data_hash(interactions, items),
            "as_of": build.first_unread_day(events, params.ingest.as_of),
            "unseen_from": build.unseen_from(events, [tables.read(path, tables.ROWS) for path in rows]),
            "ships": ships,
        },
        params=shaping_params(params),
        settings=settings(params),
    )
    sign = signature.signer(params.package.signature, os.environ)
    manifest = build.build(parts, stage.new, sign)
    size_mb = sum(entry.size for entry in manifest.files) / 1e6
    return Outcome(
        f"{len(manifest.files)} files, {size_mb:.1f} MB, ships the {ships}, hash {manifest.package_hash[:12]}",
        {"size_mb": size_mb, "files": float(len(manifest.files))},
        ("card.md", "card.html", "manifest.json", "lineage.json"),
    )


def shaping_params(params: Params) -> dict[str, Any]:
    """Return the sections that shape the package, in JSON's types; the stage depends on exactly these."""
    shaping = {
        name: params.section(name).model_dump(mode="json", exclude=NOT_SHAPING.get(name, set())) for name in SECTIONS
    }
    return {**shaping, "run": params.run.model_dump(mode="json", include=RUN_KEYS)}


def settings(params: Params) -> Settings:
    """Return what serving must know of the params."""
    serve = params.serve
    return Settings(
        history_length=params.sequence.history_length,
        prompt_items=params.backbone.prompt_items,
        max_prompt_tokens=params.backbone.max_prompt_tokens,
        max_reasoning_tokens=serve.max_reasoning_tokens,
        writer_dtype=params.backbone.dtype,
        threads=serve.threads,
        default_k=serve.default_k,
        max_k=serve.max_k,
        max_history=serve.max_history,
        evidence=params.backbone.evidence.model_dump(),
    )


if __name__ == "__main__":
    run_stage("package", package, uses_torch=False)
