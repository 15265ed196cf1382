"""State of a pass in training, so that a killed sweep resumes from a finished epoch.

One safetensors file per pass, replaced whole; it is removed when the pass's runs are written.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from stepcli.runtime.files import disk_errors, replace_synced

if TYPE_CHECKING:
    from stepcli.probe.training.banks import Bank

SAVE_SECONDS = 60.0
"""At most so often: the state of 64 probes is gigabytes, and an epoch may take a second."""
TRAINED_TO_SAVED = 20
"""Training lasts at least this many times longer than saving its state: saving must not cost more
than a kill."""
FIRST_RATE = 200e6
"""Bytes per second at which a state is thought to be written, until one was."""


class Checkpoint:
    """Where one pass keeps its state."""

    def __init__(
        self,
        runs: Path,
        names: Sequence[str],
        save_seconds: float = SAVE_SECONDS,
        say: Callable[[str], None] = print,
    ) -> None:
        """Of the pass that trains the runs `names`, in that order; `say` takes lines for users."""
        identity = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
        self.path = runs / ".resume" / f"{identity}.safetensors"
        self._save_seconds = save_seconds
        self._saved = time.monotonic()
        self._cost: float | None = None
        self._say = say

    def restore(self, banks: Sequence["Bank"]) -> int:
        """Load the banks' state; returns the epochs that are done, 0 where nothing was kept."""
        try:
            with safe_open(self.path, "pt") as file:
                header = json.loads(file.metadata()["pass"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (FileNotFoundError, SafetensorError, ValueError, KeyError, TypeError):
            # Nothing kept, or another process has just finished these runs, or it is not whole:
            # training from the start is right, only slower.
            return 0
        kept = {name.partition("/")[0] for name in tensors}
        if kept != {str(place) for bank in banks for place in bank.places}:
            return 0
        members: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            place, _, key = name.partition("/")
            members.setdefault(int(place), {})[key] = tensor
        # Probe by probe, so it does not matter how they were put into banks.
        for bank in banks:
            states = [members[place] for place in bank.places]
            bank.load_members(states, sum(header["seconds"][str(place)] for place in bank.places))
        return int(header["epochs"])

    def save(self, banks: Sequence["Bank"], epochs: int, *, now: bool = False) -> None:
        """Keep the state after `epochs` epochs, unless the last was kept moments ago; or `now`.

        Where it cannot be written, training continues: runs take less room than their state, and
        what was kept before is still there.

        Raises:
            StoreError: it cannot be written `now`.
        """
        started = time.monotonic()
        pause = max(self._save_seconds, TRAINED_TO_SAVED * self.cost(banks))
        if self._save_seconds and not now and started - self._saved < pause:
            return
        tensors, seconds = {}, {}
        for bank in banks:
            for member, place in enumerate(bank.places):
                for name, tensor in bank.member_state(member).items():
                    tensors[f"{place}/{name}"] = tensor.contiguous().cpu()
                seconds[str(place)] = bank.seconds / len(bank.places)
        header = {"epochs": epochs, "seconds": seconds}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            replace_synced(self.path, save(tensors, {"pass": json.dumps(header)}))
        except OSError as error:
            if now:
                with disk_errors(self.path):
                    raise
            self._say(
                f"cannot write to {self.path}: {error.strerror}; training continues, but cannot be "
                f"resumed from epoch {epochs}: fix the cause"
            )
        self._saved = time.monotonic()
        self._cost = self._saved - started

    def cost(self, banks: Sequence["Bank"]) -> float:
        """Seconds that keeping the state takes, as it did last time."""
        if self._cost is not None:
            return self._cost
        return sum(bank.state_bytes for bank in banks) / FIRST_RATE

    def discard(self) -> None:
        """The runs are written: nothing is left to resume."""
        self.path.unlink(missing_ok=True)
