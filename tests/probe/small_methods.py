"""Options that make every method small enough for a test."""

from stepcli.probe.methods.registry import ProbeInfo, parse_options
from stepcli.runtime.settings import JsonObject

SMALL = {"width": 16, "heads": 4, "layers": 1, "hidden": 16, "latent": 16, "reuse": True}
"""Of methods whose defaults are large, or need what the stores of the tests do not hold."""


def small_options(info: ProbeInfo, **more: object) -> JsonObject:
    """Every option of a method, the small values where it has such an option."""
    chosen = {name: v for name, v in (SMALL | more).items() if name in info.options.model_fields}
    return parse_options(info, chosen).model_dump(mode="json")
