"""The virtual GPU refuses what CUDA refuses, and counts what CUDA waits for."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # for virtual_device.py

from virtual_device import VirtualTensor, WrongDevice, WrongStream, virtual_cuda

CUDA = torch.device("cuda:0")


def test_values_are_those_of_the_cpu_and_gradients_too() -> None:
    layer, x = torch.nn.Linear(4, 2), torch.randn(3, 4)
    layer(x).square().sum().backward()
    wanted = layer.weight.grad
    layer.weight.grad = None
    with virtual_cuda():
        layer.to(CUDA)
        layer(x.to(CUDA)).square().sum().backward()
        assert isinstance(layer.weight.grad, VirtualTensor)
        assert layer.weight.grad.device == CUDA
        torch.testing.assert_close(layer.weight.grad.cpu(), wanted)


def test_two_devices_in_one_operation_are_refused() -> None:
    with virtual_cuda(devices=2):
        here, there, host = (
            torch.ones(2, device=CUDA),
            torch.ones(2, device="cuda:1"),
            torch.ones(2),
        )
        for other in (there, host):
            with pytest.raises(WrongDevice):
                here + other
        with pytest.raises(WrongDevice):
            host[torch.zeros(1, dtype=torch.long, device=CUDA)]
        assert (here + torch.tensor(1.0)).tolist() == [2, 2]
        with pytest.raises(RuntimeError, match="device ordinal 2"):
            torch.ones(2, device="cuda:2")
        with pytest.raises(TypeError, match="numpy"):
            here.numpy()


@pytest.mark.parametrize(
    ("kind", "act"),
    [
        ("item", lambda x: x[0].item()),
        ("item", lambda x: bool(x[0] > 0)),
        ("tolist", lambda x: x.tolist()),
        ("copy to the host", lambda x: x.cpu()),
        ("copy to the device", lambda x: x + torch.ones(3).to(x.device)),
        ("copy to the device", lambda x: torch.tensor([1.0], device=x.device)),
        ("index from the host", lambda x: x[[0, 2]]),
        ("boolean index", lambda x: x[x > 0]),
        ("nonzero", lambda x: x.nonzero()),
    ],
)
def test_waits_are_counted_by_line(kind: str, act: object) -> None:
    with virtual_cuda() as gpu:
        x = torch.ones(3, device=CUDA)
        assert not gpu.waits
        act(x)  # type: ignore[operator]
        assert [name.partition(" at ")[0] for name in gpu.waits] == [kind]
        assert all("tests/test_virtual_device.py:" in name for name in gpu.waits)


def test_a_stream_that_did_not_wait_may_not_read() -> None:
    with virtual_cuda():
        x = torch.ones(3, device=CUDA)
        side = torch.cuda.Stream()
        with torch.cuda.stream(side), pytest.raises(WrongStream, match="did not wait"):
            x + 1
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            y = x + 1
        with pytest.raises(WrongStream, match="did not wait"):
            y + 1
        torch.cuda.synchronize()
        assert (y + 1).tolist() == [3, 3, 3]


def test_a_copy_to_the_host_is_read_when_it_has_ended() -> None:
    with virtual_cuda():
        pinned = torch.empty(3, pin_memory=True)
        pinned.copy_(torch.ones(3, device=CUDA), non_blocking=True)
        with pytest.raises(WrongStream, match="read before"):
            pinned.numpy()
        torch.cuda.current_stream().synchronize()
        assert pinned.numpy().tolist() == [1, 1, 1]


@pytest.mark.parametrize("recorded", [False, True])
def test_memory_is_not_given_back_while_another_stream_uses_it(recorded: bool) -> None:
    def lend() -> None:
        x = torch.ones(3, device=CUDA)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            x.add_(1)
        if recorded:
            x.record_stream(side)
        del x
        torch.ones(3, device=CUDA)

    with virtual_cuda():
        if recorded:
            lend()
        else:
            with pytest.raises(WrongStream, match="freed"):
                lend()


def captured(work: Callable[[], object]) -> torch.cuda.CUDAGraph:
    graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        graph.capture_begin()
        try:
            work()
        finally:
            graph.capture_end()
    torch.cuda.current_stream().wait_stream(side)
    return graph


def test_a_graph_does_again_what_was_captured() -> None:
    with virtual_cuda():
        x, number, made = torch.ones(3, device=CUDA), 2.0, []
        graph = captured(lambda: made.append(x.add_(1).mul(number)))
        assert x.tolist() == [1, 1, 1]
        assert made[0].isnan().all()
        number = 5.0
        for wanted in (4, 6):
            graph.replay()
            assert made[0].tolist() == [wanted] * 3
        assert x.tolist() == [3, 3, 3]


@pytest.mark.parametrize(
    "act",
    [
        lambda x: x[0].item(),
        lambda x: x[x > 0],
        lambda x: x.cpu(),
        lambda x: x + torch.ones(3).pin_memory().to(x.device, non_blocking=True),
        lambda x: x.copy_(torch.ones(3).pin_memory(), non_blocking=True),
    ],
)
def test_a_capture_refuses_what_the_host_takes_part_in(act: Callable[[Any], object]) -> None:
    with virtual_cuda():
        x = torch.ones(3, device=CUDA)
        with pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
            captured(lambda: act(x))


def test_a_graph_s_memory_is_kept_and_its_own() -> None:
    def lend() -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
        x, made = torch.ones(3, device=CUDA), []
        graph = captured(lambda: made.append(x + 1))
        graph.replay()
        with pytest.raises(WrongStream, match="written from outside"):
            made[0].add_(1)
        return graph, made[0]

    with virtual_cuda():
        graph, _ = lend()
        with pytest.raises(WrongStream, match="freed after its capture"):
            graph.replay()
