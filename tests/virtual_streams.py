"""Streams of the virtual device: who knows what to be done, by vector clocks."""

from collections import Counter
from typing import Any, Protocol

import torch


class WrongStream(RuntimeError):
    """A value that another stream, or the host, may not have yet."""


class Device(Protocol):
    """What streams ask of a virtual device."""

    host: "Counter[VirtualStream]"
    """What the host knows to be done."""
    hazards: list[str]
    devices: int
    calls: Counter[str]
    default: "VirtualStream"
    capturing: Any
    """The graph that records, if one does."""

    @property
    def stream(self) -> "VirtualStream":
        """The calling thread's current one."""

    def wait(self, kind: str) -> None:
        """Count a wait of the host."""


active: list["Device"] = []


def here() -> "Device":
    if not active:
        raise RuntimeError("a virtual tensor is used outside of virtual_cuda()")
    return active[-1]


class VirtualStream:
    """A queue of work, with what it knows to be done on all queues."""

    def __init__(self, device: object = None, **_: object) -> None:
        self.device = torch.device("cuda:0" if device is None else device)
        self.clock: Counter[VirtualStream] = Counter()

    def wait_stream(self, other: "VirtualStream") -> None:
        merge(self.clock, other.clock)

    def wait_event(self, event: "VirtualEvent") -> None:
        merge(self.clock, event.clock)

    def synchronize(self) -> None:
        gpu = here()
        gpu.wait("stream.synchronize")
        merge(gpu.host, self.clock)

    def record_event(self, event: "VirtualEvent | None" = None) -> "VirtualEvent":
        event = event or VirtualEvent()
        event.record(self)
        return event


class VirtualEvent:
    """A place in a stream; times are zero."""

    def __init__(self, **_: object) -> None:
        self.clock: Counter[VirtualStream] = Counter()

    def record(self, stream: VirtualStream | None = None) -> None:
        if stream is None and here().devices > 1:
            raise WrongStream("without a stream an event is one of the first device's")
        self.clock = Counter((stream or here().stream).clock)

    def wait(self, stream: VirtualStream | None = None) -> None:
        (stream or here().stream).wait_event(self)

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        gpu = here()
        gpu.wait("event.synchronize")
        merge(gpu.host, self.clock)

    def elapsed_time(self, end: "VirtualEvent") -> float:
        for event in (self, end):
            if any(here().host[stream] < count for stream, count in event.clock.items()):
                raise WrongStream("the time of an event that the host has not waited for")
        return 1.0


def merge(clock: "Counter[VirtualStream]", other: "Counter[VirtualStream]") -> None:
    for stream, count in other.items():
        clock[stream] = max(clock[stream], count)


class Memory:
    """A block of the caching allocator: who made it, who wrote last, who uses it."""

    def __init__(self, gpu: "Device") -> None:
        self.gpu = gpu
        self.home = gpu.stream
        self.written: tuple[VirtualStream, int] = (self.home, 0)
        self.used: dict[VirtualStream, int] = {}
        self.recorded: set[VirtualStream] = set()
        self.pooled = gpu.capturing is not None
        """Whether a capture took it: graphs may use it before, too, in what they do earlier."""

    def __del__(self) -> None:
        if self.pooled:
            return  # to later captures, launched after all this, or to the driver, which waits
        for stream, count in self.used.items():
            known = max(self.home.clock[stream], self.gpu.host[stream])
            if stream is not self.home and stream not in self.recorded and known < count:
                self.gpu.hazards.append(
                    "memory was freed on the stream that made it while another may still use it"
                )
