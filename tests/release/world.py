"""A toy package made by the real components: 24 items, a tiny Qwen3 writer, a Rechead fitted for an instant."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import torch

from rporec import config, tables
from rporec.align.curves import COLUMNS, curve, held_row
from rporec.align.heldout import Held
from rporec.align.rewards import TERMS
from rporec.backbone.embedded import Shape, build_model, train_tokenizer
from rporec.backbone.finetune import Example, Tuning, fine_tune
from rporec.backbone.source import Writer
from rporec.catalogue import Catalogue
from rporec.encode.static import StaticEncoder
from rporec.evaluation import terms
from rporec.reasoning import lookup
from rporec.reasoning.parse import render
from rporec.reasoning.prompt import build_prompt, item_line
from rporec.rechead.calibration import AS_IT_IS, Calibration
from rporec.rechead.channels import Channels, nearest
from rporec.rechead.examples import Examples
from rporec.rechead.mixed import MixedHead
from rporec.rechead.mixer import Mixer
from rporec.rechead.model import Rechead, Weights
from rporec.rechead.reader import Reader
from rporec.rechead.residual import ReasoningResidual
from rporec.rechead.tower import TowerShape
from rporec.rechead.train import Fit, refit_tower
from rporec.release import build, layout
from rporec.release.manifest import Signature
from rporec.transitions import Transitions

ROOT = Path(__file__).resolve().parents[2]
BRANDS, THINGS = ("Acme", "Bolt", "Crux", "Dyno"), ("lamp", "chair", "table", "clock", "shelf", "stool")
N = len(BRANDS) * len(THINGS)
H = 5
SETTINGS = layout.Settings(
    history_length=H, prompt_items=3, max_prompt_tokens=120, max_reasoning_tokens=40, writer_dtype="float32",
    threads=1, default_k=4, max_k=20, max_history=30,
)  # fmt: skip
RANKERS = (
    "rporec", "stage1", "no_reasoning", "reasoning_removed", "shuffled_reasoning",
    "popularity", "markov", "ease", "sasrec", "gsasrec", "fusion",
)  # fmt: skip
FIGURES = {"hr@5": 0.1, "hr@10": 0.2, "hr@20": 0.3, "ndcg@5": 0.05, "ndcg@10": 0.1, "ndcg@20": 0.15, "mrr": 0.08}


def items() -> pl.DataFrame:
    names = [(brand, thing) for brand in BRANDS for thing in THINGS]
    return pl.DataFrame(
        {
            "item_id": [f"i{place:02d}" for place in range(N)],
            "title": [f"{brand} {thing} number {place}" for place, (brand, thing) in enumerate(names)],
            "description": ["" for _ in names],
            "brand": [brand for brand, _ in names],
            "category": [thing for _, thing in names],
            "price": [float(10 + place) for place in range(N)],
            "known_from": [None] * N,
        },
        schema=tables.ITEMS.columns,
    )


def rows(kind: str, count: int, seed: int, first: int) -> pl.DataFrame:
    """Histories of one to H items, and the next item of the same brand as the target."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        history = rng.integers(0, N, int(rng.integers(1, H + 1))).tolist()
        target = history[-1] // len(THINGS) * len(THINGS) + (history[-1] + 1) % len(THINGS)
        made.append((first + number, first + number, f"u{number % 17}", 1_700_000_000 + number, history, target, kind))
    return pl.DataFrame(made, schema=tables.ROWS.columns, orient="row")


def write_writer(folder: Path, catalogue: Catalogue, train: pl.DataFrame) -> None:
    """Train a tiny writer until it keeps the format."""
    prompts = [build_prompt(history, catalogue, 3) for history in train["history"].to_list()]
    said = [
        render(f"The buyer stays with {catalogue.brand(target)}.", item_line(target, catalogue))
        for target in train["target"].to_list()
    ]
    tokenizer = train_tokenizer([*prompts, *said], 400, 256)
    model = build_model(tokenizer, Shape(width=32, layers=2, heads=2, context=256), seed=0)
    writer = Writer(model=model, tokenizer=tokenizer)
    examples = [
        Example(tokenizer(prompt)["input_ids"], [*tokenizer(text)["input_ids"], writer.eos_id], row)
        for row, (prompt, text) in enumerate(zip(prompts, said, strict=True))
    ]
    tuning = Tuning(8, 2048, 0.01, autocast=False, seed=0, checkpoint_every=10_000)
    fine_tune(model, examples, tuning, folder.parent / "writer-checkpoint.safetensors")
    writer.save(folder)


def write_rechead(folder: Path, catalogue: Catalogue, train: pl.DataFrame) -> None:
    """Fit a small tower for one epoch; the reasoning module keeps its first weights, its strength is not 0."""
    texts = [catalogue.full_text(item) for item in range(N)]
    encoder = StaticEncoder.fit(texts, 8, 0)
    examples = Examples.from_rows(train)
    shape = TowerShape(n_items=N, text_dim=8, width=16, layers=1, heads=2, history_length=H, dropout=0.1)
    fit = Fit(shape, epochs=2, patience=1, batch_size=32, learning_rate=0.01, weight_decay=0.0, seed=0)
    tower = refit_tower(examples, torch.from_numpy(encoder.encode(texts)), fit, 2, folder.parent / "tower").tower
    moves = Transitions.fit_groups(examples.histories, (examples.owner, examples.targets), N, 0.5)
    reader = Reader.fit(encoder, texts, [item_line(item, catalogue) for item in range(N)])
    head = MixedHead(tower, Channels.count(examples, moves, reader.items, nearest(reader.items)), Mixer(seed=0), 4.0)
    head.mixer.begin(*head.read(examples.histories), head.channels.item_features, {0: 1.0, 1: 0.5})
    weights = Weights(strength=0.7, told=Calibration(0.1, 0.0, 0.0), alone=AS_IT_IS)
    Rechead(head, reader, ReasoningResidual(reader.items, seed=0), weights).save(folder)


def write_outputs(root: Path) -> None:
    """Write below `root` what the stages before `package` leave: outputs, params.yaml, dvc.yaml."""
    outputs, train, valid, test = (
        root / "outputs",
        rows("fit", 160, 0, 0),
        rows("valid", 20, 1, 160),
        rows("test", 20, 2, 180),
    )
    events = pl.DataFrame(
        {
            "user_id": ["u0"], "item_id": ["i00"], "timestamp": [1_700_000_000], "order": [0], "split": [None],
            "history": [None],
        },
        schema=tables.INTERACTIONS.columns,
    )  # fmt: skip
    catalogue = Catalogue.from_table(items())
    tables.write(items(), outputs / "ingest/items.parquet", tables.ITEMS)
    tables.write(events, outputs / "ingest/interactions.parquet", tables.INTERACTIONS)
    for name, frame in (("train", train), ("valid", valid), ("test", test)):
        tables.write(frame, outputs / f"sequence/{name}.parquet", tables.ROWS)
    (root / "scratch").mkdir()
    write_writer(root / "scratch/writer", catalogue, train)
    write_rechead(root / "scratch/rechead", catalogue, train)
    shutil.copytree(root / "scratch/rechead", outputs / "rechead/final")
    shutil.copytree(root / "scratch/writer", outputs / "backbone/model")
    shutil.copytree(root / "scratch/writer", outputs / "align/policy")
    lookup.save_neighbours(neighbours(catalogue), outputs / "backbone/neighbours.safetensors")
    write(outputs / "align/align.json", {"ships": "backbone"})
    write_curves(outputs)
    write(outputs / "evaluate/metrics.json", metrics())
    write(outputs / "evaluate/samples.json", samples())
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, root / name)


def write_curves(outputs: Path) -> None:
    """Leave what a short alignment and the fit of the Rechead are remembered by."""
    row = {"step": 1, "group": 5, "sample": 0, "prompt": "bought a lamp", "completion": "<think>", "advantage": 0.0}
    terms_of = {"reward": 0.5, **dict.fromkeys(TERMS, 0.25)}
    tables.write(pl.DataFrame([{**row, **terms_of}], schema=tables.ROLLOUTS.columns),
                 outputs / "align/rollouts.parquet", tables.ROLLOUTS)  # fmt: skip
    measured = {"reward": 0.5, "kl": 0.0, "heldout_ndcg@10": None}
    rows = [held_row(0, Held(0.25, 1.0, 1.0, 3.0, 9.0)), {**dict.fromkeys(COLUMNS, None), **measured, "step": 1}]
    curve(rows).write_csv(outputs / "align/rewards.csv")
    (outputs / "rechead/curve.csv").write_text("epoch,train_loss,valid_ndcg@10\n1,8.5,0.125\n2,7.5,0.25\n")


def neighbours(catalogue: Catalogue) -> np.ndarray:
    texts = [catalogue.full_text(item) for item in range(catalogue.n)]
    return lookup.nearest_items(StaticEncoder.fit(texts, 8, 0).encode(texts), 2)


def samples() -> dict[str, object]:
    one = {
        "row_id": 3, "history": ["Acme | lamp", "<b>Bolt</b> chair"], "target": "Crux *table*", "top": [], "rank": 2.0,
        "rank_removed": 7.0, "completion": "<think>t", "thought": "They stay with Acme.", "answer": "Acme lamp",
        "well_formed": True, "grounded": 1.0,
    }  # fmt: skip
    return {"good": [one], "bad": [{**one, "thought": "", "answer": "", "well_formed": False, "grounded": 0.5}] * 4}


def metrics() -> dict[str, object]:
    rankers = {ranker: {**FIGURES, "n": 20} for ranker in RANKERS}
    told = {"difference": 0.01, "low": -0.01, "high": 0.03, "smallest_detectable": 0.02, "n": 20, "users": 17}
    others = {ranker: {"ndcg@10": told, "hr@10": told} for ranker in RANKERS if ranker != "rporec"}
    weak = {"n": 5, "rankers": {**dict.fromkeys(RANKERS, 0.1), "rporec": 0.02}, "rporec - fusion": told}
    return {
        "rows": 20, "users": 17, "items": N, "rankers": rankers, "comparisons": others, "slices": {"item_tail": weak},
        "intervals": {ranker: [0.05, 0.15] for ranker in RANKERS},
        "form": {"well_formed": 0.95, "grounded": 0.9, "n": 20},
    }  # fmt: skip


def write_package(
    folder: Path, root: Path, *, as_of: str = "2026-01-01", mark: str = "", settings: layout.Settings = SETTINGS,
    sign: Callable[[str], Signature | None] | None = None,
) -> str:  # fmt: skip
    """Build a package from `write_outputs(root)` with the library; return its hash. `mark` makes another package."""
    outputs = root / "outputs"
    parts = build.Parts(
        rechead=outputs / "rechead/final", writer=outputs / "backbone/model", items=outputs / "ingest/items.parquet",
        rows=(outputs / "sequence/train.parquet", outputs / "sequence/valid.parquet"),
        neighbours=outputs / "backbone/neighbours.safetensors",
        metrics=outputs / "evaluate/metrics.json", samples=outputs / "evaluate/samples.json",
        lineage={"profile": "demo", "data_hash": data_hash(outputs), "as_of": as_of, "ships": "backbone"},
        params={
            "ingest": {"source": "market"},
            "package": {"intended_use": f"a test {mark}", "data_terms": "none", "signature": "none"},
            "backbone": {"name": None}, "rechead": {"architecture": "hybrid"}, "align": {"steps": 1},
        },
        settings=settings,
    )  # fmt: skip
    folder.mkdir(parents=True)
    return build.build(parts, folder, sign).package_hash


def data_hash(outputs: Path) -> str:
    return build.data_hash(outputs / "ingest/interactions.parquet", outputs / "ingest/items.parquet")


def write_verdict(
    path: Path, package_hash: str, *, champion: int | None = None, champion_hash: str = "x", failed: str = ""
) -> Path:
    """Write a gates.json for a package, judged by the limits of params.yaml; `failed` names a gate."""
    word = "fail" if failed else "pass"
    answers = [
        {"name": name, "status": "fail" if name == failed else "pass", "reason": "as the test wants it"}
        for name in terms.GATES
    ]
    against = None if champion is None else {"version": champion, "package_hash": champion_hash}
    limits = terms.limits_digest(config.load(ROOT / "params.yaml").gate)
    stated = {"verdict": word, "package_hash": package_hash, "champion": against, "limits": limits, "gates": answers}
    write(path, stated)
    return path


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
