"""Log-probabilities of completions with each prompt computed once for all its completions, with gradients or without.

The tokens of a batch run through the model as one row without any padding: first the prompts, each once, then the
completions. Only attention knows where texts begin and end: a prompt attends to itself, a completion to its prompt and
to itself. The vocabulary is scored where a token of a completion follows, nowhere else. Equal to running every row by
itself, up to float noise (tested against TRL). Not here: the loss, which is TRL's, and decoding (`backbone.generate`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import AttentionInterface, PreTrainedModel

from rporec.backbone.shared import sharing

NAME = "rporec_shared_passes"
_LOGITS_AT_ONCE = 2**28  # 1 GB in float32; larger vocabularies go through TRL's tiles
_ROWS = 64  # rows of logits that stay in the processor's cache between two passes over them


@dataclass(frozen=True)
class Ragged:
    """Texts of several lengths, one behind the other, and where their tokens lie in a table of one width.

    Args:
        rows: n texts.
        width: tokens of the longest.
        places: [tokens] in the flat table [n * width], texts start at the left.
    """

    rows: int
    width: int
    places: Tensor

    @staticmethod
    def of(lengths: Tensor) -> Ragged:
        """Lay out texts of these lengths [n]."""
        width = int(lengths.max())
        filled = torch.arange(width, device=lengths.device) < lengths[:, None]  # [n, width]
        return Ragged(len(lengths), width, filled.flatten().nonzero()[:, 0])

    def spread(self, x: Tensor) -> Tensor:
        """Turn [tokens, K, d] into [n, K, width, d], zeros where there is no token."""
        table = x
        if not self.full:
            table = x.new_zeros((self.rows * self.width, *x.shape[1:])).index_copy(0, self.places, x)
        return table.view(self.rows, self.width, *x.shape[1:]).transpose(1, 2)

    def gather(self, x: Tensor) -> Tensor:
        """Turn [n, K, width, d] into [tokens, K, d]."""
        table = x.transpose(1, 2).reshape(self.rows * self.width, x.shape[1], x.shape[3])
        return table if self.full else table.index_select(0, self.places)

    @property
    def full(self) -> bool:
        """Whether all texts are as long as the longest, so that nothing needs to be moved."""
        return len(self.places) == self.rows * self.width


@dataclass(frozen=True)
class Layout:
    """Where things lie in the one row of tokens.

    Args:
        prompts: B prompts without their last tokens; they come first.
        tails: R rows, each the prompt's last token and the completion without its last: what predicts its tokens.
        owner: [R] prompt of each row.
        each: rows of every prompt, 0 where they have different numbers of them.
        mask: [R, 1, tail width, prompt width + tail width] 0 where a tail's token may look, -inf elsewhere.
    """

    prompts: Ragged
    tails: Ragged
    owner: Tensor
    each: int
    mask: Tensor

    def repeat(self, x: Tensor) -> Tensor:
        """Turn [B, ...] into [R, ...]."""
        if not self.each:
            return x.index_select(0, self.owner)
        return x.unsqueeze(1).expand(-1, self.each, *x.shape[1:]).flatten(0, 1)  # its gradient is a sum, much faster


@dataclass(frozen=True)
class Passed:
    """What a pass found, 0 behind the end of a completion.

    Args:
        logprobs: [R, L] natural log-probability of each token, with gradient where the model has one.
        entropies: [R, L] nats, without gradient; None where the tiled head does not give them.
    """

    logprobs: Tensor
    entropies: Tensor | None


@dataclass(frozen=True)
class Rows:
    """R completions with their prompts as TRL pads them.

    Args:
        prompts: [R, P] ids, padded left; equal neighbours are one prompt.
        prompt_mask: [R, P] 1 where there is a token, at least one a row.
        completions: [R, L] ids, padded right.
        completion_mask: [R, L] 1 where there is a token, at least one in all.
    """

    prompts: Tensor
    prompt_mask: Tensor
    completions: Tensor
    completion_mask: Tensor

    @staticmethod
    def of(prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], device: torch.device) -> Rows:
        """Pad R prompts and completions of token ids."""
        tables = []
        for texts, side in ((prompts, "left"), (completions, "right")):
            ids = pad_sequence([torch.tensor(one) for one in texts], batch_first=True, padding_side=side)
            ones = pad_sequence([torch.ones(len(one)) for one in texts], batch_first=True, padding_side=side)
            tables += [ids.to(device), ones.long().to(device)]
        return Rows(*tables)

    def owners(self) -> Tensor:
        """Return the number of each row's prompt [R]; a prompt's rows are neighbours."""
        marked = torch.where(self.prompt_mask.bool(), self.prompts, -1)  # [R, P]
        new = (marked[1:] != marked[:-1]).any(dim=1)
        return F.pad(new.long().cumsum(dim=0), (1, 0))

    def cut(self, most: int) -> list[slice]:
        """Return consecutive parts of at most `most` rows; a prompt is cut only where it has more rows than that."""
        sizes = torch.bincount(self.owners()).tolist()
        parts, start, end = [], 0, 0
        for size in sizes:
            if end > start and end + size - start > most:
                parts.append(slice(start, end))
                start = end
            end += size
            while end - start > most:
                parts.append(slice(start, start + most))
                start += most
        return [*parts, slice(start, end)]

    def part(self, rows: slice) -> Rows:
        """Return some of the rows."""
        return Rows(
            self.prompts[rows], self.prompt_mask[rows], self.completions[rows], self.completion_mask[rows]
        )  # fmt: skip


def run(model: nn.Module, inner: PreTrainedModel, rows: Rows, temperature: float) -> Passed:
    """Compute the log-probabilities of completions.

    Args:
        model: as the trainer calls it (it may be wrapped), with TRL's fused head.
        inner: the model itself, of an architecture that `can_share`.
        rows: R completions.
        temperature: above 0; the logits are divided by it.
    """
    ids, positions, layout = lay_out(rows)
    known = rows.completion_mask.bool()  # [R, L]
    targets = rows.completions[known]
    inputs = {"input_ids": ids, "position_ids": positions, "attention_mask": None, "packed": layout}
    first = ids.shape[1] - len(targets)
    with sharing(inner, NAME):
        if len(targets) * int(inner.config.vocab_size) <= _LOGITS_AT_ONCE:
            logits = model(**inputs, use_cache=False, logits_to_keep=len(targets)).logits.squeeze(0)  # [tokens, V]
            logprobs, entropies = _Chosen.apply(logits, targets, temperature)  # type: ignore[no-untyped-call]
        else:
            labels = torch.full_like(ids, -100)
            labels[0, first:] = targets
            found = model(**inputs, shift_labels=labels, fused_lm_head=True)
            logprobs = found.log_probs[0, first:]
            entropies = None if found.entropy is None else found.entropy[0, first:].detach()
    return Passed(_table(known, logprobs), None if entropies is None else _table(known, entropies))


def lay_out(rows: Rows) -> tuple[Tensor, Tensor, Layout]:
    """Return ids [1, T], position ids [1, T] and the layout of a batch."""
    owner = rows.owners()
    heads = torch.ones_like(owner, dtype=torch.bool)
    heads[1:] = owner[1:] != owner[:-1]  # the first row of each prompt
    lengths = rows.prompt_mask[heads].sum(dim=1)  # [B]
    # Left-padded, so the last column is each prompt's last token: it goes to the rows.
    before = rows.prompt_mask[heads][:, :-1].bool()
    prompts, tails = Ragged.of(lengths - 1), Ragged.of(rows.completion_mask.sum(dim=1))
    inputs = torch.cat([rows.prompts[:, -1:], rows.completions[:, :-1]], dim=1)  # [R, L]
    known = rows.completion_mask.bool()
    ids = torch.cat([rows.prompts[heads][:, :-1][before], inputs[known]])
    after = (lengths - 1)[owner, None] + torch.arange(inputs.shape[1], device=ids.device)  # [R, L]
    positions = torch.cat([(before.cumsum(dim=1) - 1)[before], after[known]])
    steps = torch.arange(max(prompts.width, tails.width), device=ids.device)
    seen = (steps[: prompts.width] < (lengths - 1)[owner, None])[:, None, :]  # [R, 1, prompt width]
    own = steps[: tails.width, None] >= steps[: tails.width]  # [tail width, tail width]
    visible = torch.cat([seen.expand(-1, tails.width, -1), own.expand(len(owner), -1, -1)], dim=2)
    mask = torch.zeros(visible.shape, device=ids.device).masked_fill_(~visible, -torch.inf)[:, None]
    sizes = set(torch.bincount(owner).tolist())
    each = sizes.pop() if len(sizes) == 1 else 0
    return ids[None], positions[None], Layout(prompts, tails, owner, each, mask)


def attend(  # noqa: PLR0913 - the signature of transformers
    module: nn.Module,  # noqa: ARG001
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001 - the layout says who sees whom
    scaling: float,
    packed: Layout,
    dropout: float = 0.0,
    **others: object,  # noqa: ARG001
) -> tuple[Tensor, None]:
    """Attend within prompts, and from completions to their prompts and to themselves.

    Args:
        module: not read.
        query: [1, heads, T, head width].
        key: [1, key heads, T, head width].
        value: as `key`.
        attention_mask: not read.
        scaling: of the dot products.
        packed: where the T tokens belong.
        dropout: of the attention weights.
        others: what transformers hands over besides.

    Returns:
        [1, T, heads, head width], and no weights.
    """
    # Splits and views, not slices: the gradient of a slice is a whole tensor of zeros.
    x = [one.squeeze(0).transpose(0, 1) for one in (query, key, value)]  # [T, heads, head width]
    first, grouped = len(packed.prompts.places), query.shape[1] // key.shape[1]
    if grouped > 1:  # as transformers does: not every kernel with a mask takes fewer heads of keys
        x[1:] = [one.repeat_interleave(grouped, dim=1) for one in x[1:]]
    parts = [one.split([first, len(one) - first]) for one in x]
    q, k, v = (packed.tails.spread(own) for _, own in parts)  # [R, heads, tail width, head width]
    found = []
    if first:
        above, *inner = (packed.prompts.spread(shared) for shared, _ in parts)  # [B, heads, prompt width, head width]
        read = F.scaled_dot_product_attention(
            above, inner[0], inner[1], dropout_p=dropout, is_causal=True, scale=scaling
        )  # texts start at the left, so what is padded comes later and is not seen
        found.append(packed.prompts.gather(read))
        k, v = (torch.cat([packed.repeat(shared), own], dim=2) for shared, own in zip(inner, (k, v), strict=True))
    mask = packed.mask.to(query.dtype)
    read = F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=dropout, scale=scaling
    )  # fmt: skip
    found.append(packed.tails.gather(read))
    return torch.cat(found)[None], None


class _Chosen(torch.autograd.Function):
    """Log-probabilities of given tokens, with gradient, and entropies, without, from logits [n, V] read in cache."""

    @staticmethod
    def forward(ctx, logits: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def]  # noqa: ANN001
        keeps = ctx.needs_input_grad[0]
        # Of log-probability over logit; float32 logits give their memory, as nobody reads them again.
        slopes = logits.detach().float() if keeps else None
        logprobs, entropies = (torch.empty(len(logits), device=logits.device) for _ in range(2))
        for start in range(0, len(logits), _ROWS):
            rows = slice(start, start + _ROWS)
            part = logits[rows].float()
            part = torch.log_softmax(part if temperature == 1 else part / temperature, dim=-1)
            weights = torch.exp(part, out=None if slopes is None else slopes[rows])
            logprobs[rows] = part.gather(1, targets[rows, None])[:, 0]
            entropies[rows] = -part.mul_(weights).sum(dim=-1)
            if slopes is not None:
                weights.neg_().scatter_add_(1, targets[rows, None], torch.ones_like(weights[:, :1]))
        ctx.temperature = temperature
        ctx.save_for_backward(slopes)
        ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    def backward(ctx, gradient: Tensor, _: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[no-untyped-def]  # noqa: ANN001
        (slopes,) = ctx.saved_tensors
        return slopes.mul_(gradient[:, None] / ctx.temperature), None, None  # in place: autograd refuses a second call


def _table(known: Tensor, values: Tensor) -> Tensor:
    """Return the values [tokens] where `known` [R, L] is true, in order, 0 elsewhere."""
    return values.new_zeros(known.shape).masked_scatter(known, values)


AttentionInterface.register(NAME, attend)
