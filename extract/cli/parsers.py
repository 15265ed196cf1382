"""Words of the command line that stand for more than one value; light, since the door reads it."""

import os

from stepcli.runtime.errors import UsageError


def share_of(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Rank and number of ranks: as given, else those of the SLURM step that we run in."""
    if rank is None and world_size is None:
        rank = int(os.environ.get("SLURM_PROCID", "0"))
        world_size = int(os.environ.get("SLURM_NTASKS", "1")) if "SLURM_PROCID" in os.environ else 1
    if rank is None or world_size is None:
        raise UsageError("--rank and --world-size go together; give both or neither")
    if rank >= world_size:
        raise UsageError(
            f"--rank {rank}: ranks of --world-size {world_size} end at {world_size - 1}"
        )
    return rank, world_size


def parse_layers(text: str) -> tuple[int, ...]:
    """ "-4,-1" -> (-4, -1)."""
    try:
        layers = tuple(int(word) for word in text.split(","))
    except ValueError:
        layers = (0,)
    if max(layers) >= 0:
        raise UsageError(f"--layers {text}: expected numbers from the end, e.g. -4,-3,-2,-1")
    return layers


def parse_options(texts: list[str]) -> dict[str, str]:
    """["name=value", ...] -> {name: value}."""
    pairs = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator:
            raise UsageError(f"--set {text}: expected NAME=VALUE")
        pairs[name] = value
    return pairs
