"""The history tower: a causal transformer over item vectors, read at a history's last item.

An item vector is a text projection plus a learned id (either may be absent), tied between input and output, so the
tower holds SASRec as a special case. Positions enter as a learned bias on the distance between two items only; so a
history and its prefixes give the same vectors, and one pass serves many training rows (`rporec.rechead.packing`).
Not here: the transition channel, reasoning, training.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from rporec.files import atomic_file

HIDDEN_FACTOR = 2  # width of the feed-forward part / D; 4 cost a third more time and ranked no better (Industrial)
_ID_SCALE = 0.02
_TEXT_SCALE = 0.08  # text rows have length 1, so a projected row starts with the length of a usual embedding
_FAR = -1e9  # not -inf: a row that sees nothing must stay finite


@dataclass(frozen=True)
class TowerShape:
    """Sizes of a tower.

    Args:
        n_items: N.
        text_dim: width of the item texts' vectors; 0 = ids only.
        width: D.
        layers: transformer layers.
        heads: attention heads; divides `width`.
        history_length: H, most items that are read.
        dropout: share dropped in training, in [0, 1).
        ids: learned id vectors beside the text.
    """

    n_items: int
    text_dim: int
    width: int
    layers: int
    heads: int
    history_length: int
    dropout: float
    ids: bool = True


class Noise:
    """Dropout masks and samples drawn from (seed, step): the same at any thread count and after a resume.

    torch's own dropout took a quarter of a training step on CPU; random bytes cost a tenth of that.
    """

    def __init__(self, rate: float, seed: int, step: int) -> None:
        self._bits = np.random.SFC64(np.random.SeedSequence([seed, step]))
        self._limit = round(rate * 256)  # rates are kept to 1/256
        self._scale = 256.0 / (256 - self._limit)

    def __call__(self, x: Tensor) -> Tensor:
        """Return `x` with a share of its entries zeroed and the others scaled up; shape kept."""
        if self._limit == 0:
            return x
        count = x.numel()
        raw = self._bits.random_raw((count + 7) // 8).view(np.uint8)[:count]
        keep = torch.from_numpy(raw >= self._limit).view(x.shape)
        return x * keep.to(x.dtype).mul_(self._scale)

    def integers(self, high: int, shape: tuple[int, ...]) -> Tensor:
        """Return uniform integers in 0..high-1 from the same source, of this shape, int64."""
        return torch.from_numpy(np.random.Generator(self._bits).integers(high, size=shape))


class Block(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_hidden = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, HIDDEN_FACTOR * width), nn.Linear(HIDDEN_FACTOR * width, width)

    def forward(self, x: Tensor, bias: Tensor, noise: Noise | None) -> Tensor:
        """Map x [B, L, D] to [B, L, D]; `bias` [heads, L, L] is added to the attention scores."""
        B, L, D = x.shape
        heads = self.qkv(self.norm_attention(x)).view(B, L, 3, self.heads, D // self.heads)
        q, k, v = heads.permute(2, 0, 3, 1, 4)  # 3 x [B, heads, L, D / heads]
        weights = torch.softmax((q @ k.transpose(-1, -2)) / math.sqrt(D // self.heads) + bias, dim=-1)
        mixed = self.out((weights @ v).transpose(1, 2).reshape(B, L, D))  # [B, L, D]
        x = x + (mixed if noise is None else noise(mixed))
        hidden = self.down(F.gelu(self.up(self.norm_hidden(x))))
        return x + (hidden if noise is None else noise(hidden))


class HistoryTower(nn.Module):
    """Item vectors and the transformer that reads them.

    Args:
        shape: sizes.
        texts: [N, text_dim] rows of length 1 (or 0), None when shape.text_dim is 0.
        seed: of the initial weights.
    """

    texts: Tensor

    def __init__(self, shape: TowerShape, texts: Tensor | None, seed: int) -> None:
        super().__init__()
        self.shape = shape
        rng = torch.Generator().manual_seed(seed)
        self.ids = (
            nn.Parameter(torch.randn(shape.n_items, shape.width, generator=rng) * _ID_SCALE) if shape.ids else None
        )
        self.project = None
        if texts is not None:
            self.register_buffer("texts", texts.clone())  # a checkpoint is read into it, never into the caller's
            self.project = nn.Parameter(torch.randn(shape.text_dim, shape.width, generator=rng) * _TEXT_SCALE)
        self.distance = nn.Parameter(torch.zeros(shape.heads, shape.history_length))
        self.blocks = nn.ModuleList(Block(shape.width, shape.heads) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)
        for block in self.blocks:
            for layer in block.children():
                if isinstance(layer, nn.Linear):
                    bound = math.sqrt(6.0 / (layer.in_features + layer.out_features))
                    layer.weight.data.uniform_(-bound, bound, generator=rng)
                    layer.bias.data.zero_()

    def item_vectors(self) -> Tensor:
        """Return all item vectors, [N, D]."""
        if self.project is None:
            assert self.ids is not None
            return self.ids
        projected = self.texts @ self.project  # [N, D]
        return projected if self.ids is None else projected + self.ids

    def forward(self, vectors: Tensor, history: Tensor, noise: Noise | None = None) -> Tensor:
        """Read histories.

        Args:
            vectors: [N, D] from `item_vectors`.
            history: [B, L] item indices, oldest first, left-aligned (what stands behind a row's end is never seen by
                the positions before it); L at most H.
            noise: dropout masks, None = no dropout.

        Returns:
            [B, L, D]: at each position the query for the item that comes next.
        """
        x = F.embedding(history, vectors)
        x = x if noise is None else noise(x)
        bias = self._bias(history.shape[1])
        for block in self.blocks:
            x = block(x, bias, noise)
        return self.norm(x)  # type: ignore[no-any-return]

    def save(self, path: Path) -> None:
        """Write one safetensors file; the sizes stand in its metadata."""
        tensors = {name: value.contiguous() for name, value in self.state_dict().items()}
        with atomic_file(path) as temporary:
            save_file(tensors, temporary, metadata={"shape": json.dumps(asdict(self.shape), sort_keys=True)})

    @staticmethod
    def load(path: Path) -> HistoryTower:
        """Read what `save` wrote."""
        with safe_open(path, framework="pt") as stored:
            shape = TowerShape(**json.loads((stored.metadata() or {})["shape"]))
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a mapping
        tower = HistoryTower(shape, tensors.get("texts"), seed=0)
        tower.load_state_dict(tensors)
        return tower

    def _bias(self, length: int) -> Tensor:
        steps = torch.arange(length)
        back = steps[:, None] - steps[None, :]  # [L, L]
        return self.distance[:, back.clamp(min=0)].masked_fill(back < 0, _FAR)  # [heads, L, L]


def pad(histories: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Return ([B, L] indices left-aligned and padded with 0, [B] lengths); no history may be empty."""
    lengths = np.fromiter((len(h) for h in histories), dtype=np.int64, count=len(histories))
    padded = np.zeros((len(histories), int(lengths.max())), dtype=np.int64)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = np.concatenate(histories)
    return torch.from_numpy(padded), torch.from_numpy(lengths)
