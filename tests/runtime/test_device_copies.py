"""Copies to a device: what they hold, and that they do not wait."""

import sys
from pathlib import Path

import pytest
import torch

from stepcli.probe.data.selection import take_tokens
from stepcli.runtime.device_copies import to_device

sys.path.insert(0, str(Path(__file__).parents[1]))  # for virtual_device.py

from virtual_device import virtual_cuda

CUDA = torch.device("cuda:0")


def test_a_copy_to_the_cpu_is_the_tensor_itself() -> None:
    values = torch.arange(3)
    assert to_device(values, torch.device("cpu")) is values


def test_a_copy_to_a_gpu_does_not_wait() -> None:
    values = torch.arange(12).view(3, 4)
    with virtual_cuda() as gpu:
        copy = to_device(values, CUDA)
        assert copy.device == CUDA
        assert to_device(copy, CUDA) is copy
        assert not gpu.waits
        assert torch.equal(copy.cpu(), values)
        assert gpu.waits.total() == 1


@pytest.mark.parametrize("positions", [slice(1, 3), [0, 2, 3], [2]])
def test_chosen_tokens_are_the_same_on_a_gpu(positions: slice | list[int]) -> None:
    values = torch.randn(2, 3, 4, 5)
    with virtual_cuda() as gpu:
        found = take_tokens(to_device(values, CUDA), positions)
        assert not gpu.waits
        assert torch.equal(found.cpu(), values[:, :, positions])
