"""How the forward pass uses a CPU: several single-threaded passes beside each other.

One pass over many threads waits at a barrier after every layer, and spins there; beside decoders
on a busy machine that was up to ten times slower than one thread per pass.
"""

import os
import sys

import torch

_granted = sys.maxsize


def cores() -> int:
    """Cores that this process may use."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(here, _granted)


def grant_cores(count: float) -> None:
    """Say how many cores a cluster gave this process, which can see all of the machine's."""
    global _granted
    _granted = max(1, int(count))


def use_one_thread_a_pass() -> None:
    """Limit torch to one thread; call it in each thread that makes forward passes."""
    torch.set_num_threads(1)
