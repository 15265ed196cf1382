"""The virtual device: its streams, its operations, its copies, and what was seen."""

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.utils.weak import WeakIdKeyDictionary
from virtual_graphs import VirtualGraph, unwrapped_values
from virtual_rules import WAITS, checked, written
from virtual_streams import Memory, VirtualStream, WrongStream, merge
from virtual_tensors import VirtualTensor, leaves, storage, unwrapped

OURS = f"{Path(__file__).resolve().parents[1]}/"
MINE = {str(path) for path in Path(__file__).resolve().parent.glob("virtual_*.py")}
"""Modules of the virtual device, which cause no wait themselves."""
ENGINE = torch.autograd.graph.__file__
aten = torch.ops.aten


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
        self.capturing: VirtualGraph | None = None
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
            if name.startswith(OURS) and name not in MINE and "site-packages" not in name:
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
        operands = [*leaves(args), *leaves(kwargs.values())]
        virtual = [leaf for leaf in operands if isinstance(leaf, VirtualTensor)]
        if func is aten._to_copy.default:
            return self._to_copy(args[0], kwargs)
        if func is aten.copy_.default:
            return self._copy(*args, **kwargs)
        target = kwargs.get("device")
        target = None if target is None else torch.device(target)
        if not virtual and func is aten.zeros.default and _caller() == ENGINE:
            # The gradient of a result that nothing was made of; the engine asks for it on the CPU.
            return self.wrap(self._execute(func, args, kwargs), torch.device("cuda:0"))
        if not virtual and (target is None or target.type != "cuda"):
            for leaf in operands:
                if isinstance(leaf, torch.Tensor):
                    self._require_arrived(leaf)
            if kwargs.pop("pin_memory", False):
                return self._pin(func(*args, **kwargs))
            return func(*args, **kwargs)
        device = virtual[0].device if virtual else self._device(target)
        if virtual:
            self._check(func, operands, virtual)
        if func in WAITS:
            self._block(WAITS[func])
        if func is aten.repeat_interleave.Tensor and kwargs.get("output_size") is None:
            self._block("repeat_interleave")
        if func is aten._fused_sdp_choice.default:
            return 0  # plain products: the fused kernels of CUDA are not here
        writes = written(func, args, kwargs)
        self._use(virtual, writes)
        if target is not None and target.type == "cpu":
            target = None  # torch's C++ takes ours for CPU tensors
        if kwargs.get("device") is not None:
            kwargs = kwargs | {"device": torch.device("cpu")}
        if "pin_memory" in kwargs:
            kwargs = kwargs | {"pin_memory": None}
        out = self._execute(func, args, kwargs)
        known = {id(tensor.inner): tensor for tensor in virtual}
        storages = {storage(tensor.inner): tensor.memory for tensor in virtual}

        def wrapped(value: object) -> object:
            if not isinstance(value, torch.Tensor):
                return value
            if id(value) in known:
                return known[id(value)]
            return self.wrap(value, target or device, storages.get(storage(value)))

        if isinstance(out, tuple | list):
            return type(out)(map(wrapped, out))
        return wrapped(out)

    def _execute(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """An operation on plain tensors; in a capture it is recorded."""

        def call() -> Any:
            return func(*unwrapped(args), **unwrapped_values(kwargs))

        return call() if self.capturing is None else self.capturing.note(func, args, kwargs, call)

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
            if id(tensor) in writes and tensor.memory.pooled and self.capturing is None:
                raise WrongStream("memory that a capture took is written from outside of its graph")
        stream.clock[stream] += 1
        for tensor in virtual:
            if id(tensor) in writes:
                tensor.memory.written = stream, stream.clock[stream]

    def _check(self, func: Any, operands: list[object], virtual: list[VirtualTensor]) -> None:
        for operand in operands:
            if isinstance(operand, torch.Tensor) and not isinstance(operand, VirtualTensor):
                self._require_arrived(operand)
        for kind in checked(func, operands, virtual):
            self._block(kind)

    def _block(self, kind: str) -> None:
        self._refuse_in_capture(kind)
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
        if not here or target.type != "cuda":
            self._refuse_in_capture("a copy between host and device")
        inner = self._execute(aten._to_copy.default, (tensor,), rest)
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
        if len(virtual) == 1 and (source.ndim or isinstance(source, VirtualTensor)):
            self._refuse_in_capture("a copy between host and device")
        self._execute(aten.copy_.default, (to, source), {})
        if len(virtual) == 1:
            if isinstance(to, VirtualTensor):
                self._arrive(source, non_blocking, "copy to the device")
            elif non_blocking:
                self._arriving[to] = dict(self.stream.clock)
            else:
                self._block("copy to the host")
        return to

    def _refuse_in_capture(self, kind: str) -> None:
        if self.capturing is not None:
            raise RuntimeError(f"operation not permitted when stream is capturing: {kind}")

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


def _caller() -> str:
    """File of the innermost line that is not the virtual device's."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename in MINE:
        assert frame.f_back is not None
        frame = frame.f_back
    return frame.f_code.co_filename
