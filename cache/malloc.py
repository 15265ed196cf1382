"""Large blocks of memory kept for reuse: what both stages want of the allocator on a CPU.

Activations and gradients of megabytes are freed and asked for again at every step. glibc maps each
such block anew and gives it back when it is freed, and the kernel clears every page in between:
for small networks that takes as long as the arithmetic.
"""

import ctypes
import sys

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
