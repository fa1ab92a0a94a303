"""Products of a few rows with the whole catalogue, which cost what reading its table costs: so it is read once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

_FEW = 8  # queries; with more the arithmetic counts, not the reading


def with_all(queries: Sequence[Tensor], table: Tensor) -> list[Tensor]:
    """Return the products of queries with every row of a table, of each kind [B, N] float32.

    Args:
        queries: of each kind [B, T]; all kinds together are one pass over the table.
        table: [N, T].
    """
    rows = torch.cat(list(queries))
    few = 1 < len(rows) <= _FEW
    found = (table @ rows.T).T.contiguous() if few else rows @ table.T
    return list(found.split([len(one) for one in queries]))


def gather(matrix: sp.csr_matrix, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted sum of some rows of a matrix [X, N], dense, [N] float64.

    A product of sparse matrices would take ten times as long to set up.
    """
    starts = matrix.indptr[rows].astype(np.int64)
    lengths = matrix.indptr[rows + 1] - starts
    places = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(int(lengths.sum()))
    values = matrix.data[places] * np.repeat(weights, lengths)
    return np.bincount(matrix.indices[places], weights=values, minlength=matrix.shape[1])
