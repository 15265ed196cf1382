"""Which device a name means here, and how exactly GPUs compute."""

import os

import torch

from stepcli.runtime.device_names import require_device_name
from stepcli.runtime.errors import UsageError


def resolve_device(name: str) -> torch.device:
    """The device of a name: "auto" takes the first GPU if there is one (Apple's is "mps"), else the
    CPU.

    Raises:
        UsageError: the device is not available here; nothing else is taken in its place.
    """
    if name == "auto":
        if not torch.cuda.is_available():
            return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
        # Under SLURM the processes of one machine take a GPU each.
        local = int(os.environ.get("SLURM_LOCALID", "0"))
        return torch.device(f"cuda:{local % torch.cuda.device_count()}")
    require_device_name(name)
    kind, _, number = name.partition(":")
    if kind == "cpu":
        return torch.device("cpu")
    if kind == "mps":
        if not torch.backends.mps.is_available():
            raise UsageError("--device mps: torch finds no Apple GPU here; use cpu, or cuda")
        return torch.device("mps")
    count = torch.cuda.device_count()
    # With its number, as tensors name it.
    device = torch.device("cuda", int(number or 0))
    if int(number or 0) >= count:
        found = ", ".join(["cpu", *(f"cuda:{i}" for i in range(count))])
        raise UsageError(
            f"--device {name}: this machine has {found} for torch; use one of these, or install a "
            "torch with CUDA"
        )
    return device


def use_exact_float32(*, tf32: bool = False) -> None:
    """Let float32 mean float32 on GPUs, or TF32 where that was asked for by name.

    torch lets cuDNN's convolutions round their inputs to TF32 (10 bits of mantissa), and some
    containers' environment cuBLAS's products too; products of float16 may add up in float16, which
    overflows at 65,504. On a CPU this changes nothing.
    """
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
