"""Layers of K probes at once: every parameter has a leading member dimension.

Each takes the `torch.Generator` of the one member it is built for; `bank.stack` puts members side
by side. The initial values follow the torch layers that the names refer to.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Generator, Tensor, nn
from torch.autograd import Function
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional

from stepcli.probe.data.tokens import NORM_EPS
from stepcli.runtime.errors import UsageError

Init = Literal["torch", "xavier", "vit"]

FEW = 8
"""Members up to which one product after another is faster than a batched one."""


def require_heads(heads: int, dim: int) -> None:
    """Refuse a number of heads that cannot share the channels out evenly.

    Raises:
        UsageError: naming those that can.
    """
    if dim % heads:
        fitting = [h for h in range(1, 65) if dim % h == 0]
        raise UsageError(f"heads={heads} does not divide {dim} channels; use one of {fitting}")


def uniform(bound: float, shape: tuple[int, ...], generator: Generator) -> nn.Parameter:
    """A parameter [1, *shape], uniform in [-bound, bound]."""
    values = torch.rand((1, *shape), generator=generator)
    return nn.Parameter(values.mul_(2).sub_(1).mul_(bound))


def normal(std: float, shape: tuple[int, ...], generator: Generator) -> nn.Parameter:
    """A parameter [1, *shape], normal around zero."""
    return nn.Parameter(torch.randn((1, *shape), generator=generator).mul_(std))


def constant(value: float, shape: tuple[int, ...]) -> nn.Parameter:
    """A parameter [1, *shape], all one value."""
    return nn.Parameter(torch.full((1, *shape), value))


def member_products(rows: Tensor, weights: Tensor) -> Tensor:
    """[K, B, in] times the transposed [K, out, in], each member's own: [K, B, out]."""
    out: Tensor = _MemberProducts.apply(rows, weights)  # type: ignore[no-untyped-call]
    return out


class _MemberProducts(Function):
    """torch.bmm whose three products run as `_products` do.

    Rows in, rows out, and the gradients in the memory layout of what they belong to: a GELU whose
    gradient lay the other way round than its input took 15 times as long, 5 % of a step.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weights)
        return _products(rows, weights.transpose(1, 2))

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, Tensor]:
        rows, weights = ctx.saved_tensors  # type: ignore[attr-defined]
        grad_rows = None
        if ctx.needs_input_grad[0]:  # type: ignore[attr-defined]
            grad_rows = _products(grad, weights)
        return grad_rows, _products(grad.transpose(1, 2), rows)


def _products(a: Tensor, b: Tensor) -> Tensor:
    """[K, m, k] @ [K, k, n].

    Of few members on a CPU each product uses all threads; torch.bmm gives whole members to
    threads, 3 members to 2.
    """
    if len(a) > FEW or a.device.type != "cpu":
        return torch.bmm(a, b)
    out = a.new_empty(len(a), a.shape[1], b.shape[2])
    for member, product in enumerate(out):
        torch.mm(a[member], b[member], out=product)
    return out


class StackedLinear(nn.Module):
    """K linear layers: weight [K, out, in], bias [K, out]."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        generator: Generator,
        *,
        init: Init = "torch",
        fans: int | None = None,
        bias: bool = True,
    ) -> None:
        """Initialise one member.

        Args:
            inputs: Channels read.
            outputs: Channels written.
            generator: Source of the member's initial values.
            init: "torch" as nn.Linear, "xavier" with zero bias as nn.MultiheadAttention's input
                projections, "vit" normal of std 0.02 (cut at two deviations) with zero bias.
            fans: fan in + fan out for "xavier", where the matrix is part of a larger one.
            bias: Whether there is one; else it is a buffer of zeros, not trained.
        """
        super().__init__()
        shape = (outputs, inputs)
        if init == "xavier":
            bound = math.sqrt(6 / (fans or inputs + outputs))
            self.weight = uniform(bound, shape, generator)
            self.bias = constant(0.0, (outputs,))
        elif init == "vit":
            self.weight = normal(0.0, shape, generator)
            nn.init.trunc_normal_(self.weight, std=0.02, a=-0.04, b=0.04, generator=generator)
            self.bias = constant(0.0, (outputs,))
        else:
            bound = 1 / math.sqrt(inputs)
            self.weight = uniform(bound, shape, generator)
            self.bias = uniform(bound, (outputs,), generator)
        if not bias:
            del self.bias
            self.register_buffer("bias", torch.zeros(1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """[K, B, in] (or [B, in], read by every member) -> [K, B, out]."""
        members, outputs, inputs = self.weight.shape
        if x.ndim == 2:
            # As (W x^T)^T, so that the gradient of W is born in W's own memory layout.
            flat = self.weight.view(members * outputs, inputs) @ x.T
            return (flat.view(members, outputs, -1) + self.bias[..., None]).transpose(1, 2)
        if torch.compiler.is_compiling():
            return torch.baddbmm(self.bias[:, None], x, self.weight.transpose(1, 2))
        return member_products(x, self.weight) + self.bias[:, None]

    def rows(self, x: Tensor) -> Tensor:
        """[K, ..., in] -> [K, ..., out]."""
        members, *middle, inputs = x.shape
        y: Tensor = self(x.reshape(members, -1, inputs))
        return y.reshape(members, *middle, y.shape[-1])

    def shared(self, x: Tensor) -> Tensor:
        """[..., in], read by every member -> [K, ..., out]."""
        y: Tensor = self(x.reshape(-1, x.shape[-1]))
        return y.reshape(len(y), *x.shape[:-1], y.shape[-1])


class StackedLayerNorm(nn.Module):
    """K LayerNorms: weight and bias [K, D]."""

    def __init__(self, dim: int, eps: float = NORM_EPS) -> None:
        super().__init__()
        self.weight = constant(1.0, (dim,))
        self.bias = constant(0.0, (dim,))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """[K, ..., D] -> the same shape."""
        middle = (1,) * (x.ndim - 2)
        members, dim = self.weight.shape
        normed = functional.layer_norm(x, (dim,), eps=self.eps)
        return normed * self.weight.view(members, *middle, dim) + self.bias.view(
            members, *middle, dim
        )


def quick_gelu(x: Tensor) -> Tensor:
    """CLIP's approximation of GELU."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "quick-gelu": quick_gelu,
    "relu": functional.relu,
}


class StackedFeedForward(nn.Module):
    """K two-layer perceptrons, the FFN of a transformer block."""

    def __init__(
        self,
        dim: int,
        hidden: int,
        generator: Generator,
        *,
        init: Init,
        activation: Literal["gelu", "quick-gelu", "relu"] = "gelu",
    ) -> None:
        super().__init__()
        self.up = StackedLinear(dim, hidden, generator, init=init)
        self.down = StackedLinear(hidden, dim, generator, init=init)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """[K, ..., D] -> [K, ..., D]."""
        return self.down.rows(ACTIVATIONS[self.activation](self.up.rows(x)))
