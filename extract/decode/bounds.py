"""What a process that decodes videos of strangers may take, set by itself before the first one."""

import os
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

from stepcli.runtime.errors import UsageError

VARIABLE = "STEPCLI_DECODER_GIB"
DEFAULT_GIB = 4.0
"""Address space beyond what the process has mapped once it is ready; 8K video needs up to 2 GiB."""
OUT_OF_MEMORY = "Cannot allocate memory"
"""The system's words, as FFmpeg passes them on."""

_limits: list[int] = []
"""The limit of this process, where it has one."""


def allowed_bytes() -> int:
    """What STEPCLI_DECODER_GIB says.

    Raises:
        UsageError: it is no number above 0.
    """
    text = os.environ.get(VARIABLE, "") or str(DEFAULT_GIB)
    try:
        gib = float(text)
    except ValueError:
        gib = 0.0
    if not 0 < gib < 1 << 20:
        raise UsageError(f"{VARIABLE}={text}: expected GiB for a decoder process, above 0")
    return int(gib * (1 << 30))


def limit_memory(allowed: int) -> None:
    """Bound the address space of the calling process, and have no core dumped of it.

    Linux only: other systems do not enforce such a limit, or count shared libraries of the system.

    Args:
        allowed: Bytes beyond what is mapped now.
    """
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "linux":
        return
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = mapped + allowed
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        _limits.append(allowed)


def out_of_memory() -> str:
    """What is said of a video that needs more."""
    if not _limits:
        return "its frames do not fit in memory"
    return (
        f"its frames do not fit in the {_limits[-1] / (1 << 30):.3g} GiB of memory that a decoder "
        f"process may take; {VARIABLE} raises that"
    )


def end_with_parent(parent: int) -> None:
    """Wait until the parent has gone, then end this process; run it in a thread."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
