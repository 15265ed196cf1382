"""What a set of configs costs before it is trained: passes over the data, banks, memory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stepcli.probe.config import RunConfig, TaskConfig
from stepcli.probe.data.features import task_layout
from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.placement import token_bytes
from stepcli.probe.data.tasks import Task
from stepcli.probe.methods.registry import methods
from stepcli.probe.nn.bank import Probe
from stepcli.probe.training.banks import build_probe
from stepcli.runtime.errors import UsageError

if TYPE_CHECKING:
    from stepcli.cache.store.store import Store

BYTES_A_PARAMETER = 16
"""float32 value, gradient and AdamW's two moments."""


@dataclass(frozen=True, slots=True)
class BankPlan:
    """Probes that are computed as one."""

    method: str
    members: int
    parameters_each: int
    options: Mapping[str, object]
    """The method's options that all members share."""

    @property
    def bytes(self) -> int:
        """Values, gradients and moments; not activations."""
        return self.members * self.parameters_each * BYTES_A_PARAMETER

    @property
    def kept_bytes(self) -> int:
        """What the runs' folders take at least: the float32 values."""
        return self.members * self.parameters_each * 4


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

    @property
    def kept_bytes(self) -> int:
        """What the runs' folders take at least."""
        return sum(bank.kept_bytes for bank in self.banks)


def make_plan(
    configs: Sequence[RunConfig],
    store: "Store",
    task_of: Callable[[TaskConfig], Task],
    bank_bytes: int,
) -> list[PassPlan]:
    """Group configs into passes and banks, and build one probe of each kind to try it.

    Args:
        configs: What is to be trained.
        store: Whose tokens.
        task_of: The samples of a task.
        bank_bytes: What the probes of one pass may take; more are split into several passes.

    Raises:
        UsageError: an option does not fit the store's tokens: known before minutes of reading.
    """
    passes: dict[object, list[RunConfig]] = {}
    for config in configs:
        passes.setdefault((config.task.of_pass, config.shared), []).append(config)
    plans = []
    for members in passes.values():
        task = task_of(members[0].task.of_pass)
        _require_texts(members, task)
        kinds = _kinds(members, task_layout(store, task), len(task.classes))
        plans += [
            _pass_plan(part, kinds, task, store) for part in _split(members, kinds, bank_bytes)
        ]
    return plans


def _require_texts(configs: Sequence[RunConfig], task: Task) -> None:
    """Refuse methods that cannot answer with a class that they were not trained on.

    Raises:
        UsageError: naming the method and those that can.
    """
    if task.base_classes == len(task.classes):
        return
    by_text = [m.name for m in methods().built_in() if "text embeddings" in m.needs]
    for config in configs:
        if "text embeddings" not in methods().get(config.method).needs:
            raise UsageError(
                f"--protocol base-to-novel: {config.method} does not know a class that it was not "
                f"trained on; use a method that knows classes by their texts: {', '.join(by_text)}"
            )


def kind(config: RunConfig) -> str:
    """Equal for configs whose probes are built alike, but for their seed."""
    return f"{config.method} {config.options}"


def _kinds(configs: Sequence[RunConfig], layout: TokenLayout, classes: int) -> dict[str, Probe]:
    """One probe of each method with each options."""
    kinds: dict[str, Probe] = {}
    for config in configs:
        if kind(config) not in kinds:
            kinds[kind(config)] = build_probe(config, layout, classes)
    return kinds


def _split(
    configs: Sequence[RunConfig], kinds: dict[str, Probe], bank_bytes: int
) -> list[list[RunConfig]]:
    """Parts in order, each within the memory; a probe that alone is too large gets a part."""
    parts: list[list[RunConfig]] = []
    room = 0
    for config in configs:
        size = kinds[kind(config)].parameters_each * BYTES_A_PARAMETER
        if not parts or size > room:
            parts.append([])
            room = bank_bytes
        parts[-1].append(config)
        room -= size
    return parts


def _pass_plan(
    configs: Sequence[RunConfig], kinds: dict[str, Probe], task: Task, store: "Store"
) -> PassPlan:
    data = configs[0].shared
    epochs = data.epochs_of(task.samples_per_epoch)
    epochs = epochs if any(kinds[kind(config)].trained for config in configs) else 0
    banks: dict[tuple[object, ...], list[RunConfig]] = {}
    for config in configs:
        banks.setdefault(kinds[kind(config)].signature(), []).append(config)
    return PassPlan(
        tuple(configs),
        tuple(
            BankPlan(
                each[0].method,
                len(each),
                kinds[kind(each[0])].parameters_each,
                _shared_options(each),
            )
            for each in banks.values()
        ),
        epochs,
        epochs * -(-task.samples_per_epoch // data.batch_size),
        len(set(task.clips)),
        token_bytes(store, len(set(task.clips))),
    )


def _shared_options(configs: Sequence[RunConfig]) -> dict[str, object]:
    return {
        name: value
        for name, value in configs[0].options.items()
        if all(config.options.get(name) == value for config in configs)
    }
