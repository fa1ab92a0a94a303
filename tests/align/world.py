"""A toy world for alignment: twelve items, few words, a writer that answers at random, a planted head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from rporec import config
from rporec.align.heldout import HeldOut
from rporec.align.scorer import Facts, RewardScorer
from rporec.align.settings import Setup
from rporec.backbone.generate import Sampling
from rporec.backbone.source import Writer, load_writer
from rporec.catalogue import Catalogue
from rporec.evaluation.scoring import TestSet
from rporec.reasoning.ground import Grounder
from rporec.reasoning.parse import Parsed

N_ITEMS = 12
COLOURS = ("red", "green", "blue", "black")
THINGS = ("lamp", "chair", "table")
THOUGHT_WORDS = ("maybe", "likely", "often", "bought", "next")
L = 12


def catalogue() -> Catalogue:
    titles = [f"{colour} {thing}" for colour in COLOURS for thing in THINGS]
    blank = [""] * N_ITEMS
    return Catalogue([f"i{i}" for i in range(N_ITEMS)], titles, blank, blank, blank, np.full(N_ITEMS, np.nan), ())


def align_params(**changes: object) -> config.AlignParams:
    values = {
        "steps": 6, "rounds": 1, "prompts_per_step": 4, "num_generations": 4, "micro_batch": 8, "temperature": 1.0,
        "zero_variance": "keep", "resample_tries": 3, "lora_rank": 0, "processes": 1, "parallel": "ddp",
        "vllm": {"url": None, "timeout": 5.0, "group_port": 51216},
        "learning_rate": 0.002, "beta": 0.01, "epsilon": 0.2, "loss_type": "grpo", "scale_rewards": "group",
        "top_entropy_quantile": 0.5, "form": "ours", "rank_reward": "reciprocal_log", "outside_limit": 100,
        "weights": {
            "format": 0.1, "outside": 0.1, "rank": 0.5, "concise": 0.1, "similar": 0.1, "entropy": 0.1, "grounded": 0.0,
        },
        "eval_every": 3, "eval_groups": 16, "patience": 3, "collapse_margin": 0.1, "near_margin": 0.0,
        "checkpoint_every": 2,
        "ship": "better", "ship_margin": 0.002,
    }  # fmt: skip
    return config.AlignParams.model_validate({**values, **changes})


class PlantedHead:
    """Ranks the item whose title the answer names first; without an answer every item ties."""

    def __init__(self) -> None:
        self.n_items = N_ITEMS
        self.gain = torch.tensor(4.0)
        self.titles = [title.split() for title in catalogue().titles]

    def history_logits(self, histories: Sequence[Sequence[int]]) -> torch.Tensor:
        return torch.zeros(len(histories), N_ITEMS)

    def add_reasoning(self, logits: torch.Tensor, reasoning: Sequence[Sequence[Parsed]]) -> torch.Tensor:
        scores = logits.clone()
        for row, samples in enumerate(reasoning):
            for one in samples:
                named = set(one.answer.split())
                scores[row] += self.gain.detach() * torch.tensor([len(named & set(title)) for title in self.titles])
        return scores.log_softmax(dim=1)


class BagOfWords:
    """A text space of known words."""

    def __init__(self) -> None:
        self.words = {word: i for i, word in enumerate((*COLOURS, *THINGS, *THOUGHT_WORDS))}

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        found = np.zeros((len(texts), len(self.words)), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                if word in self.words:
                    found[row, self.words[word]] += 1
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)


def tokenizer() -> PreTrainedTokenizerFast:
    words = ["<pad>", "<eos>", "buy", "<think>", "</think>", "<answer>", "</answer>"]
    words += [*(f"p{i}" for i in range(16)), *COLOURS, *THINGS, *THOUGHT_WORDS]
    plain = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<pad>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<eos>", pad_token="<pad>")


def write_backbone(folder: Path, steps: int = 120) -> None:
    """Train a tiny writer to be well formed and to answer any item alike, and save it."""
    torch.manual_seed(0)
    words = tokenizer()
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(words), num_key_value_heads=2, head_dim=16, max_position_embeddings=64,
            tie_word_embeddings=True, eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id,
            bos_token_id=None, **size,
        )
    )  # fmt: skip
    rng = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(steps):
        texts = [f"{prompt(int(rng.integers(16)))} {completion(rng)} <eos>" for _ in range(64)]
        ids = torch.tensor([words(text)["input_ids"] for text in texts])
        loss = model(input_ids=ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    Writer(model, words).save(folder)


def prompt(number: int) -> str:
    return f"buy p{number}"


def completion(rng: np.random.Generator) -> str:
    thought = " ".join(rng.choice(THOUGHT_WORDS, 3))
    return f"<think> {thought} </think> <answer> {rng.choice(COLOURS)} {rng.choice(THINGS)} </answer>"


def facts(target: int | None = None) -> dict[int, Facts]:
    """Groups 0..15; the target is one planted item, or the group's number modulo the catalogue."""
    return {g: fact((g % N_ITEMS,), (g % N_ITEMS if target is None else target,)) for g in range(16)}


def fact(history: tuple[int, ...], targets: tuple[int, ...]) -> Facts:
    return Facts(history, targets, "likely bought next", 3, history, "")


def scorer(params: config.AlignParams, known: dict[int, Facts]) -> RewardScorer:
    return RewardScorer(PlantedHead(), BagOfWords(), catalogue(), known, params, vocabulary=len(tokenizer()))


def setup(backbone: Path, work: Path, device: str = "cpu") -> Setup:
    return Setup(backbone, work, seed=3, max_completion_tokens=L, device=device)


def heldout(target: int) -> HeldOut:
    rows = pl.DataFrame(
        {
            "group": list(range(16)), "history": [[g % N_ITEMS] for g in range(16)],
            "user_id": [f"u{g}" for g in range(16)], "target": [target] * 16,
        }
    )  # fmt: skip
    return HeldOut(
        PlantedHead(), TestSet.from_rows(rows), [prompt(g) for g in range(16)],
        [[g % N_ITEMS] for g in range(16)], Grounder(catalogue()),
        Sampling(num_samples=1, temperature=0.0, max_new_tokens=L, batch_size=16, seed=3),
    )  # fmt: skip


def writer(folder: Path, device: str = "cpu") -> Writer:
    return load_writer(folder, device=device)
