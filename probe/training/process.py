"""Settings of a process that trains."""

import torch

from stepcli.runtime.devices import use_exact_float32
from stepcli.runtime.memory import keep_freed_memory


def tune_process() -> None:
    """Keep large freed blocks for reuse, and take denormal numbers for zero.

    Attention that has become certain leaves weights of 1e-40. Arithmetic on such numbers is many
    times slower than on zeros, and they are as good as zero. To be called before the first parallel
    operation: threads inherit the setting. On a GPU float32 is float32, not TF32.
    """
    torch.set_flush_denormal(True)
    use_exact_float32()
    keep_freed_memory()
