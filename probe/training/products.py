"""Arithmetic of a probe: the multiplications of its matrix products."""

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.training.banks import Bank


def multiply_adds(bank: Bank, one_clip: TokenBatch) -> int:
    """Multiplications of one member's matrix products for one clip."""
    products = _Products()
    with products:
        bank.logits(one_clip)
    return products.operations // (2 * len(bank.configs))


class _Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the additions and multiplications of matrix products, by torch's own formulas."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing here is compiled: torch need not import its compiler, which takes two seconds."""
        return False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if (formula := flop_registry.get(func.overloadpacket)) is not None:
            self.operations += formula(*args, **(kwargs or {}), out_val=out)
        return out
