"""Graphs of the virtual device: what was launched between the begin and the end of a capture, done
again by `replay` on the same memory, with the host's numbers of that time.

A capture does nothing: what it seemed to write is put back, and what it made holds no numbers until
the first replay. Whatever would make the host wait, or copies from or to it, raises, as does a
replay that reads memory which was freed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import ReferenceType, ref

import torch
from virtual_rules import written
from virtual_streams import Memory, WrongStream, here
from virtual_tensors import VirtualTensor, leaves, storage, unwrapped

aten = torch.ops.aten
EMPTY = {aten.empty.memory_format, aten.empty_like.default, aten.empty_strided.default}
EMPTY |= {aten.new_empty.default, aten.new_empty_strided.default}
"""Launch nothing: they only take memory."""


@dataclass(frozen=True, slots=True)
class _Foreign:
    """Memory from before the capture, which somebody else must keep."""

    inner: torch.Tensor
    memory: ReferenceType[Memory]

    def alive(self) -> Memory:
        memory = self.memory()
        if memory is None:
            raise WrongStream("a graph reads memory that was freed after its capture")
        return memory


@dataclass(frozen=True, slots=True)
class _Call:
    func: Any
    args: Any
    kwargs: dict[str, Any]
    made: list[torch.Tensor]
    """Results in memory of their own."""
    writes: set[int]


class VirtualGraph:
    """torch.cuda.CUDAGraph."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._made: dict[int, torch.Tensor] = {}
        """Memory of the graph's own, by storage."""
        self._before: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        """Memory from before the capture that it writes to, and what was there."""

    def capture_begin(self, pool: object = None, capture_error_mode: str = "global") -> None:
        gpu = here()
        if gpu.stream is gpu.default:
            raise RuntimeError("CUDA graphs must be captured on a non-default stream")
        gpu.capturing = self

    def capture_end(self) -> None:
        here().capturing = None
        for now, before in self._before.values():
            now.copy_(before)
        for made in self._made.values():
            if made.is_floating_point():
                made.fill_(torch.nan)

    def replay(self) -> None:
        gpu = here()
        gpu.calls["replay"] += 1
        stream = gpu.stream
        for call in self._calls:
            foreign = [leaf for leaf in leaves(call.args) if isinstance(leaf, _Foreign)]
            stream.clock[stream] += 1
            for leaf in foreign:
                memory = leaf.alive()
                writer, count = memory.written
                if stream.clock[writer] < count:
                    raise WrongStream("a graph reads what its stream has not waited for")
                memory.used[stream] = stream.clock[stream]
                if id(leaf.inner) in call.writes:
                    memory.written = stream, stream.clock[stream]
            out = call.func(*_plain(call.args), **call.kwargs)
            for made, now in zip(call.made, _own(out, call.args), strict=True):
                made.copy_(now)

    def note(self, func: Any, args: Any, kwargs: dict[str, Any], call: Callable[[], Any]) -> Any:
        """Do an operation of a capture, so that there are shapes to go on with, and record it."""
        operands = [leaf for leaf in leaves(args) if isinstance(leaf, VirtualTensor)]
        changed = written(func, args, kwargs)
        for tensor in operands:
            block = storage(tensor.inner)
            if id(tensor) in changed and block not in self._made and block not in self._before:
                whole = _whole(tensor.inner)
                self._before[block] = whole, whole.clone()
        out = call()
        noted = self._noted(args)
        made = _own(out, noted)
        self._made |= {storage(tensor): _whole(tensor) for tensor in made}
        if func not in EMPTY:
            writes = {id(tensor.inner) for tensor in operands if id(tensor) in changed}
            self._calls.append(_Call(func, noted, unwrapped_values(kwargs), made, writes))
        return out

    def _noted(self, value: Any) -> Any:
        if isinstance(value, VirtualTensor):
            if storage(value.inner) in self._made:
                return value.inner
            return _Foreign(value.inner, ref(value.memory))
        return type(value)(map(self._noted, value)) if isinstance(value, tuple | list) else value


def unwrapped_values(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {key: unwrapped(value) for key, value in kwargs.items()}


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor's whole block of memory."""
    count = tensor.untyped_storage().nbytes() // tensor.itemsize
    return tensor.detach().as_strided((count,), (1,), 0)


def _plain(value: Any) -> Any:
    if isinstance(value, _Foreign):
        return value.inner
    return type(value)(map(_plain, value)) if isinstance(value, tuple | list) else value


def _own(out: Any, args: Any) -> list[torch.Tensor]:
    """Of an operation's results those in memory that none of its operands has."""
    given = {storage(t) for t in leaves(_plain(args)) if isinstance(t, torch.Tensor)}
    results = [leaf for leaf in leaves((out,)) if isinstance(leaf, torch.Tensor)]
    return [result for result in results if storage(result) not in given]
