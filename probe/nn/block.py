"""One transformer block of which only one row is read, so all of its attention folds."""

from typing import Literal

from torch import Generator, Tensor, nn

from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.nn.attention import FoldedAttention
from stepcli.probe.nn.encoding import TokenInput
from stepcli.probe.nn.layers import Init, StackedFeedForward, StackedLayerNorm

Kind = Literal["self", "cross"]


class ReadBlock(nn.Module):
    """A pre-norm block (attention, FFN, two LayerNorms, residuals), computed for one row only.

    Nobody reads the other rows of a last block, so the FFN runs on one row per clip instead of on
    every token; the row that is read is exactly the textbook block's.

    "self": the query is a CLS token among the tokens, as in nn.TransformerEncoderLayer with
    norm_first. "cross": the query looks at the tokens, is not normed and not among them, and there
    is no output projection, as in V-JEPA's attentive pooler.
    """

    def __init__(self, dim: int, heads: int, generator: Generator, *, kind: Kind) -> None:
        super().__init__()
        init: Init = "xavier" if kind == "self" else "vit"
        self.kind = kind
        self.norm1 = StackedLayerNorm(dim)
        self.attention = FoldedAttention(
            dim, heads, generator, init=init, output_projection=kind == "self"
        )
        self.norm2 = StackedLayerNorm(dim)
        self.feed_forward = StackedFeedForward(
            dim, 4 * dim, generator, init="torch" if kind == "self" else "vit"
        )

    def forward(
        self, tokens: TokenInput, batch: TokenBatch, query: Tensor, *, per_frame: bool = False
    ) -> Tensor:
        """Read a batch with one query [K, D] a member -> [K, B, D] ([K, B, T, D] per frame)."""
        z = tokens.block_normed(batch)
        if self.kind == "self":
            cls = self.norm1(query)
            gathered = self.attention(z, cls, prepended=cls, norm=self.norm1, per_frame=per_frame)
        else:
            gathered = self.attention(z, query, norm=self.norm1, per_frame=per_frame)
        members, *rows, dim = gathered.shape
        row: Tensor = query[:, None] + gathered.reshape(members, -1, dim)
        row = row + self.feed_forward(self.norm2(row))
        return row.reshape(members, *rows, dim)
