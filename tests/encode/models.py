"""A tiny sentence-transformers model with its own weights, made here: two BERT layers over the words of a few texts."""

from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer, models
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers import models as kinds
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

DIM = 24
WORDS = (
    "[PAD]", "[UNK]", "[CLS]", "[SEP]",
    "acme", "bolt", "crown", "delta", "ember", "lamp", "rope", "bucket", "wool", "felt",
    "no", "0", "1", "2", "3",
)  # fmt: skip


def bert(folder: Path, seed: int = 0, longest: int = 32) -> Path:
    """Save the model below `folder` and return where."""
    words = Tokenizer(kinds.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=DIM, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, initializer_range=0.5,
    )  # fmt: skip
    plain = folder / f"plain-{seed}"
    BertModel(config).save_pretrained(plain)
    PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=longest, **special).save_pretrained(plain)
    layer = models.Transformer(str(plain))
    SentenceTransformer(modules=[layer, models.Pooling(DIM)], device="cpu").save(str(folder / f"bert-{seed}"))
    return folder / f"bert-{seed}"
