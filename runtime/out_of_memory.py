"""Which errors mean that memory ran out: CUDA's, those of torch's allocators, or Python's."""

import torch

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


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that memory ran out."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    # The host's allocator raises a bare RuntimeError, and so do CUDA's libraries, and CUDA itself
    # where pinned memory or a kernel's own did not fit.
    text = str(error)
    return isinstance(error, RuntimeError) and any(sign in text for sign in SIGNS)
