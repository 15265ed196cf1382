"""Ctrl-C and SIGTERM while probes are trained: put off to the end of an epoch that is near."""

import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any

GRACE_SECONDS = 6.0
"""How long an epoch's end and the keeping of its state may take once a signal has come: a batch
system kills some ten seconds after it."""


class Grace(AbstractContextManager["Grace"]):
    """Notes a signal that would interrupt a step, and lets it act between two steps.

    So what is kept is the state after a whole epoch, of all banks alike. A second signal acts at
    once. Elsewhere than in the main thread no signal ever comes, and nothing is changed.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._came: int | None = None

    def __enter__(self) -> "Grace":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                handler = signal.getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    signal.signal(number, self._note)
        return self

    @property
    def came(self) -> bool:
        """Whether a signal waits to act."""
        return self._came is not None

    def end(self) -> None:
        """Let the signal that came do what it would have done: mostly raise KeyboardInterrupt."""
        if self._came is not None:
            self._act(self._came, None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.came:
            self._act(number, frame)
        self._came = number

    def _act(self, number: int, frame: FrameType | None) -> None:
        handler = self._handlers[number]
        self._restore()
        handler(number, frame)

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def __exit__(self, *error: object) -> None:
        """Give the signals back; one that came too late to be seen acts now."""
        late = self._came if self._handlers and error[0] is None else None
        if late is None:
            self._restore()
        else:
            self._act(late, None)
