"""A batch system's notice before it kills a job: as good as Ctrl-C, and told apart from it."""

import signal
import threading
from types import FrameType

INTERRUPTED = 130
"""Exit code after Ctrl-C, as of any program that SIGINT ends."""
PREEMPTED = 75
"""Exit code after SIGTERM: EX_TEMPFAIL of sysexits.h, "try again"; a job can requeue on it."""

GRACE_SECONDS = 7.0
"""What workers elsewhere have to commit after Ctrl-C or SIGTERM before they are ended: a command
is to have ended ten seconds after it was told to."""


class Preempted(KeyboardInterrupt):
    """SIGTERM came. Whatever commits finished work on Ctrl-C does so here too."""


def heed_sigterm() -> None:
    """Let SIGTERM raise Preempted in the main thread, once: a second one does not disturb the
    writing down of what is finished."""
    signal.signal(signal.SIGTERM, _raise)


def exit_code(interrupt: KeyboardInterrupt) -> int:
    """What a command that was ended by the interrupt answers."""
    # A library that waits in C may hand on a KeyboardInterrupt of its own instead: Ray does.
    return PREEMPTED if isinstance(interrupt, Preempted) or _noticed.is_set() else INTERRUPTED


_noticed = threading.Event()


def _raise(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _noticed.set()
    raise Preempted
