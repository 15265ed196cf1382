"""Values of a setting that an adaptive search may choose: lists, and ranges "low..high"."""

from collections.abc import Mapping
from typing import Any

from stepcli.runtime.errors import UsageError


def searched(settings: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The settings that have several values or a range."""
    return [
        (name, values)
        for name, values in settings.items()
        if (isinstance(values, list) and len(values) > 1) or bounds(values) is not None
    ]


def fixed(settings: Mapping[str, Any]) -> dict[str, object]:
    """The settings that have one value."""
    varied = {name for name, _ in searched(settings)}
    return {
        name: values[0] if isinstance(values, list) else values
        for name, values in settings.items()
        if name not in varied
    }


def bounds(values: Any) -> tuple[float, float] | None:
    """The ends of a range "low..high"; None where it is none.

    Raises:
        UsageError: the ends are no numbers, or not in order.
    """
    text = values[0] if isinstance(values, list) and len(values) == 1 else values
    if not isinstance(text, str) or ".." not in text:
        return None
    low, _, high = text.partition("..")
    try:
        ends = float(low), float(high)
    except ValueError:
        raise UsageError(f"range {text!r}: expected low..high, e.g. 1e-5..1e-2") from None
    if ends[0] >= ends[1]:
        raise UsageError(f"range {text!r}: the first end must be below the second")
    return ends
