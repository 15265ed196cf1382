"""Every probe is a bank: K probes of one method and shape, computed side by side.

A probe is built with one member; `stack` puts members side by side and `member` takes one out.
Members never mix: a member of a bank computes what it would compute alone.
"""

import copy
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)
from torch import Tensor, nn

from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.runtime.settings import JsonObject


class Options(BaseModel):
    """A method's own settings; what `--set name=value` may set."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    initial: ClassVar[frozenset[str]] = frozenset()
    """Options that act on initial values alone, so members that differ in them still stack."""

    before: ClassVar[dict[str, object]] = {}
    """What a probe did before an option existed: for runs whose record does not name it."""

    later: ClassVar[frozenset[str]] = frozenset()
    """Options that came later: written, and part of a run's name, only where they are not at their
    default, so that runs from before them keep their names."""

    @model_serializer(mode="wrap")
    def _later_options_if_given(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = plain(self)
        fields = type(self).model_fields
        unset = {n for n in self.later if getattr(self, n) == fields[n].default}
        return {name: value for name, value in content.items() if name not in unset}

    def structure(self) -> JsonObject:
        """The options that members of one bank must share."""
        return self.model_dump(exclude=set(self.initial))


def moving_field() -> Any:
    """The option that keeps a frame's moving patches, for every method that pools tokens."""
    return Field(
        1.0,
        gt=0,
        le=1,
        description="share of a frame's patches that is read, those that change most over the clip "
        "(T-Mask style, arXiv 2508.16207); 1: all",
    )


class Probe(nn.Module, ABC):
    """K probes of one method; every parameter and buffer has a leading dimension K."""

    undecayed: ClassVar[frozenset[str]] = frozenset({"cls", "frame_encoding", "patch_encoding"})
    """Last name of the parameters that get no weight decay, beside all vectors a member."""
    trained: bool = True
    """Whether gradient descent trains it; otherwise `fit` sees the training samples once."""

    def __init__(self, layout: TokenLayout, classes: int, options: Options) -> None:
        super().__init__()
        self.layout = layout
        self.classes = classes
        self.options = options

    @abstractmethod
    def forward(self, batch: TokenBatch) -> Tensor:
        """A batch of B clips' tokens [B, T, S, D] -> logits [K, B, C]."""

    def training_logits(self, batch: TokenBatch) -> tuple[Tensor, Tensor | None]:
        """Logits [K, B, C], and what a method's own loss adds to each sample's, [K, B]."""
        return self(batch), None

    @torch.no_grad()
    def fit(self, batches: Iterable[tuple[TokenBatch, Tensor]]) -> None:
        """Take from one pass over the training samples what a method without gradients needs.

        Args:
            batches: The samples with their labels, [B] or [B, C] with 1 for each of any number of
                classes, read as they are asked for: a method that learns nothing, a zero-shot one,
                leaves them alone.
        """
        raise NotImplementedError(f"{type(self).__name__} is trained by gradient descent")

    @property
    def members(self) -> int:
        """K."""
        return next(itertools.chain(self.parameters(), self.buffers())).shape[0]

    @property
    def parameters_each(self) -> int:
        """Trainable parameters of one member."""
        return sum(p[0].numel() for p in self.parameters())

    def signature(self) -> tuple[object, ...]:
        """Equal for probes that can be stacked."""
        shapes = tuple((name, tuple(t.shape[1:])) for name, t in self.state_dict().items())
        options = tuple(sorted(self.options.structure().items()))
        return type(self), self.layout, self.classes, options, shapes

    def decays(self, name: str) -> bool:
        """Whether weight decay acts on a parameter: on matrices, not on biases or encodings."""
        matrix = self.get_parameter(name).ndim > 2
        return matrix and name.rpartition(".")[2] not in self.undecayed

    def member(self, index: int) -> "Probe":
        """A copy of one member, as a probe of K = 1."""
        state = self.state_dict().items()
        return _with_state(self, {name: t[index : index + 1].clone() for name, t in state})


def stack(probes: Sequence[Probe]) -> Probe:
    """Put probes side by side, in order, as copies.

    Raises:
        ValueError: they differ in method, shape or structural options.
    """
    first = probes[0]
    for probe in probes:
        if probe.signature() != first.signature():
            raise ValueError(
                f"cannot stack {type(first).__name__} {first.options} with "
                f"{type(probe).__name__} {probe.options}: method, shapes and structure must agree"
            )
    states = [probe.state_dict() for probe in probes]
    return _with_state(first, {k: torch.cat([state[k] for state in states]) for k in states[0]})


def _with_state(probe: Probe, state: dict[str, Tensor]) -> Probe:
    """A copy of a probe that holds these very tensors, of any number of members."""
    memo: dict[int, object] = {}
    for name, parameter in probe.named_parameters():
        memo[id(parameter)] = nn.Parameter(state[name].detach())
    for name, tensor in probe.named_buffers():
        memo[id(tensor)] = state[name].detach()
    return copy.deepcopy(probe, memo)
