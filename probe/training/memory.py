"""What training does where memory runs out."""

import gc

import torch

from stepcli.runtime.errors import StepcliError
from stepcli.runtime.out_of_memory import is_out_of_memory


class OutOfMemory(StepcliError):
    """Something did not fit into the memory that there is."""

    @classmethod
    def of(cls, error: Exception, what: str) -> "OutOfMemory":
        """What an allocator's error means.

        Raises:
            Exception: the error itself, where it is about something else.
        """
        if not is_out_of_memory(error):
            raise error
        reason = " ".join(str(error).split())[:200]
        return cls(
            f"{what} did not fit into memory ({reason}); take a smaller --batch-size, --accumulate "
            "parts of a batch, --precision bfloat16, or a device with more memory"
        )


def free_memory(device: torch.device) -> None:
    """Give back what an attempt that has failed held.

    To be called when its exception is gone: a traceback keeps the tensors of its frames, and an
    exception that one of those frames knows is freed by the collector of cycles alone.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
