"""The schema of params.yaml: types, ranges, meaning, cross-field rules.

Values live in params.yaml and profiles/ alone. No default stands here: a missing key is an error, so a value can
never be in two places. Import sections from here, whichever `rporec.config_…` holds them: DVC takes no notice of this
module, and a new key must not run every stage again.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from rporec.config_align import AlignParams, RewardWeights, VllmParams
from rporec.config_backbone import BackboneParams, EvidenceParams, TeacherParams
from rporec.config_base import BREACH, Section, Share, breach
from rporec.config_data import (
    ColumnNames,
    IngestParams,
    MarketParams,
    SequenceParams,
    SqlParams,
    ValidateParams,
)
from rporec.config_release import (
    GateParams,
    MonitorParams,
    NightsParams,
    PackageParams,
    PromoteParams,
    ServeParams,
)
from rporec.errors import InputError

# What others import from here of the sections in files of their own.
__all__ = [
    "AlignParams", "BackboneParams", "ColumnNames", "EvidenceParams", "GateParams", "IngestParams", "MarketParams",
    "MonitorParams", "NightsParams", "PackageParams", "PromoteParams", "RewardWeights", "Section", "SequenceParams",
    "ServeParams", "SqlParams", "TeacherParams", "ValidateParams", "VllmParams",
]  # fmt: skip


class RunParams(Section):
    """What every stage shares."""

    profile: str = Field(
        pattern=r"^[a-z][a-z0-9_]*$",
        description="name of the profile; the registered model is rporec-<profile>",
    )
    seed: int = Field(ge=0, description="root of all randomness")
    threads: int = Field(ge=1, le=256, description="CPU threads of the numeric libraries")
    device: Literal["cpu", "cuda"] = Field(
        description="where the language model learns and writes (stages backbone, cot, align); all else is on the CPU"
    )
    dvc_remote: str = Field(min_length=1, description="DVC remote: a path below RPOREC_HOME, or an s3:// URL")


class CotParams(Section):
    """Writing reasoning for the rows whose reasoning is read."""

    samples: int = Field(ge=1, description="completions a group")
    temperature: float = Field(ge=0, le=2, description="0 = greedy")
    batch_size: int = Field(ge=1, description="prompts generated together")
    shard_groups: int = Field(ge=1, description="groups a resumable shard")
    engine: Literal["local", "ray"] = Field(description="who writes: this process, or workers of a Ray cluster")
    workers: int = Field(ge=1, description="workers of engine ray, each with run.threads CPUs, and a GPU on cuda")
    ray_address: str | None = Field(description="a running Ray cluster; null = engine ray starts one on this machine")


class RecheadParams(Section):
    """The recommendation head and its training."""

    architecture: Literal["hybrid", "paper"] = Field(description="hybrid (default) or the published three text towers")
    encoder: str = Field(
        min_length=1, description="embedded (fitted here), or name or folder of a sentence-transformers model"
    )
    text_dim: int = Field(ge=4, description="width of the vectors of encoder embedded; a pretrained one has its own")
    width: int = Field(ge=8, description="hidden size D of the history tower")
    layers: int = Field(ge=1, description="layers of the history tower")
    heads: int = Field(ge=1, description="attention heads of the history tower")
    dropout: float = Field(ge=0, lt=1, description="share dropped in training")
    epochs: int = Field(ge=1, description="most passes over train; the number used is chosen on valid")
    warm_epochs: int = Field(ge=1, description="most passes of a night whose towers go on from the champion's")
    patience: int = Field(ge=1, description="epochs without a better valid NDCG@10 before a fit stops")
    batch_size: int = Field(ge=1, description="groups a batch")
    learning_rate: float = Field(gt=0, lt=1, description="AdamW")
    weight_decay: float = Field(ge=0, description="AdamW")
    transition_decay: float = Field(gt=0, le=1, description="weight of one step further back in transition counts")
    reasoning_epochs: int = Field(ge=1, description="passes over the reason slice")
    text_dropout: Share = Field(description="share of rows trained without their reasoning")
    memory_margin: Share = Field(description="targets of slice reason that the backbone may know by heart")

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.width % self.heads:
            raise breach("rechead.heads", self.heads, f"divides rechead.width ({self.width})", "take one that does")
        return self


class EvaluateParams(Section):
    """Metrics, baselines, intervals, and what a text may know of its target."""

    cutoffs: tuple[int, ...] = Field(description="K of HR@K and NDCG@K, ascending; 10 among them")
    sasrec_epochs: int = Field(ge=1, description="most epochs of the SASRec baselines; chosen on valid")
    sasrec_patience: int = Field(ge=1, description="epochs without a better valid NDCG@10 before a SASRec fit stops")
    sasrec_inputs: tuple[Literal["ids", "text"], ...] = Field(
        min_length=1, description="SASRec's variants that valid chooses from: ids only, text and ids"
    )
    gsasrec_calibrations: tuple[Share, ...] = Field(
        min_length=1, description="gBCE's calibrations that valid chooses from: 0.75 as published, 1 wholly calibrated"
    )
    gsasrec_negatives: int = Field(ge=1, description="items that gSASRec draws against a target; at most N - 1 are")
    ease_items: int = Field(ge=1, description="largest catalogue for EASE (a dense N x N inverse); above, item-kNN")
    resamples: int = Field(ge=99, description="bootstrap resamples")
    confidence: float = Field(gt=0.5, lt=1, description="level of the intervals")
    told_margin: Share = Field(description="rows whose text names what only the target could tell, above chance")

    @model_validator(mode="before")
    @classmethod
    def _tuples(cls, data: Any) -> Any:  # noqa: ANN401 - raw YAML
        if not isinstance(data, dict):
            return data
        return {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}

    @model_validator(mode="after")
    def _ten(self) -> Self:
        if 10 not in self.cutoffs or list(self.cutoffs) != sorted(set(self.cutoffs)):
            raise breach("evaluate.cutoffs", list(self.cutoffs), "ascending, 10 among them", "as [5, 10, 20]")
        return self


class Params(Section):
    """All of params.yaml."""

    run: RunParams
    ingest: IngestParams
    validate_: ValidateParams = Field(alias="validate")
    sequence: SequenceParams
    backbone: BackboneParams
    cot: CotParams
    rechead: RecheadParams
    align: AlignParams
    evaluate: EvaluateParams
    package: PackageParams
    gate: GateParams
    promote: PromoteParams
    serve: ServeParams
    nights: NightsParams
    monitor: MonitorParams

    def section(self, name: str) -> Section:
        """Return a section by its name in params.yaml.

        Raises:
            KeyError: there is no such section.
        """
        for field, info in type(self).model_fields.items():
            if name == (info.alias or field):
                section = self.__dict__[field]
                assert isinstance(section, Section)
                return section
        raise KeyError(name)

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.sequence.reason_share + self.sequence.align_share >= 0.8:
            raise breach(
                "sequence.reason_share", self.sequence.reason_share,
                f"with sequence.align_share ({self.sequence.align_share}) below 0.8, or too little is left to fit",
                "lower one of them",
            )  # fmt: skip
        if self.serve.max_reasoning_tokens < self.backbone.max_completion_tokens:
            raise breach(
                "serve.max_reasoning_tokens", self.serve.max_reasoning_tokens,
                f"at least backbone.max_completion_tokens ({self.backbone.max_completion_tokens}): "
                "what is served must be able to end as what was judged", "raise it",
            )  # fmt: skip
        return self


class _Reader(yaml.SafeLoader):
    """YAML as people write it: 1e-6 is a number and 2026-01-01 is text (YAML 1.1 has both the other way)."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - a class-level table is PyYAML's interface
        first: [(tag, rule) for tag, rule in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Reader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read_yaml(text: str) -> Any:  # noqa: ANN401 - any YAML value
    """Read YAML text; numbers in scientific notation need no dot, dates stay text.

    Raises:
        yaml.YAMLError: it is not YAML.
    """
    return yaml.load(text, Loader=_Reader)


def load(path: Path) -> Params:
    """Read and check params.yaml.

    Raises:
        InputError: the file is absent, is not YAML, or a value breaks the schema (the first breach is named).
    """
    if not path.is_file():
        raise InputError("the parameter file is missing", file=path, cure="run from the top of the checkout")
    try:
        raw = read_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(
            f"the parameter file is not YAML: {error}", file=path, cure="mend the line named above"
        ) from error
    return parse(raw, str(path))


def parse(raw: object, file: str) -> Params:
    """Check raw YAML against the schema; `file` is named in errors."""
    if not isinstance(raw, dict):
        raise InputError("the parameters are not a mapping of sections", file=file, cure="start from params.yaml")
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == BREACH:
            raise InputError("a parameter breaks its rule", file=file, **first["ctx"]) from error
        field = ".".join(str(part) for part in first["loc"])
        cures = {
            "extra_forbidden": "remove the key or correct its spelling",
            "missing": "add the key (see params.yaml)",
        }
        told = first["type"] != "missing" and not isinstance(first["input"], dict)
        raise InputError(
            "a parameter breaks its rule",
            file=file, field=field, value=first["input"] if told else None,
            rule=first["msg"], cure=cures.get(first["type"], "correct the value (params.yaml gives its unit)"),
        ) from error  # fmt: skip
