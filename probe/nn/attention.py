"""Multi-head attention of one learned query over folded tokens: score, aggregate, project once."""

import math

import torch
from torch import Generator, Tensor, nn
from torch.autograd import Function
from torch.autograd.function import FunctionCtx, once_differentiable

from stepcli.probe.nn.dropout import MemberDropout
from stepcli.probe.nn.folded import FoldedTokens, ReadOut, read_out
from stepcli.probe.nn.layers import Init, StackedLayerNorm, StackedLinear, require_heads


class FoldedAttention(nn.Module):
    """K multi-head attentions of one learned query each: that row of nn.MultiheadAttention.

    The key bias is a parameter as in the textbook, though no output depends on it: it adds the same
    number to every score of a softmax.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        generator: Generator,
        *,
        init: Init = "xavier",
        output_projection: bool = True,
    ) -> None:
        """Build one member.

        Raises:
            UsageError: the heads do not divide the channels.
        """
        super().__init__()
        require_heads(heads, dim)
        self.heads = heads
        self.dropout: MemberDropout | None = None
        """Drops attention weights in training; set for the bank that this is part of."""
        # nn.MultiheadAttention draws its three projections as one matrix [3D, D].
        self.query, self.key, self.value = (
            StackedLinear(dim, dim, generator, init=init, fans=4 * dim) for _ in range(3)
        )
        self.out: StackedLinear | None = None
        if output_projection:
            self.out = StackedLinear(dim, dim, generator, init="vit" if init == "vit" else "torch")
            nn.init.zeros_(self.out.bias)

    def forward(
        self,
        z: FoldedTokens,
        query: Tensor,
        *,
        prepended: Tensor | None = None,
        norm: StackedLayerNorm | None = None,
        per_frame: bool = False,
    ) -> Tensor:
        """Read z out with one query per member.

        Args:
            z: The tokens, before the learned scale and shift of `norm`.
            query: [K, D].
            prepended: One more token among the keys and values, [K, D] (the CLS), used unchanged.
            norm: A LayerNorm's learned scale and shift, applied to z.
            per_frame: Attend within each frame alone.

        Returns:
            [K, B, D], or [K, B, T, D] per frame.
        """
        members, dim = query.shape
        width = dim // self.heads
        q = self.query(query[:, None]).view(members * self.heads, 1, width)
        keys = self.key.weight.view(members * self.heads, width, dim)
        u = (torch.bmm(q, keys) / math.sqrt(width)).view(members, self.heads, dim)
        directions = u if norm is None else u * norm.weight[:, None]
        cls_score = None
        if prepended is not None:
            other = prepended if norm is None else prepended - norm.bias
            cls_score = torch.einsum("khd,kd->kh", u, other)
        read = read_out(
            z,
            directions,
            cls_score,
            per_frame=per_frame,
            dropout=self.dropout if self.training else None,
        )
        y = self._project(read, z, prepended, norm)
        y = y if self.out is None else self.out(y)
        return y.unflatten(1, (-1, z.tokens.shape[1])) if per_frame else y

    def _project(
        self,
        read: ReadOut,
        z: FoldedTokens,
        prepended: Tensor | None,
        norm: StackedLayerNorm | None,
    ) -> Tensor:
        """Value projection of what was gathered, R rows -> [K, R, D].

        What a row holds beside its sums are few vectors, the same for all rows (the frames'
        offsets, the shift of `norm`, the prepended token): they are projected once, in the same
        product, and mixed afterwards.
        """
        weights, members = self.value.weight, len(self.value.weight)
        rows, queries, dim = read.sums.shape
        scale = None if norm is None else norm.weight
        sums = read.sums
        if scale is not None:
            sums = (sums.view(rows, members, -1, dim) * scale[:, None]).view(sums.shape)
        share = (
            read.attention_mass if read.survivors is None else read.attention_mass * read.survivors
        )
        vectors, amounts = [], []
        if read.places is not None and z.offsets is not None:
            offsets = z.offsets[:, :, 0]
            vectors.append(offsets if scale is None else offsets * scale[:, None])
            amounts.append((read.places * read.attention_mass[..., None]).permute(1, 2, 0))
        for vector, amount in (
            (None if norm is None else norm.bias, share),
            (prepended, read.cls_share),
        ):
            if vector is not None:
                vectors.append(vector[:, None])
                amounts.append(amount.T[:, None])
        if vectors:
            # One product for both: its weights are read once, and get one gradient.
            more = torch.cat(vectors, dim=1).transpose(0, 1)
            more = more[:, :, None].expand(-1, -1, self.heads, -1).flatten(1, 2)
            sums = torch.cat((sums, more))
        projected = project_heads(sums, weights.view(queries, -1, dim))
        columns = projected[..., :rows] * read.attention_mass.T[:, None]
        if vectors:
            columns = torch.baddbmm(columns, projected[..., rows:], torch.cat(amounts, dim=1))
        bias = self.value.bias.view(queries, -1, 1)
        if read.survivors is not None:
            # What dropout leaves of the weights is what the value bias is multiplied by.
            bias = bias * (share + read.cls_share if prepended is not None else share).T[:, None]
        return (columns + bias).view(members, dim, rows).transpose(1, 2)


def project_heads(sums: Tensor, values: Tensor) -> Tensor:
    """Each query's sums [R, Q, D] through its head's values [Q, W, D] -> [Q, W, R]."""
    out: Tensor = _ProjectHeads.apply(sums, values)  # type: ignore[no-untyped-call]
    return out


class _ProjectHeads(Function):
    """A product whose gradients are born in the memory layout in which they are used."""

    @staticmethod
    def forward(ctx: FunctionCtx, sums: Tensor, values: Tensor) -> Tensor:
        ctx.save_for_backward(sums, values)
        return torch.bmm(values, sums.permute(1, 2, 0))

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor]:
        sums, values = ctx.saved_tensors  # type: ignore[attr-defined]
        grad_sums = torch.bmm(grad.transpose(1, 2), values).transpose(0, 1)
        return grad_sums, torch.bmm(grad, sums.transpose(0, 1))
