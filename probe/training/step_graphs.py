"""Steps of banks as CUDA graphs: one launch for each bank instead of hundreds.

A step of a small bank is a few hundred kernels of some microseconds, and a host takes longer to
launch them than a GPU to do them. A graph does again what was launched once, on the same memory: so
a batch is copied to where the graph reads it, and nothing that a step depends on may be a number of
the host.
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from stepcli.probe.training.banks import Bank, CapturedStep
from stepcli.probe.training.loss import Part
from stepcli.probe.training.memory import OutOfMemory, free_memory

Shapes = tuple[tuple[tuple[int, ...], torch.dtype], ...]


class HeldParts:
    """The parts of a batch in memory that stays, and the steps that read them there.

    What banks share of a batch is made by the first graph that needs it, and stays for the others:
    graphs have to be launched in the order in which they were captured.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        """Copies of parts that every bank has read."""
        self._facts = any(batch.asked_facts for batch, _ in parts)
        self._tensors: list[Tensor] = []

        def copied(tensor: Tensor) -> Tensor:
            self._tensors.append(tensor.clone())
            return self._tensors[-1]

        self.parts = _mapped(parts, copied, facts=self._facts)
        self.captured: WeakKeyDictionary[Bank, CapturedStep] = WeakKeyDictionary()

    def take(self, parts: Sequence[Part]) -> None:
        """Write other parts of the same shapes into these."""
        for mine, theirs in zip(self._tensors, _tensors(parts, facts=self._facts), strict=True):
            mine.copy_(theirs)

    def release(self) -> None:
        """Give up the memory, also where somebody still holds this."""
        self.captured.clear()
        self.parts, self._tensors = [], []


class StepGraphs(AbstractContextManager["StepGraphs"]):
    """Steps of the banks of one pass on a GPU; elsewhere each is launched as it is written.

    The first batch of each shape is stepped launch by launch, which also makes ready what CUDA's
    libraries make at their first use; the second is captured.
    """

    def __init__(
        self, banks: Sequence[Bank], device: torch.device, say: Callable[[str], None]
    ) -> None:
        """For the training of banks on `device`; `say` takes lines for the user."""
        self._device = device
        self._say = say
        self._active = device.type == "cuda" and any(bank.repeats for bank in banks)
        self._held: dict[Shapes, HeldParts] = {}
        if self._active:
            self._pool = torch.cuda.graph_pool_handle()
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def hold(self, parts: Sequence[Part]) -> HeldParts | None:
        """A batch where graphs read it; None where its shape is new, or nothing is captured."""
        held = self._held.get(_shapes(parts)) if self._active else None
        if held is not None:
            held.take(parts)
        return held

    def remember(self, parts: Sequence[Part]) -> None:
        """Be ready for more batches of this shape; call it when every bank has stepped."""
        if not self._active or _shapes(parts) in self._held:
            return
        held = None
        try:
            held = HeldParts(parts)
        except RuntimeError as error:
            OutOfMemory.of(error, "a copy of a batch")
        if held is None:
            self._give_up("out of memory beside a step")
        else:
            self._held[_shapes(parts)] = held
            # What the launched steps have held, graphs cannot use.
            free_memory(self._device)

    def step(self, bank: Bank, parts: Sequence[Part], held: HeldParts | None) -> Tensor:
        """A step of a bank; returns its losses [K].

        Raises:
            OutOfMemory: it does not fit; nothing has changed.
        """
        if held is not None and self._active and bank.repeats:
            captured = held.captured.get(bank) or self._captured(bank, held)
            if captured is not None:
                return bank.launch(captured)
        try:
            return bank.step(parts)
        except OutOfMemory:
            if not self._held:
                raise
        self._give_up("out of memory in a step")
        return bank.step(parts)

    def drop(self) -> None:
        """Capture nothing from now on, and give back the memory of what was."""
        if self._active:
            torch.cuda.synchronize(self._device)
            self._active = False
            for held in self._held.values():
                held.release()
            self._held.clear()
            # cuBLAS keeps a workspace for each stream that it was captured on, in the graphs' pool.
            getattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: None)()
            free_memory(self._device)

    def __exit__(self, *error: object) -> None:
        """Give back the memory."""
        self.drop()

    def _captured(self, bank: Bank, held: HeldParts) -> CapturedStep | None:
        """A bank's step on these parts, or None: then nothing is captured any more."""
        try:
            held.captured[bank] = bank.capture(self._recording(), held.parts)
        except (RuntimeError, MemoryError) as error:
            reason = " ".join(str(error).split())[:200]
        else:
            return held.captured[bank]
        self._give_up(f"a step of {bank} cannot be captured ({reason})")
        return None

    def _give_up(self, reason: str) -> None:
        """Not in a handler: the error's traceback holds the tensors that did not fit."""
        self._say(
            f"{reason}: steps are no longer launched as CUDA graphs, but operation by operation, "
            "with the same results; small banks are slower"
        )
        self.drop()

    @contextmanager
    def _recording(self) -> Iterator[torch.cuda.CUDAGraph]:
        """What is launched goes into a graph."""
        graph = torch.cuda.CUDAGraph()
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        collects = gc.isenabled()
        gc.disable()  # what it would free may not be freed in a capture
        try:
            with torch.cuda.stream(self._stream):
                # Other threads read the next batches at the same time.
                graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
                try:
                    yield graph
                finally:
                    graph.capture_end()
        finally:
            current.wait_stream(self._stream)
            if collects:
                gc.enable()


def _mapped(
    parts: Sequence[Part], change: Callable[[Tensor], Tensor], *, facts: bool
) -> list[Part]:
    """The same parts with other tensors."""
    return [(batch.mapped(change, facts=facts), targets.mapped(change)) for batch, targets in parts]


def _tensors(parts: Sequence[Part], *, facts: bool) -> list[Tensor]:
    """All tensors that parts were made of, in the order of `_mapped`."""
    found: list[Tensor] = []

    def noted(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    _mapped(parts, noted, facts=facts)
    return found


def _shapes(parts: Sequence[Part]) -> Shapes:
    return tuple((tuple(t.shape), t.dtype) for t in _tensors(parts, facts=False))
