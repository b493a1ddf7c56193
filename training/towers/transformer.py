"""The one transformer of all towers: pre-norm blocks on `scaled_dot_product_attention`.

Names and shapes of the parameters are those of `torch.nn.TransformerEncoder(norm_first=True)`, so that weights of
published encoders written with it load unchanged. It knows nothing of modalities.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

_SHORT = 512  # tokens; above, the square of the scores is too much memory


class Transformer(nn.Module):
    """A stack of blocks, without a last norm."""

    def __init__(
        self, width: int, depth: int, heads: int, *, hidden: int = 0, dropout: float = 0.0, checkpointing: bool = False
    ) -> None:
        """Makes `depth` blocks; `hidden` is the width inside the MLP, 0 = four times `width`."""
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"A width of {width} does not divide into {heads} heads: choose a divisor.")
        self.hidden = hidden or 4 * width
        self.checkpointing = checkpointing
        self.layers = nn.ModuleList(Block(width, heads, self.hidden, dropout) for _ in range(depth))

    def forward(self, x_BLD: Tensor, mask_BL: Tensor | None = None) -> Tensor:
        """Returns (B, L, D); tokens where `mask_BL` (bool) is False are attended by none."""
        for block in self.layers:
            if self.checkpointing and self.training and torch.is_grad_enabled():
                x_BLD = checkpoint(block, x_BLD, mask_BL, use_reentrant=False)
            else:
                x_BLD = block(x_BLD, mask_BL)
        return x_BLD

    def flops(self, tokens: int) -> int:
        """Returns the floating-point operations of the forward pass of one sequence, two to a multiply-add."""
        return sum(_block_flops(block, tokens) for block in self.layers if isinstance(block, Block))


class Block(nn.Module):
    """u = x + attention(norm(x)); u + W2 GELU(W1 norm(u))."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads, dropout)
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        for linear in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x_BLD: Tensor, mask_BL: Tensor | None = None) -> Tensor:
        """Returns (B, L, D)."""
        x_BLD = x_BLD + self.dropout(self.self_attn(self.norm1(x_BLD), mask_BL))
        hidden_BLD = self.dropout(F.gelu(self.linear1(self.norm2(x_BLD))))
        out_BLD: Tensor = x_BLD + self.dropout(self.linear2(hidden_BLD))
        return out_BLD


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        for part in self.in_proj_weight.chunk(3):
            nn.init.xavier_uniform_(part)
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x_BLD: Tensor, mask_BL: Tensor | None = None) -> Tensor:
        """Returns (B, L, D)."""
        mixed = F.linear(x_BLD, self.in_proj_weight, self.in_proj_bias)
        query, key, value = mixed.view(*mixed.shape[:2], 3, self.heads, -1).transpose(1, 3).unbind(2)
        mask = None if mask_BL is None else mask_BL[:, None, None, :]
        attend = _attend_plainly if _is_better_plain(query) else F.scaled_dot_product_attention
        mixed = attend(query, key, value, attn_mask=mask, dropout_p=self.dropout if self.training else 0.0)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out


def _is_better_plain(query_BHLE: Tensor) -> bool:
    """On a CPU fused attention is slow in bfloat16: with its backward pass 6 x the plain one at 68 tokens."""
    return query_BHLE.device.type == "cpu" and query_BHLE.dtype == torch.bfloat16 and query_BHLE.shape[2] <= _SHORT


def _attend_plainly(query: Tensor, key: Tensor, value: Tensor, *, attn_mask: Tensor | None, dropout_p: float) -> Tensor:
    scores_BHLL = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if attn_mask is not None:
        scores_BHLL = scores_BHLL.masked_fill(~attn_mask, -torch.inf)
    weights_BHLL = F.dropout(scores_BHLL.softmax(-1, dtype=torch.float32).to(value.dtype), dropout_p)
    return weights_BHLL @ value


def _block_flops(block: Block, tokens: int) -> int:
    width, hidden = block.linear1.in_features, block.linear1.out_features
    return tokens * (2 * (4 * width * width + 2 * width * hidden) + 4 * tokens * width)
