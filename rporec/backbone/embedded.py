"""The embedded backbone: a tokenizer trained on the catalogue and a small Qwen3-architecture model with fresh weights.

Nothing is downloaded. What comes out is an ordinary transformers folder, loaded like any other (`source`); learning to
write is `finetune`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from rporec.reasoning.parse import TAGS
from rporec.reasoning.prompt import INSTRUCTION, LINE, OPENING

END = "<|end|>"
PAD = "<|pad|>"
_INITIAL_SPREAD = 0.02
_FEED_FORWARD = 3  # times the width


@dataclass(frozen=True, slots=True)
class Shape:
    """Size of the embedded model.

    Attributes:
        width: hidden size D.
        layers: transformer layers.
        heads: attention heads; divides the width.
        context: longest prompt plus completion (tokens).
    """

    width: int
    layers: int
    heads: int
    context: int


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, context: int, headings: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer; any text, of any script, encodes and decodes without loss.

    The four tags and the fixed parts of the prompt are one token each. They are not special tokens, so that decoding
    keeps the tags where a trainer skips special tokens.

    Args:
        texts: what the backbone will read and write.
        vocab_size: tokens in all, at least 300; fewer come out of a small corpus.
        context: longest prompt plus completion (tokens), noted in the tokenizer.
        headings: of evidence, where prompts hold some; one token each, too.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    fixed = (*TAGS, OPENING, LINE, INSTRUCTION, *headings)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(fixed),
        special_tokens=[PAD, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    bpe.add_tokens([AddedToken(text, special=False, normalized=False) for text in fixed])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END,
        pad_token=PAD,
        model_max_length=context,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def build_model(tokenizer: PreTrainedTokenizerFast, shape: Shape, seed: int) -> Qwen3ForCausalLM:
    """Return a Qwen3-architecture model with random weights and tied embeddings.

    Args:
        tokenizer: gives the vocabulary and the ids of end and padding.
        shape: size of the model.
        seed: of the weights; the global random state is left as it was.
    """
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=_FEED_FORWARD * shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        head_dim=shape.width // shape.heads,
        max_position_embeddings=shape.context,
        initializer_range=_INITIAL_SPREAD,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=True
    )
    return model
