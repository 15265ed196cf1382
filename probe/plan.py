"""What a set of configs costs before it is trained: passes over the data, banks, memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stepcli.probe.bank import Probe
from stepcli.probe.config import RunConfig, TaskConfig
from stepcli.probe.data import layout_of
from stepcli.probe.tasks import Task
from stepcli.probe.train import build_probe

if TYPE_CHECKING:
    from stepcli.cache.store import Store

BYTES_A_PARAMETER = 16
"""float32 value, gradient and AdamW's two moments."""


@dataclass(frozen=True, slots=True)
class BankPlan:
    """Probes that are computed as one."""

    method: str
    members: int
    parameters_each: int

    @property
    def bytes(self) -> int:
        """Values, gradients and moments; not activations."""
        return self.members * self.parameters_each * BYTES_A_PARAMETER


@dataclass(frozen=True, slots=True)
class PassPlan:
    """Configs that see the same batches."""

    configs: tuple[RunConfig, ...]
    banks: tuple[BankPlan, ...]
    epochs: int
    steps: int
    clips: int
    token_bytes: int
    """Tokens of the clips, in memory."""


def make_plan(
    configs: Sequence[RunConfig], store: "Store", task_of: Callable[[TaskConfig], Task]
) -> list[PassPlan]:
    """Group configs into passes and banks, and build one probe of each kind to try it.

    Raises:
        UsageError: an option does not fit the store's tokens: known before minutes of reading.
    """
    passes: dict[object, list[RunConfig]] = {}
    for config in configs:
        passes.setdefault((config.task, config.shared), []).append(config)
    plans = []
    clip_bytes = len(store) and store.read(store.ids[:1]).nbytes
    for members in passes.values():
        shared = members[0].shared
        task = task_of(members[0].task)
        banks: dict[tuple[object, ...], list[Probe]] = {}
        tried: dict[str, Probe] = {}
        for config in members:
            kind = f"{config.method} {config.options}"
            if kind not in tried:
                tried[kind] = build_probe(config, layout_of(store, task), len(task.classes))
            probe = tried[kind]
            banks.setdefault(probe.signature(), []).append(probe)
        per_epoch = -(-task.samples_per_epoch // shared.batch_size)
        plans.append(
            PassPlan(
                tuple(members),
                tuple(
                    BankPlan(type(probes[0]).__name__, len(probes), probes[0].parameters_each)
                    for probes in banks.values()
                ),
                shared.epochs,
                shared.epochs * per_epoch,
                len(task.clips),
                len(task.clips) * clip_bytes,
            )
        )
    return plans
