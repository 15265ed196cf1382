"""Keep large blocks of memory between steps.

Every training step frees gradients of tens of megabytes and asks for them again. glibc gives such
blocks back to the kernel at once, and the kernel clears each page anew: at 20 M parameters a probe
that was half the time of the weight gradients' matrix products.
"""

import ctypes
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_NEVER = 2**31 - 1


def keep_large_blocks() -> None:
    """Let the C library reuse large freed blocks; without effect elsewhere than on glibc."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _NEVER)
