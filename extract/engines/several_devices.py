"""`--devices 0,1`: one extraction per device, each on its share of the data set, into one store."""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from stepcli.extract.config import ExtractConfig
from stepcli.runtime.errors import UsageError
from stepcli.runtime.settings import options_of

QUARANTINED = 3


def device_names(text: str) -> list[str]:
    """ "0,1" -> ["cuda:0", "cuda:1"]; other names ("cpu", "cuda:3") stay as they are."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise UsageError(f"--devices {text!r}: expected numbers with commas between, e.g. 0,1")
    return [f"cuda:{name}" if name.isdigit() else name for name in names]


def run_on(devices: Sequence[str], config: ExtractConfig, words: Sequence[str] = ()) -> int:
    """Run `stepcli extract` once per device, side by side, and wait for all of them.

    Args:
        devices: as for --device.
        config: settings of the run; its own device and shares do not count.
        words: further options of each command.

    Returns:
        An error's exit code where one ended with an error, else 3 where one had to quarantine
        clips, else 0.

    Raises:
        UsageError: this machine lacks one of the devices; none is begun then.
    """
    from stepcli.runtime.devices import resolve_device  # imports torch

    for device in devices:
        resolve_device(device)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "config.json"
        file.write_text(json.dumps(options_of(config) | {"devices": None}))
        stepcli = [sys.executable, "-P", "-m", "stepcli.cli", "extract", "--config", str(file)]
        shares = [
            ("--rank", str(n), "--world-size", str(len(devices))) for n in range(len(devices))
        ]
        return wait_for(
            [
                subprocess.Popen([*stepcli, "--device", device, *share, *words])
                for device, share in zip(devices, shares, strict=True)
            ]
        )


def wait_for(processes: Sequence["subprocess.Popen[bytes]"]) -> int:
    """Wait for commands of stepcli; on Ctrl-C or SIGTERM also until they have kept their work.

    Returns:
        An error's exit code where one ended with an error, else 3 where one had to quarantine
        clips, else 0.
    """
    try:
        codes = [process.wait() for process in processes]
    except KeyboardInterrupt:
        for process in processes:
            process.send_signal(signal.SIGTERM)  # each commits what it has finished
        for process in processes:
            process.wait()
        raise
    errors = [code for code in codes if code not in (0, QUARANTINED)]
    return errors[0] if errors else max(codes)
