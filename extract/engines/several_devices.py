"""`--devices 0,1`: one extraction a device, each on its share of the data set, into one store."""

import signal
import subprocess
import sys
from collections.abc import Sequence

from stepcli.runtime.errors import UsageError

QUARANTINED = 3


def device_names(text: str) -> list[str]:
    """ "0,1" -> ["cuda:0", "cuda:1"]; other names ("cpu", "cuda:3") stay as they are."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise UsageError(f"--devices {text!r}: expected numbers with commas between, e.g. 0,1")
    return [f"cuda:{name}" if name.isdigit() else name for name in names]


def without_option(words: Sequence[str], option: str) -> list[str]:
    """A command line without one option and its value, in either way of writing it."""
    kept: list[str] = []
    skip = False
    for word in words:
        if skip or word.startswith(f"{option}="):
            skip = False
        elif word == option:
            skip = True
        else:
            kept.append(word)
    return kept


def run_on(devices: Sequence[str], words: Sequence[str]) -> int:
    """Run `stepcli WORDS` once a device, side by side, and wait for all of them.

    Args:
        devices: as for --device.
        words: the command line as the user gave it, without --devices.

    Returns:
        An error's exit code where one ended with an error, else 3 where one had to quarantine
        clips, else 0.
    """
    stepcli = [sys.executable, "-P", "-m", "stepcli.cli", *words]
    processes = [
        subprocess.Popen(
            [
                *stepcli,
                *("--device", device, "--rank", str(rank), "--world-size", str(len(devices))),
            ]
        )
        for rank, device in enumerate(devices)
    ]
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
