"""Tiny models and tokenizers, made here: a Qwen3, a Bloom, and a Llama with and without a chat template."""

import torch
from transformers import BloomConfig, BloomForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rporec.backbone.embedded import Shape, build_model, train_tokenizer
from rporec.backbone.source import Writer

TEXTS = ["Acme steel hammer; tools", "Bolt copper wire; electric", "the last item is a willow basket", "buy again?"]
CHAT = "{% for m in messages %}<|user|>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|model|>{% endif %}"


def tokenizer(chat=False, vocab_size=320) -> PreTrainedTokenizerFast:
    made = train_tokenizer(TEXTS * 5, vocab_size, 128)
    if chat:
        made.chat_template = CHAT
    return made


def qwen3(context=128, seed=0, width=32) -> Writer:
    words = tokenizer()
    model = build_model(words, Shape(width=width, layers=2, heads=2, context=context), seed)
    return Writer(model=lively(model), tokenizer=words)


def llama(chat=True) -> Writer:
    words = tokenizer(chat)
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=96, eos_token_id=words.eos_token_id, bos_token_id=None,
        pad_token_id=words.pad_token_id, tie_word_embeddings=False,
    )  # fmt: skip
    return Writer(model=lively(LlamaForCausalLM(config)), tokenizer=words)


def bloom(words=None) -> Writer:
    """Return a model whose configuration knows no context and which cannot be told positions."""
    words = words or tokenizer()
    torch.manual_seed(2)
    config = BloomConfig(
        vocab_size=len(words), hidden_size=32, n_layer=2, n_head=2, eos_token_id=words.eos_token_id, bos_token_id=None,
        pad_token_id=words.pad_token_id,
    )  # fmt: skip
    return Writer(model=lively(BloomForCausalLM(config)), tokenizer=words)


def lively(model):
    """Widen the weights: at their initial size all logits are alike, and greedy choices hang on float noise."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(12)
    return model.eval()
