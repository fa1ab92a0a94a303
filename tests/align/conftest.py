"""The backbones that the tests of alignment start from, one copy a module."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rporec.align.run import Trained
from rporec.rechead.model import Rechead
from tests.align import runs, world
from tests.align.judged import CATALOGUE
from tests.backbone.models import qwen3
from tests.release import world as shop


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small writer that keeps the form."""
    folder = tmp_path_factory.mktemp("backbone")
    torch.set_num_threads(1)
    world.write_backbone(folder)
    return folder


@pytest.fixture(scope="module")
def checkpointed(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Return what a run with checkpoints leaves that nothing disturbed."""
    return runs.run(backbone, tmp_path_factory.mktemp("checkpointed"), runs.small(**runs.CHECKPOINTED))


@pytest.fixture(scope="module")
def untaught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a Qwen3 with fresh weights."""
    folder = tmp_path_factory.mktemp("untaught")
    torch.set_num_threads(1)
    qwen3().save(folder)
    return folder


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Rechead:
    """Return a real Rechead whose reasoning moves the ranking."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("rechead")
    shop.write_rechead(folder / "rechead", CATALOGUE, shop.rows("fit", 160, 0, 0))
    made = Rechead.load(folder / "rechead")
    with torch.no_grad():
        made.reasoning.outward.normal_(generator=torch.Generator().manual_seed(1))  # as loaded, taste is 0
    return made
