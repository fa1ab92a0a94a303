"""Write completions: batched, seeded, the prompt computed once per group of samples, finished rows dropped.

Works for any transformers causal language model. The random number of a token is a function of (seed, row key, sample,
position) alone, so results do not depend on how prompts are batched, up to the float noise of the matrix products.
Not a server: no streaming, no queue.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel

from rporec.backbone.batches import batches_by_length, takes_positions
from rporec.backbone.cache import roomy_cache
from rporec.backbone.choose import pick
from rporec.backbone.randomness import uniforms
from rporec.backbone.shared import SharedPrompts, can_share, sharing
from rporec.backbone.source import Writer, context_length
from rporec.errors import InputError

_SHARE_TO_DROP = 0.125

Told = Callable[[int, int], None]  # called after each batch with the prompts that it answered and the tokens written


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample.

    Attributes:
        num_samples: completions per prompt, at least 1.
        temperature: softmax temperature; 0 = greedy.
        max_new_tokens: longest completion (tokens), end token included.
        batch_size: sequences (prompts times samples) computed at once.
        seed: of every random number.
        entropies: whether to note the entropy of each token's distribution.
    """

    num_samples: int
    temperature: float
    max_new_tokens: int
    batch_size: int
    seed: int
    entropies: bool = False


@dataclass(frozen=True, slots=True)
class SampledIds:
    """One completion as tokens.

    Attributes:
        ids: at most max_new_tokens token ids, the end token included where one was reached.
        logprobs: natural log-probability of each id at the sampling temperature (at 1 for greedy).
        finished: whether an end token was reached.
        entropies: nats of the distribution that each id was drawn from (at 1 for greedy), [] unless asked for.
    """

    ids: list[int]
    logprobs: list[float]
    finished: bool
    entropies: list[float]


@dataclass(frozen=True, slots=True)
class Sampled:
    """One completion as text: `token_ids` as in `SampledIds`, `text` without the end token."""

    text: str
    token_ids: list[int]
    finished: bool


def generate(
    writer: Writer, prompts: Sequence[str], row_keys: Sequence[int], settings: Sampling, told: Told | None = None
) -> list[list[Sampled]]:
    """Write `settings.num_samples` completions for each prompt.

    Args:
        writer: model and tokenizer.
        prompts: B prompts as made by `rporec.reasoning.prompt` (the chat template is applied here).
        row_keys: B stable numbers (the group of the row) that key the randomness.
        settings: how to sample.
        told: hears of each finished batch.

    Returns:
        B lists of samples, in the order of the prompts.

    Raises:
        InputError: a prompt and its completion do not fit the context of the model.
    """
    prompt_ids = [writer.encode(prompt) for prompt in prompts]
    _check_context(writer.context, prompt_ids, settings)
    sampled = generate_ids(writer.model, prompt_ids, row_keys, writer.end_ids, settings, told)
    return [[Sampled(writer.decode(one.ids), one.ids, one.finished) for one in samples] for samples in sampled]


def generate_ids(
    model: PreTrainedModel,
    prompt_ids: Sequence[Sequence[int]],
    row_keys: Sequence[int],
    ends: int | Sequence[int],
    settings: Sampling,
    told: Told | None = None,
) -> list[list[SampledIds]]:
    """Write completions for tokenised prompts; as `generate`, with token ids and sampling log-probabilities.

    Args:
        model: any causal language model; its train/eval mode is restored afterwards.
        prompt_ids: B prompts of at least one token.
        row_keys: B stable numbers that key the randomness. Prompts that are repeated for a group of samples should
            be passed once, with `num_samples` as the size of the group.
        ends: the token or tokens that end a completion.
        settings: how to sample.
        told: hears of each finished batch.

    Returns:
        B lists of `settings.num_samples` completions.

    Raises:
        InputError: a prompt and its completion do not fit the context of the model.
    """
    _check_context(context_length(model.config), prompt_ids, settings)
    per_batch = max(1, settings.batch_size // settings.num_samples)
    lengths = [len(prompt) for prompt in prompt_ids]
    end_ids = torch.tensor([ends] if isinstance(ends, int) else list(ends))
    results: list[list[SampledIds]] = [[] for _ in prompt_ids]
    training = model.training
    model.eval()
    try:
        for places in batches_by_length(lengths, per_batch, may_pad=takes_positions(model)):
            numbers = counter_uniforms(settings, [row_keys[place] for place in places])
            rows = _decode(model, [prompt_ids[place] for place in places], numbers, end_ids, settings)
            for number, place in enumerate(places):
                results[place] = rows[number * settings.num_samples : (number + 1) * settings.num_samples]
            if told is not None:
                told(len(places), sum(len(row.ids) for row in rows))
    finally:
        model.train(training)
    return results


def counter_uniforms(settings: Sampling, row_keys: Sequence[int]) -> np.ndarray:
    """Return uniforms in [0, 1), float32 [B*G, L], each a hash of (seed, row key, sample, position) only."""
    keys = np.asarray(row_keys, dtype=np.int64)[:, None, None]
    samples = np.arange(settings.num_samples)[None, :, None]
    positions = np.arange(settings.max_new_tokens)[None, None, :]
    numbers = uniforms(settings.seed, keys, samples, positions)  # [B, G, L]
    return numbers.reshape(-1, settings.max_new_tokens)  # [B*G, L]


@torch.inference_mode()
def _decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    random_numbers: np.ndarray,
    end_ids: torch.Tensor,
    settings: Sampling,
) -> list[SampledIds]:
    state = _start(model, prompts, settings)
    rows = len(prompts) * settings.num_samples
    tokens = torch.zeros((rows, settings.max_new_tokens), dtype=torch.long)  # [R, L]
    logprobs = torch.zeros((rows, settings.max_new_tokens))
    entropies = torch.zeros((rows, settings.max_new_tokens)) if settings.entropies else None
    lengths = torch.full((rows,), settings.max_new_tokens, dtype=torch.long)
    numbers = torch.from_numpy(random_numbers)
    running = torch.arange(rows)  # the rows of this batch that the model still computes
    for position in range(settings.max_new_tokens):
        drawn = numbers[running, position].to(state.logits.device)
        entropy = None if entropies is None else torch.empty_like(drawn)
        chosen, logprob = pick(state.logits, drawn, settings.temperature, entropy)
        tokens[running, position], logprobs[running, position] = chosen.cpu(), logprob.cpu()
        if entropies is not None and entropy is not None:
            entropies[running, position] = entropy.cpu()
        ended = running[torch.isin(chosen.cpu(), end_ids)]
        lengths[ended] = torch.minimum(lengths[ended], torch.tensor(position + 1))
        alive = lengths[running] == settings.max_new_tokens
        if position + 1 == settings.max_new_tokens or not bool(alive.any()):
            break
        if float((~alive).float().mean()) >= _SHARE_TO_DROP:
            state.keep(alive.nonzero()[:, 0])
            running, chosen = running[alive], chosen[alive.to(chosen.device)]
        state.step(model, chosen)
    return [
        SampledIds(
            ids=tokens[row, : lengths[row]].tolist(),
            logprobs=logprobs[row, : lengths[row]].tolist(),
            finished=bool(torch.isin(tokens[row, lengths[row] - 1], end_ids)),
            entropies=[] if entropies is None else entropies[row, : lengths[row]].tolist(),
        )
        for row in range(rows)
    ]


@dataclass
class _State:
    """The running rows: next-token logits [R, V], attention mask [R, P + L], next position [R], cache, prompts."""

    logits: torch.Tensor
    mask: torch.Tensor
    position: torch.Tensor
    cache: DynamicCache
    shared: SharedPrompts | None

    def keep(self, rows: torch.Tensor) -> None:
        rows = rows.to(self.mask.device)
        if self.shared is not None:
            self.shared.keep(rows)
        self.cache.batch_select_indices(rows)
        self.mask, self.position = self.mask[rows], self.position[rows]

    def step(self, model: PreTrainedModel, chosen: torch.Tensor) -> None:
        self.mask = torch.cat([self.mask, self.mask.new_ones((len(chosen), 1))], dim=1)
        inputs = {"input_ids": chosen[:, None], "past_key_values": self.cache}
        if takes_positions(model):
            inputs["position_ids"] = self.position[:, None]
        if self.shared is None:
            output = model(**inputs, attention_mask=self.mask, use_cache=True)
        else:
            with sharing(model):
                output = model(**inputs, attention_mask=None, use_cache=True, shared=self.shared)
        self.logits, self.position = output.logits[:, -1], self.position + 1


def _start(model: PreTrainedModel, prompts: Sequence[Sequence[int]], settings: Sampling) -> _State:
    """Compute each prompt once (left-padded to one width), then repeat its cache for the samples."""
    width = max(len(prompt) for prompt in prompts)
    ids = torch.zeros((len(prompts), width), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    cache = roomy_cache(model.config)
    mask = mask.to(model.device)
    positions = {"position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0)} if takes_positions(model) else {}
    output = model(
        input_ids=ids.to(model.device),
        attention_mask=mask,
        **positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    samples = settings.num_samples
    shared = None
    if samples > 1 and can_share(model):
        slots = torch.arange(len(prompts) * samples, device=mask.device)
        layers = cache.layers
        shared = SharedPrompts(
            [x.keys.transpose(-1, -2).contiguous() for x in layers],
            [x.values for x in layers],
            torch.zeros(mask.shape, dtype=model.dtype, device=mask.device).masked_fill_(mask == 0, -torch.inf),
            slots,
            samples,
        )
        cache = roomy_cache(model.config)  # of the rows' own tokens
    elif samples > 1:
        cache.batch_repeat_interleave(samples)
    mask = mask.repeat_interleave(samples, dim=0)  # [B*G, P]
    logits = output.logits[:, -1].repeat_interleave(samples, dim=0)  # [B*G, V]
    return _State(logits=logits, mask=mask, position=mask.sum(dim=1), cache=cache, shared=shared)


def _check_context(context: int | None, prompt_ids: Sequence[Sequence[int]], settings: Sampling) -> None:
    longest = max((len(prompt) for prompt in prompt_ids), default=0)
    if context is not None and longest + settings.max_new_tokens > context:
        raise InputError(
            "a prompt and its completion do not fit the context of the backbone",
            field="backbone.max_completion_tokens",
            value=f"{longest} + {settings.max_new_tokens} tokens",
            rule=f"at most {context} tokens",
            cure="lower backbone.max_prompt_tokens or backbone.max_completion_tokens",
        )
