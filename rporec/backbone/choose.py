"""The next token of each row from its logits: greedy, or by inverse CDF from one random number a row. No model here.

Memory is what this costs, so the logits are read in blocks and weighed in place: half the time of a running sum over
the whole vocabulary.
"""

import torch
import torch.nn.functional as F

from rporec.errors import InputError

_BLOCK = 64  # tokens that are added up or searched at once: running sums and places of maxima are not vectorised


def pick(
    logits: torch.Tensor, numbers: torch.Tensor, temperature: float, entropies: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose the next token of each row by inverse CDF (one number a row), or greedily at temperature 0.

    Args:
        logits: [R, V].
        numbers: [R] random, in [0, 1).
        temperature: 0 = greedy.
        entropies: [R] float32, written to: nats of the distribution drawn from (at temperature 1 for greedy).

    Returns:
        Token ids [R] and their log-probabilities [R] float32.

    Raises:
        InputError: a row's scores are not finite.
    """
    given = logits = logits.float()
    logits = F.pad(logits, (0, rest), value=-torch.inf) if (rest := -logits.shape[1] % _BLOCK) else logits
    rows = torch.arange(len(logits), device=logits.device)
    best = logits.unflatten(1, (-1, _BLOCK)).amax(dim=-1)  # [R, V / 64]
    top = best.amax(dim=-1, keepdim=True)  # [R, 1]
    if not bool(torch.isfinite(top).all()):
        raise InputError(
            "the backbone's scores of the next token are no numbers", field="backbone.dtype",
            rule="finite scores", cure="set backbone.dtype to float32; if that does not help, its weights are damaged",
        )  # fmt: skip
    # In place, and not divided by their total: memory is what this costs.
    weights = logits.sub(top).div_(temperature or 1.0).exp_()  # [R, V]
    if entropies is not None:
        _measure(given, top, weights[:, : given.shape[1]], temperature or 1.0, entropies)
    blocks = weights.unflatten(1, (-1, _BLOCK))  # [R, V / 64, 64]
    if temperature == 0:
        block = best.argmax(dim=-1)
        tokens = block * _BLOCK + logits.unflatten(1, (-1, _BLOCK))[rows, block].argmax(dim=-1)
        return tokens, -weights.sum(dim=-1).log()
    ends = _running(blocks.sum(dim=-1))  # [R, V / 64]
    total = ends[:, -1]
    reach = numbers * total
    block = _first_above(ends, reach)
    start = torch.where(block > 0, ends[rows, (block - 1).clamp(min=0)], torch.zeros_like(total))
    tokens = block * _BLOCK + _first_above(_running(blocks[rows, block]), (reach - start).clamp(min=0))
    return tokens, (weights[rows, tokens] / total).log()


def _measure(
    logits: torch.Tensor, top: torch.Tensor, weights: torch.Tensor, temperature: float, entropies: torch.Tensor
) -> None:
    """Write log(sum w) - sum(w ln w) / sum(w) of each row to `entropies`, where ln w = (logit - top) / temperature."""
    total = weights.sum(dim=-1)
    mean = torch.linalg.vecdot(weights, logits) / total
    if not bool(torch.isfinite(mean).all()):  # 0 times -inf, where a token is ruled out
        mean = torch.linalg.vecdot(weights, logits.clamp(min=torch.finfo(logits.dtype).min)) / total
    entropies.copy_(total.log() - (mean - top[:, 0]) / temperature)


def _running(x: torch.Tensor) -> torch.Tensor:
    """Return running sums [R, X], added up on the CPU: CUDA refuses them where every run must give the same bits."""
    return x.cpu().cumsum(dim=-1).to(x.device)


def _first_above(cumulative: torch.Tensor, reach: torch.Tensor) -> torch.Tensor:
    """Return the first place [R] where cumulative sums [R, X] exceed `reach` [R], at least 0.

    Strictly below the last sum, else rounding could choose a place of probability 0 behind the last possible one.
    """
    end = cumulative[:, -1]
    below = torch.minimum(reach, torch.nextafter(end, torch.zeros_like(end)))
    return torch.searchsorted(cumulative, below[:, None], right=True)[:, 0]
