"""How the forward pass uses a CPU: several single-threaded passes beside each other.

One pass over many threads waits at a barrier after every layer, and spins there; beside decoders
on a busy machine that was up to ten times slower than one thread a pass.
"""

import ctypes
import os
import sys

import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_HALF_GIGABYTE = 1 << 29


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_one_thread_a_pass() -> None:
    """Torch's part of the policy; call it in each thread that runs a model."""
    torch.set_num_threads(1)


def keep_freed_memory() -> None:
    """Let glibc keep the activations' memory instead of giving it back after each layer.

    Every activation of a batch is larger than malloc's threshold for fresh pages, and zeroing
    those takes as long as the arithmetic of a small network. A single arena, because others
    cannot hold blocks of that size. Elsewhere than on glibc nothing is changed.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _HALF_GIGABYTE)
        mallopt(_M_TRIM_THRESHOLD, _HALF_GIGABYTE)
