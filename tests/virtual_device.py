"""A CUDA device for tests without a GPU: real values, CUDA's rules.

A `VirtualTensor` says that it is on "cuda:0", so the code under test takes its CUDA branches, and
holds its values in a CPU tensor. (torch's own code, in C++, takes it for a CPU tensor: autograd has
no streams for a device that torch is not built for.) Inside `virtual_cuda()`

- an operation over two devices raises, but for what CUDA allows: CPU tensors without dimensions,
  and CPU indices of a CUDA tensor;
- every wait of the host for the device is counted, with the line that caused it: item(), tolist(),
  blocking copies in either direction, boolean indexing, CPU indices, nonzero and its like;
- streams have clocks: a tensor that one stream has written and another uses without having waited
  raises, and so does a pinned buffer that is read before its copy is known to have ended, or
  written while a copy from it may still run;
- memory that is freed on the stream that made it while another may still use it raises at the next
  operation (the allocator would hand it out again), unless `record_stream` was called;
- graphs are captured and replayed, see `virtual_graphs`.

The kernels are the CPU's: what differs between CUDA's and these (rounding, speed) is not seen.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from virtual_graphs import VirtualGraph
from virtual_operations import VirtualCuda
from virtual_streams import VirtualEvent, VirtualStream, WrongStream, active
from virtual_tensors import VirtualTensor, WrongDevice

__all__ = ["VirtualCuda", "VirtualTensor", "WrongDevice", "WrongStream", "virtual_cuda"]


class _Mode(TorchDispatchMode):
    """Sees what no tensor of ours takes part in: factories, and copies to the device."""

    def __init__(self, gpu: "VirtualCuda") -> None:
        super().__init__()
        self.gpu = gpu

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.gpu.run(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """Moves between devices, which torch's C++ would take for nothing to do."""

    def __init__(self, gpu: "VirtualCuda") -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.to:
            target = _target(*args[1:], **kwargs)
            if isinstance(args[0], VirtualTensor) or (target[0] and target[0].type == "cuda"):
                return self.gpu.move(args[0], *target)
        if func is torch.Tensor.cpu and isinstance(args[0], VirtualTensor):
            return self.gpu.move(args[0], torch.device("cpu"), None, False, False)
        if func is torch.Tensor.cuda:
            device = torch.device("cuda", kwargs.get("device") or 0)
            free = bool(kwargs.get("non_blocking"))
            return self.gpu.move(args[0], device, None, free, False)
        if func is torch.Tensor.new_tensor and isinstance(args[0], VirtualTensor):
            made = torch.tensor(*args[1:], **{"dtype": args[0].dtype, **kwargs})
            return self.gpu.move(made, args[0].device, None, False, False)
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            device = torch.device(kwargs.pop("device"))
            if device.type != "cuda":
                return func(*args, device=device, **kwargs)
            return self.gpu.move(func(*args, **kwargs), device, None, False, False)
        return func(*args, **kwargs)


def _target(
    *args: Any,
    device: Any = None,
    dtype: torch.dtype | None = None,
    non_blocking: bool = False,
    copy: bool = False,
    other: torch.Tensor | None = None,
    **_: object,
) -> tuple[torch.device | None, torch.dtype | None, bool, bool]:
    """What a call of Tensor.to asks for."""
    for value in args:
        if isinstance(value, torch.Tensor):
            other = value
        elif isinstance(value, torch.dtype):
            dtype = value
        elif isinstance(value, bool):
            non_blocking, copy = non_blocking or value, copy
        elif value is not None:
            device = value
    if other is not None:
        return other.device, other.dtype, non_blocking, copy
    return None if device is None else torch.device(device), dtype, non_blocking, copy


@contextmanager
def virtual_cuda(devices: int = 1) -> Iterator[VirtualCuda]:
    """Make torch believe that there are that many GPUs; gives what they have seen."""
    gpu = VirtualCuda(devices)
    plain_run, plain_numpy, plain_list = (
        threading.Thread.run,
        torch.Tensor.numpy,
        torch.Tensor.tolist,
    )

    def run(thread: threading.Thread) -> None:
        with _Functions(gpu), _Mode(gpu):
            plain_run(thread)

    def numpy(tensor: torch.Tensor, **options: bool) -> Any:
        if isinstance(tensor, VirtualTensor):
            raise TypeError(f"can't convert {tensor.device} device type tensor to numpy")
        gpu._require_arrived(tensor)
        return plain_numpy(tensor, **options)

    def tolist(tensor: torch.Tensor) -> Any:
        if isinstance(tensor, VirtualTensor):
            gpu._block("tolist")
            return plain_list(tensor.inner)
        gpu._require_arrived(tensor)
        return plain_list(tensor)

    def called(name: str) -> Any:
        return lambda *_, **__: gpu.calls.update([name])

    cuda = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "device_count": lambda: gpu.devices,
        "get_device_name": lambda device=None: f"virtual {torch.device(device or 'cuda:0')}",
        "memory_reserved": lambda device=None: 3 << 30,
        "memory_allocated": lambda device=None: 1 << 30,
        "mem_get_info": lambda device=None: (gpu.free, gpu.free),
        "synchronize": gpu.synchronize,
        "Stream": VirtualStream,
        "Event": VirtualEvent,
        "stream": gpu.on,
        "current_stream": lambda device=None: gpu.stream,
        "default_stream": lambda device=None: gpu.default,
        "CUDAGraph": VirtualGraph,
        # It draws from the host's generator.
        "get_rng_state": lambda device=None: torch.empty(0, dtype=torch.uint8),
        "set_rng_state": lambda state, device=None: None,
        "manual_seed": lambda seed: None,
        "device": lambda device: nullcontext(),
        "graph_pool_handle": lambda: (0, 0),
        "is_current_stream_capturing": lambda: gpu.capturing is not None,
        "empty_cache": called("empty_cache"),
        "set_device": called("set_device"),
        "is_bf16_supported": lambda *_, **__: True,
    }
    with ExitStack() as stack:
        for name, value in cuda.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, value))
        patches = {
            "numpy": numpy,
            "tolist": tolist,
            "pin_memory": lambda tensor, device=None: gpu._pin(tensor),
            "is_pinned": lambda tensor, device=None: tensor in gpu._pinned,
            "record_stream": lambda tensor, stream: tensor.memory.recorded.add(stream),
        }
        for name, value in patches.items():
            stack.enter_context(mock.patch.object(torch.Tensor, name, value))
        stack.enter_context(mock.patch.object(threading.Thread, "run", run))
        # Module.to then makes new parameters: the old ones' Python objects hold no `inner`.
        stack.enter_context(
            mock.patch.object(torch, "_has_compatible_shallow_copy_type", return_value=False)
        )
        # Tensors of inference mode have no version, which views of our tensors would share.
        stack.enter_context(mock.patch.object(torch, "inference_mode", torch.no_grad))
        stack.enter_context(_Functions(gpu))
        stack.enter_context(_Mode(gpu))
        active.append(gpu)
        try:
            yield gpu
        finally:
            active.remove(gpu)
    if sys.exc_info()[0] is None and gpu.hazards:
        raise WrongStream(gpu.hazards[0])
