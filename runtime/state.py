"""The folder for what this user's stepcli remembers between commands."""

import os
from pathlib import Path


def state_folder() -> Path:
    """STEPCLI_STATE, else `stepcli` in the XDG specification's folder for state."""
    if given := os.environ.get("STEPCLI_STATE"):
        return Path(given)
    state = os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
    return Path(state) / "stepcli"
