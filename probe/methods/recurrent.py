"""Recurrent heads on the frames' mean tokens; the last state goes to a linear classifier.

Source: gru: Cho et al., arXiv 1406.1078, with torch.nn.GRU's equations; lstm: Hochreiter &
Schmidhuber 1997, with torch.nn.LSTM's equations (as the LSTM head of ActionCLIP, arXiv 2109.08472,
without its residual).

    gru:   r, z = sigmoid(W x_t + U h),  n = tanh(W_n x_t + r * (U_n h)),  h = (1 - z) n + z h
    lstm:  i, f, o = sigmoid(W x_t + U h),  g = tanh(W_g x_t + U_g h),  c = f c + i g,
           h = o tanh(c)

Assumed: one layer, one direction, 256 units. A missing frame leaves the state as it was.
"""

from abc import abstractmethod

import torch
from pydantic import Field
from torch import Generator, Tensor

from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import ProbeInfo
from stepcli.probe.nn.layers import StackedLinear
from stepcli.probe.nn.pooling import PooledProbe, PoolOptions


class RecurrentOptions(PoolOptions):
    """Pooling and width."""

    hidden: int = Field(256, ge=1, description="units of the state")


class _Recurrent(PooledProbe):
    """What both cells share: all input projections at once, then one step per frame."""

    options: RecurrentOptions
    gates: int

    def __init__(
        self, layout: TokenLayout, classes: int, options: RecurrentOptions, generator: Generator
    ) -> None:
        super().__init__(layout, classes, options)
        # torch's recurrent layers draw everything from +-1/sqrt(hidden); the input keeps its own.
        self.from_input = StackedLinear(layout.dim, self.gates * options.hidden, generator)
        self.from_state = StackedLinear(options.hidden, self.gates * options.hidden, generator)
        self.head = StackedLinear(options.hidden, classes, generator)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        frames = self.frame_means(batch)
        clips, steps, _ = frames.shape
        inputs = self.from_input(frames.flatten(0, 1))
        inputs = inputs.reshape(self.members, clips, steps, -1)
        state = frames.new_zeros(2, self.members, clips, self.options.hidden)
        for step in range(steps):
            after = self.step(inputs[:, :, step], state)
            if batch.frame_mask is not None:
                after = torch.where(batch.frame_mask[:, step, None], after, state)
            state = after
        logits: Tensor = self.head(state[0])
        return logits

    @abstractmethod
    def step(self, x: Tensor, state: Tensor) -> Tensor:
        """One frame's projected input [K, B, gates * H] and state [2, K, B, H] -> next state."""


class Gru(_Recurrent):
    """K gated recurrent units; the second half of the state is not used."""

    gates = 3

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        """torch.nn.GRU's step."""
        h = state[0]
        x_r, x_z, x_n = x.chunk(3, dim=-1)
        h_r, h_z, h_n = self.from_state(h).chunk(3, dim=-1)
        z = torch.sigmoid(x_z + h_z)
        n = torch.tanh(x_n + torch.sigmoid(x_r + h_r) * h_n)
        return torch.stack((n + z * (h - n), state[1]))


class Lstm(_Recurrent):
    """K long short-term memories."""

    gates = 4

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        """torch.nn.LSTM's step."""
        i, f, g, o = (x + self.from_state(state[0])).chunk(4, dim=-1)
        c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
        return torch.stack((torch.sigmoid(o) * torch.tanh(c), c))


INFOS = (
    ProbeInfo("gru", Gru, RecurrentOptions, "GRU, arXiv 1406.1078", order_aware=True, lr=1e-3),
    ProbeInfo("lstm", Lstm, RecurrentOptions, "LSTM 1997", order_aware=True, lr=1e-3),
)
