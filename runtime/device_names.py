"""Names of devices, checked without torch: a typo answers at once."""

import re

from stepcli.runtime.errors import UsageError


def require_device_name(name: str) -> str:
    """Refuse a --device that is not a device's name on any machine; returns it.

    Raises:
        UsageError: listing what is expected.
    """
    return require_device_of("--device", name)


def require_device_of(flag: str, name: str) -> str:
    """The same for another option."""
    if re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?|mps", name) is None:
        raise UsageError(
            f"{flag} {name} is not known; expected auto, cpu, cuda, cuda:<number> or mps"
        )
    return name
