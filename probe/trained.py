"""A finished run's probe, ready to be asked again."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from stepcli.cache.errors import UsageError
from stepcli.probe.bank import Probe
from stepcli.probe.banks import build_probe
from stepcli.probe.recalibrate import config_of

if TYPE_CHECKING:
    from stepcli.probe.tokens import TokenLayout

WEIGHTS = "probe.safetensors"


def load_probe(folder: Path, record: dict[str, Any], layout: "TokenLayout") -> Probe:
    """The probe of one run on the CPU, K = 1, not in training.

    Args:
        folder: The run's.
        record: What its run.json says.
        layout: Of the tokens that it will see.

    Raises:
        UsageError: there are no weights, as of an imported run, or they do not fit.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise UsageError(f"{folder} holds no trained probe ({WEIGHTS}); an imported run has none")
    probe = build_probe(config_of(record), layout, len(record["classes"]))
    try:
        probe.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"{path} does not hold the weights of this probe on these tokens: {reason:.200}"
        ) from None
    return probe.eval()
