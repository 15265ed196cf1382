"""Shapes and batches that the probe tests share."""

import os

import pytest
import torch
from torch import Tensor

from stepcli.probe.tokens import TokenLayout

os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)


@pytest.fixture
def layout() -> TokenLayout:
    """4 frames of 3 tokens with 32 channels."""
    return TokenLayout.of(frames=4, tokens=3, dim=32)


@pytest.fixture
def tokens() -> Tensor:
    """5 clips of that layout, float32, with a mean and a spread as real tokens have."""
    return torch.randn(5, 4, 3, 32, generator=torch.Generator().manual_seed(7)) * 2 + 0.5
