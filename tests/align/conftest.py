"""The backbones that the tests of alignment start from, one copy a module."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.align import world
from tests.backbone.models import qwen3


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small writer that keeps the form."""
    folder = tmp_path_factory.mktemp("backbone")
    torch.set_num_threads(1)
    world.write_backbone(folder)
    return folder


@pytest.fixture(scope="module")
def untaught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a Qwen3 with fresh weights."""
    folder = tmp_path_factory.mktemp("untaught")
    torch.set_num_threads(1)
    qwen3().save(folder)
    return folder
