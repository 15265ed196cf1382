"""Settings of the process that training on a CPU wants."""

import torch

from stepcli.runtime.memory import keep_freed_memory


def tune_process() -> None:
    """Keep large freed blocks for reuse, and take denormal numbers for zero.

    Attention that has become certain leaves weights of 1e-40. Arithmetic on such numbers is many
    times slower than on zeros, and they are as good as zero. To be called before the first parallel
    operation: threads inherit the setting.
    """
    torch.set_flush_denormal(True)
    keep_freed_memory()
