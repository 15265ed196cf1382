"""Memory: large blocks kept for reuse, as both stages want on a CPU; many small objects at once.

Activations and gradients of megabytes are freed and asked for again at every step. glibc maps each
such block anew and gives it back when it is freed, and the kernel clears every page in between:
for small networks that takes as long as the arithmetic.
"""

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_NEVER = 2**31 - 1

KEEPING = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(_NEVER),
}
"""The same as environment of a process yet to be started, for where somebody else starts threads
before any of our code runs."""


def keep_freed_memory() -> None:
    """Let glibc keep large freed blocks; elsewhere nothing is changed.

    To be called before the first thread is started. No block is mapped on its own (raising the
    threshold for that would not do: glibc refuses one above 32 MiB), none is given back, and there
    is one arena, because the others cannot hold blocks of that size.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _NEVER)


@contextmanager
def without_collections() -> Iterator[None]:
    """Keep Python from looking for garbage while very many small objects are made that stay.

    Each look goes through all that were made before: for a list of 220,847 clips that is a third
    of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
