"""Ctrl-C and SIGTERM while something is being finished that must not be left half done."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_Handler = Callable[[int, FrameType | None], Any]


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Run to the end, however often Ctrl-C comes meanwhile; what came acts afterwards.

    Not by waiting for a thread: each further Ctrl-C would break off one more wait for it. Elsewhere
    than in the main thread no signal ever acts, and nothing is changed. Where the work fails, its
    error is what the caller gets: an interrupt must not hide it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    handlers: dict[int, _Handler] = {}
    try:
        for number in (int(signal.SIGINT), int(signal.SIGTERM)):
            handler = signal.getsignal(number)
            if callable(handler):
                handlers[number] = handler
                signal.signal(number, note)
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if came:
        # SIGTERM first: it says how the process is to end.
        first = max(came, key=lambda number: number == signal.SIGTERM)
        handlers[first](first, None)
