"""Settings of the process that training on a CPU wants.

Every training step frees gradients of tens of megabytes and asks for them again. glibc gives such
blocks back to the kernel at once, and the kernel clears each page anew: at 20 M parameters a probe
that was half the time of the weight gradients' matrix products.

Attention that has become certain leaves weights of 1e-40. Arithmetic on such numbers is many times
slower than on zeros, and they are as good as zero.
"""

import ctypes
import sys

import torch

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_NEVER = 2**31 - 1


def tune_process() -> None:
    """Keep large freed blocks for reuse (glibc alone), and take denormal numbers for zero.

    To be called before the first parallel operation: threads inherit the setting.
    """
    torch.set_flush_denormal(True)
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _NEVER)
