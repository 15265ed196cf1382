"""Where tokens and probes go: on the GPU, in memory, or streamed from disk, by what fits."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from stepcli.probe.data.block_order import blocks_of
from stepcli.probe.data.features import Features, Resident, resident_type
from stepcli.probe.data.streamed import Streamed
from stepcli.runtime.words import counted, sized

if TYPE_CHECKING:
    from stepcli.cache.store.store import Store

TOKEN_SHARE = 0.6
"""Of the free memory that resident tokens may take; the rest is for probes and activations."""
BANK_SHARE = 0.35
"""Of the free memory that weights, gradients and moments of one pass may take."""


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a device now; of a GPU also what torch keeps for itself to use."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    # Where the system does not say what is free (macOS): half of what there is.
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def token_bytes(store: "Store", clips: int) -> int:
    """Memory, in bytes, of the resident tokens of `clips` clips."""
    size = resident_type(store.spec).itemsize
    values = clips
    for extent in store.spec.clip_shape:
        values *= extent
    return values * size


def place_features(
    store: "Store", clips: Sequence[str], device: torch.device, free: dict[str, int]
) -> tuple[Features, str]:
    """Put tokens where they fit best.

    Args:
        store: Where they are read from.
        clips: Those that will be used.
        device: Where probes are trained.
        free: Free bytes by device type, "cpu" and perhaps "cuda".

    Returns:
        The features, and a line that says where they are.
    """
    size = token_bytes(store, len(clips))
    host = torch.device("cpu")
    for kept_on in dict.fromkeys((device, host)):
        if size <= TOKEN_SHARE * free[kept_on.type]:
            where = "in memory" if kept_on == host else f"on {kept_on}"
            line = f"{sized(size)} of tokens of {counted(len(clips), 'clip')} {where}"
            return Resident(store, clips, device, kept_on), line
    blocks = blocks_of(token_bytes(store, 1), free["cpu"])
    line = (
        f"{sized(size)} of tokens of {counted(len(clips), 'clip')} do not fit into "
        f"{TOKEN_SHARE:.0%} of {sized(free['cpu'])} free: streamed from {store.path}, shuffled in "
        f"{blocks}"
    )
    return Streamed(store, device, blocks), line
