"""How a run uses its machine: device, arithmetic, batch, processes."""

import os
import re
from dataclasses import dataclass

import torch

from stepcli.extract.config import ExtractConfig
from stepcli.runtime import threads
from stepcli.runtime.errors import UsageError


@dataclass(frozen=True, slots=True)
class Resources:
    """How a run uses the machine; nothing here changes a token beyond rounding."""

    device: torch.device
    dtype: torch.dtype
    """Of the forward pass."""
    batch: int
    """Frames of one forward pass."""
    passes: int
    """Forward passes at once, one torch thread each."""
    workers: int
    """Decoder processes."""


def require_device_name(name: str) -> None:
    """Refuse a name that is no device's anywhere, whatever this machine has.

    Raises:
        UsageError: listing what is expected.
    """
    if re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", name) is None:
        raise UsageError(f"--device {name} is not known; expected auto, cpu, cuda or cuda:<number>")


def resolve_device(name: str) -> torch.device:
    """The device of a name: "auto" takes the first GPU there is, else the CPU.

    Raises:
        UsageError: the device is not here; nothing else is taken in its place.
    """
    if name == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        # Under SLURM the processes of one machine take a GPU each.
        local = int(os.environ.get("SLURM_LOCALID", "0"))
        return torch.device(f"cuda:{local % torch.cuda.device_count()}")
    require_device_name(name)
    kind, _, number = name.partition(":")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device {name}: this machine offers torch {torch.cuda.device_count()} GPUs; "
            "ask for auto or cpu, or install a torch with CUDA"
        )
    return torch.device(name)


def resources_of(config: ExtractConfig) -> Resources:
    """How a run uses this machine: as its config says, else what suits the machine.

    Raises:
        UsageError: the device is not here.
    """
    device = resolve_device(config.device)
    on_cpu = device.type == "cpu"
    return Resources(
        device=device,
        dtype=getattr(torch, config.precision),
        batch=config.batch or (16 if on_cpu else 256),
        passes=threads.cores() if on_cpu else 2,
        # Decoders that are ahead of the backbone sleep, so a core for each costs nothing.
        workers=config.workers or min(32, threads.cores()),
    )
