"""Errors of running out of memory: CUDA, torch's allocator of the host, or Python."""

import gc

import torch

from stepcli.runtime.errors import StepcliError

SIGNS = (
    "can't allocate memory",
    "not enough memory",
    "CUDA error: out of memory",
    "MPS backend out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
)
"""What errors without a class of their own say when memory has run out."""


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
    """Whether an error means that memory ran out."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    # The host's allocator raises a bare RuntimeError, and so do CUDA's libraries, and CUDA itself
    # where pinned memory or a kernel's own did not fit.
    text = str(error)
    return isinstance(error, RuntimeError) and any(sign in text for sign in SIGNS)


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
