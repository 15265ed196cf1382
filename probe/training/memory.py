"""Running out of memory, whoever says so: CUDA, torch's allocator of the host, or Python."""

import torch

from stepcli.runtime.errors import StepcliError


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


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ended."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    # The host's allocator raises a bare RuntimeError.
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in text or "not enough memory" in text
    )
