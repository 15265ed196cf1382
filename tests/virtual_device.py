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
  operation (the allocator would hand it out again), unless `record_stream` was called.

The kernels are the CPU's: what differs between CUDA's and these (rounding, speed) is not seen.
"""

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock
from weakref import WeakKeyDictionary

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary
from virtual_streams import Memory, VirtualEvent, VirtualStream, WrongStream, active, here, merge

OURS = f"{Path(__file__).resolve().parents[1]}/"
ENGINE = torch.autograd.graph.__file__
aten = torch.ops.aten
WAITS = {
    aten._local_scalar_dense.default: "item",
    aten.nonzero.default: "nonzero",
    aten.masked_select.default: "masked_select",
    aten._unique2.default: "unique",
    aten.unique_dim.default: "unique",
    aten.unique_consecutive.default: "unique",
    aten.bincount.default: "bincount",
    aten.equal.default: "equal",
}
"""Operations whose CUDA kernels make the host wait, by the name that they are counted under."""
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
INDEXING |= {aten._index_put_impl_.default}


class WrongDevice(RuntimeError):
    """Tensors of two devices in one operation."""


class VirtualTensor(torch.Tensor):
    """A tensor that says it is on a CUDA device; its values are in `inner`, on the CPU."""

    inner: torch.Tensor
    memory: Memory
    place: torch.device
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: torch.Tensor, device: torch.device, memory: Memory) -> "VirtualTensor":
        made: VirtualTensor = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=inner.device,
        )
        made.inner, made.memory, made.place = inner, memory, device
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.place

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @property
    def is_cpu(self) -> bool:  # type: ignore[override]
        return False

    def __repr__(self, **_: object) -> str:
        return f"VirtualTensor({tuple(self.shape)}, {self.dtype}, {self.device})"

    def __deepcopy__(self, memo: dict[int, object]) -> "VirtualTensor":
        if id(self) not in memo:
            copy = self.detach().clone()
            made = torch.nn.Parameter(copy, self.requires_grad) if _is_parameter(self) else copy
            memo[id(self)] = made
        return memo[id(self)]  # type: ignore[return-value]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return here().run(func, args, kwargs or {})


def _is_parameter(tensor: torch.Tensor) -> bool:
    return isinstance(tensor, torch.nn.Parameter)


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


class VirtualCuda:
    """The device: its streams, and what was seen."""

    def __init__(self, devices: int = 1) -> None:
        self.devices = devices
        self.waits: Counter[str] = Counter()
        """Waits of the host by kind and line, e.g. "item at probe/training/train.py:132"."""
        self.host: Counter[VirtualStream] = Counter()
        """What the host knows to be done."""
        self.hazards: list[str] = []
        self.calls: Counter[str] = Counter()
        """Of empty_cache and its like."""
        self.free = 64 << 30
        self.default = VirtualStream()
        self._seen: WeakKeyDictionary[VirtualStream, bool] = WeakKeyDictionary()
        self._current = threading.local()
        self._moving = threading.local()
        self._pinned: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._arriving: WeakIdKeyDictionary = WeakIdKeyDictionary()

    @property
    def stream(self) -> VirtualStream:
        """The calling thread's current one."""
        return getattr(self._current, "stream", self.default)

    @contextmanager
    def on(self, stream: VirtualStream | None) -> Iterator[None]:
        """torch.cuda.stream."""
        before = self.stream
        self._current.stream = stream or before
        try:
            yield
        finally:
            self._current.stream = before

    def wait(self, kind: str) -> None:
        """Count a wait of the host, by the innermost line of the code under test."""
        place = "elsewhere"
        frame = sys._getframe(1)
        while frame is not None:
            name = frame.f_code.co_filename
            # A virtual environment may lie in the tree.
            if name.startswith(OURS) and name != __file__ and "site-packages" not in name:
                place = f"{name.removeprefix(OURS)}:{frame.f_lineno}"
                break
            frame = frame.f_back  # type: ignore[assignment]
        self.waits[f"{kind} at {place}"] += 1

    def waits_of(self, *rooms: str) -> dict[str, int]:
        """Counted waits at lines of these rooms, e.g. "probe/"."""
        return {k: n for k, n in self.waits.items() if k.partition(" at ")[2].startswith(rooms)}

    def synchronize(self, _: object = None) -> None:
        """torch.cuda.synchronize."""
        self.wait("synchronize")
        for stream in self._seen:
            merge(self.host, stream.clock)

    # -- operations ------------------------------------------------------------------------

    def run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """One operation, as the dispatcher hands it over."""
        if self.hazards:
            raise WrongStream(self.hazards.pop())
        if func is aten.is_pinned.default:
            return args[0] in self._pinned
        if func in (aten._pin_memory.default, aten.pin_memory.default):
            return self._pin(args[0])
        leaves = list(_leaves(args)) + list(_leaves(kwargs.values()))
        virtual = [leaf for leaf in leaves if isinstance(leaf, VirtualTensor)]
        if func is aten._to_copy.default:
            return self._to_copy(args[0], kwargs)
        if func is aten.copy_.default:
            return self._copy(*args, **kwargs)
        target = kwargs.get("device")
        target = None if target is None else torch.device(target)
        if not virtual and func is aten.zeros.default and _caller() == ENGINE:
            # The gradient of a result that nothing was made of; the engine asks for it on the CPU.
            return self.wrap(func(*args, **kwargs), torch.device("cuda:0"))
        if not virtual and (target is None or target.type != "cuda"):
            for leaf in leaves:
                if isinstance(leaf, torch.Tensor):
                    self._require_arrived(leaf)
            if kwargs.pop("pin_memory", False):
                return self._pin(func(*args, **kwargs))
            return func(*args, **kwargs)
        device = virtual[0].device if virtual else self._device(target)
        if virtual:
            self._check(func, leaves, virtual)
        if func in WAITS:
            self._block(WAITS[func])
        if func is aten.repeat_interleave.Tensor and kwargs.get("output_size") is None:
            self._block("repeat_interleave")
        if func is aten._fused_sdp_choice.default:
            return 0  # plain products: the fused kernels of CUDA are not here
        writes = _written(func, args, kwargs)
        self._use(virtual, writes)
        if target is not None and target.type == "cpu":
            target = None  # torch's C++ takes ours for CPU tensors
        if kwargs.get("device") is not None:
            kwargs = kwargs | {"device": torch.device("cpu")}
        if "pin_memory" in kwargs:
            kwargs = kwargs | {"pin_memory": None}
        out = func(*_inner(args), **{key: _inner(value) for key, value in kwargs.items()})
        known = {id(tensor.inner): tensor for tensor in virtual}
        storages = {_storage(tensor.inner): tensor.memory for tensor in virtual}

        def wrapped(value: object) -> object:
            if not isinstance(value, torch.Tensor):
                return value
            if id(value) in known:
                return known[id(value)]
            return self.wrap(value, target or device, storages.get(_storage(value)))

        if isinstance(out, tuple | list):
            return type(out)(map(wrapped, out))
        return wrapped(out)

    def wrap(
        self, inner: torch.Tensor, device: torch.device, memory: Memory | None = None
    ) -> VirtualTensor:
        """A result on the device; a view has the memory of what it views."""
        if memory is None:
            memory = Memory(self)
            self._launch(memory)
        return VirtualTensor(inner, self._device(device), memory)

    def _device(self, device: torch.device | None) -> torch.device:
        index = (device.index or 0) if device is not None else 0
        if index >= self.devices:
            raise RuntimeError(f"CUDA error: invalid device ordinal {index}")
        return torch.device("cuda", index)

    def _launch(self, memory: Memory) -> None:
        """Put work that writes a block on the current stream."""
        stream = self.stream
        self._seen[stream] = True
        merge(stream.clock, self.host)
        stream.clock[stream] += 1
        memory.written = stream, stream.clock[stream]
        memory.used[stream] = stream.clock[stream]

    def _use(self, virtual: list[VirtualTensor], writes: set[int]) -> None:
        stream = self.stream
        self._seen[stream] = True
        merge(stream.clock, self.host)
        for tensor in virtual:
            writer, count = tensor.memory.written
            if stream.clock[writer] < count:
                raise WrongStream(
                    "a tensor that one stream has written is used on another, which did not wait"
                )
            tensor.memory.used[stream] = stream.clock[stream] + 1
        stream.clock[stream] += 1
        for tensor in virtual:
            if id(tensor) in writes:
                tensor.memory.written = stream, stream.clock[stream]

    def _check(self, func: Any, leaves: list[object], virtual: list[VirtualTensor]) -> None:
        devices = {tensor.device for tensor in virtual}
        if len(devices) > 1:
            raise WrongDevice(f"{func}: tensors on {', '.join(sorted(map(str, devices)))}")
        hosts = [
            leaf
            for leaf in leaves
            if isinstance(leaf, torch.Tensor) and not isinstance(leaf, VirtualTensor)
        ]
        for tensor in hosts:
            self._require_arrived(tensor)
        if func is aten._fused_adamw_.default and hosts:
            raise WrongDevice(f"{func}: all lists, the steps' too, must be on the device")
        if func is aten._fused_adamw_.default:
            _require_fast_path(virtual)
        if func in INDEXING:
            if not isinstance(leaves[0], VirtualTensor):
                raise WrongDevice(f"{func}: indices on the device of a tensor on the CPU")
            if hosts and any(tensor.ndim for tensor in hosts):
                self._block("index from the host")
            if any(t.dtype in (torch.bool, torch.uint8) for t in _indices(leaves)):
                self._block("boolean index")
            return
        wrong = [tensor for tensor in hosts if tensor.ndim]
        if wrong or (hosts and func in MATRIX_PRODUCTS):
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in hosts)
            raise WrongDevice(f"{func}: tensors on {virtual[0].device} and cpu (those: {shapes})")

    def _block(self, kind: str) -> None:
        self.wait(kind)
        merge(self.host, self.stream.clock)

    # -- copies between devices ------------------------------------------------------------

    def move(
        self,
        tensor: torch.Tensor,
        device: torch.device | None,
        dtype: torch.dtype | None,
        non_blocking: bool,
        copy: bool,
    ) -> torch.Tensor:
        """Tensor.to."""
        target = tensor.device if device is None else device
        target = self._device(target) if target.type == "cuda" else target
        dtype = dtype or tensor.dtype
        if target == tensor.device and dtype == tensor.dtype and not copy:
            return tensor
        self._moving.to = target, non_blocking
        moved: torch.Tensor = aten._to_copy.default(tensor, dtype=dtype)
        return moved

    def _to_copy(self, tensor: torch.Tensor, kwargs: dict[str, Any]) -> torch.Tensor:
        here = isinstance(tensor, VirtualTensor)
        target, free = getattr(self._moving, "to", None) or (tensor.device, False)
        self._moving.to = None
        if not here and target.type != "cuda":
            return aten._to_copy.default(tensor, **kwargs)
        if here:
            self._use([tensor], set())
        else:
            self._require_arrived(tensor)
        rest = {k: v for k, v in kwargs.items() if k in ("dtype", "memory_format")}
        inner = aten._to_copy.default(_inner(tensor), **rest)
        if target.type == "cuda":
            made = self.wrap(inner, target)
            if not here:
                self._arrive(tensor, free, "copy to the device")
            return made
        if here:
            if free:  # to memory that is not pinned: nothing tells when it has ended
                self._arriving[inner] = dict(self.stream.clock)
            else:
                self._block("copy to the host")
        return inner

    def _copy(
        self, to: torch.Tensor, source: torch.Tensor, non_blocking: bool = False
    ) -> torch.Tensor:
        virtual = [t for t in (to, source) if isinstance(t, VirtualTensor)]
        if virtual:
            self._use(virtual, {id(to)})
        for tensor in (to, source):
            if not isinstance(tensor, VirtualTensor):
                self._require_arrived(tensor)
        aten.copy_.default(_inner(to), _inner(source))
        if len(virtual) == 1:
            if isinstance(to, VirtualTensor):
                self._arrive(source, non_blocking, "copy to the device")
            elif non_blocking:
                self._arriving[to] = dict(self.stream.clock)
            else:
                self._block("copy to the host")
        return to

    def _arrive(self, source: torch.Tensor, non_blocking: bool, kind: str) -> None:
        """A copy from the host: asynchronous from pinned memory alone."""
        if not non_blocking or source not in self._pinned:
            self._block(kind)

    def _require_arrived(self, tensor: torch.Tensor) -> None:
        clock = self._arriving.get(tensor)
        if clock is not None and any(self.host[s] < n for s, n in clock.items()):
            raise WrongStream("a copy from the device is read before it is known to have ended")

    def _pin(self, tensor: torch.Tensor) -> torch.Tensor:
        made = tensor.clone()
        self._pinned[made] = True
        return made


MATRIX_PRODUCTS = {aten.mm.default, aten.bmm.default, aten.addmm.default, aten.baddbmm.default}


def _caller() -> str:
    """File of the innermost line that is not this module's."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename == __file__:
        assert frame.f_back is not None
        frame = frame.f_back
    return frame.f_code.co_filename


def _inner(value: Any) -> Any:
    """An argument, or several, as the CPU's kernels take them."""
    if isinstance(value, VirtualTensor):
        return value.inner
    return type(value)(map(_inner, value)) if isinstance(value, tuple | list) else value


def _leaves(values: Any) -> Iterator[object]:
    for value in values:
        if isinstance(value, tuple | list):
            yield from _leaves(value)
        else:
            yield value


def _storage(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _indices(leaves: list[object]) -> list[torch.Tensor]:
    return [leaf for leaf in leaves[1:] if isinstance(leaf, torch.Tensor)]


def _written(func: Any, args: Any, kwargs: dict[str, Any]) -> set[int]:
    """Ids of the tensors that an operation changes, by its schema."""
    found = set()
    for place, name in _written_arguments(func):
        value = args[place] if place < len(args) else kwargs.get(name)
        found |= {id(leaf) for leaf in _leaves((value,))}
    return found


@cache
def _written_arguments(func: Any) -> list[tuple[int, str]]:
    return [
        (place, argument.name)
        for place, argument in enumerate(func._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]


def _require_fast_path(tensors: list[VirtualTensor]) -> None:
    """What CUDA's fused optimisers check: values, gradients and moments of one layout."""
    for tensor in tensors:
        if tensor.ndim and not _dense(tensor):
            raise RuntimeError("params, grads and moments must be dense")
    quarter = (len(tensors) - sum(t.ndim == 0 for t in tensors)) // 4
    for place in range(quarter):
        four = tensors[place : 4 * quarter : quarter]
        strides = {
            tuple(s for s, n in zip(t.stride(), t.shape, strict=True) if n > 1) for t in four
        }
        if len(strides) > 1 or len({t.dtype for t in four}) > 1:
            raise RuntimeError("params, grads and moments must have one dtype and layout")


def _dense(tensor: torch.Tensor) -> bool:
    """Whether the values fill a block of memory, each at a place of its own."""
    size = 1
    for stride, extent in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if extent > 1:
            if stride != size:
                return False
            size *= extent
    return True


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
