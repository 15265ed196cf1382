"""How the forward pass uses a CPU: several single-threaded passes beside each other.

One pass over many threads waits at a barrier after every layer, and spins there; beside decoders
on a busy machine that was up to ten times slower than one thread a pass.
"""

import os

import torch


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_one_thread_a_pass() -> None:
    """Torch's part of the policy; call it in each thread that runs a model."""
    torch.set_num_threads(1)
