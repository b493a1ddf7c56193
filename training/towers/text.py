"""Text from scratch: bytes or pieces of words into a small transformer.

Neither needs a vocabulary file, so any language and script is read; padding is masked, and a register token keeps an
empty text from dividing by nothing.
"""

import math
import re
import unicodedata
import zlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.towers.magnitude import Magnitudes
from training.towers.transformer import Transformer
from training.towers.vit import VitShape

_IDEOGRAPHS = "\u2e80-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"
_PIECE = re.compile(rf"(?:(?<!\S)[-\u2212])?\d+(?:[.,]\d+)*|[{_IDEOGRAPHS}]|[^\W\d_{_IDEOGRAPHS}]{{1,8}}")
_THOUSANDS = re.compile(r"[.,](?=\d{3}(?!\d))")
_STEPS, _LARGEST = 1024, 48  # of a logarithm: a number is known to a thousandth, up to e^48
_BYTE_WIDTH = 32


class ByteTokens(nn.Module):
    """UTF-8 bytes, seen through overlapping windows so that a token holds about a word at a fraction of the cost."""

    def __init__(self, length: int, width: int, *, stride: int = 8) -> None:
        """Reads `length` bytes as `length / stride` tokens; each sees its own bytes and half a stride on both sides."""
        super().__init__()
        self.length, self.stride, self.count = length, stride, length // stride
        self.embedding = nn.Embedding(257, _BYTE_WIDTH, padding_idx=0)
        self.window = nn.Linear(2 * stride * _BYTE_WIDTH, width)

    def tokenize(self, texts: list[str]) -> Tensor:
        """Returns int64 (N, length): bytes plus 1, 0 = padding, longer texts cut."""
        return pad_tokens([[byte + 1 for byte in text.encode()[: self.length]] for text in texts], self.length)

    def forward(self, tokens_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the embedded windows (B, count, width) and where they hold text (B, count)."""
        half = self.stride // 2
        bytes_BLE = self.embedding(F.pad(tokens_BL, (half, self.stride - half)))
        windows_BLEW = bytes_BLE.unfold(1, 2 * self.stride, self.stride)
        mask_BL = (tokens_BL != 0).view(-1, self.count, self.stride).any(2)
        return self.window(windows_BLEW.flatten(2)), mask_BL


class WordPieces(nn.Module):
    """Lower-case words in pieces of at most eight letters and single ideographs, hashed into rows; numbers as numbers.

    A number is one token, whose place beyond the rows is its logarithm.
    """

    def __init__(self, length: int, width: int, *, rows: int = 8192) -> None:
        """Reads `length` pieces into a table of `rows`."""
        super().__init__()
        self.length, self.count, self.rows = length, length, rows
        self.embedding = nn.Embedding(rows + 1, width, padding_idx=0)
        nn.init.normal_(self.embedding.weight[1:], std=0.5)
        self.number = Magnitudes(1, width)

    def tokenize(self, texts: list[str]) -> Tensor:
        """Returns int64 (N, length), longer texts cut.

        0 = padding; 1 + CRC-32 of a piece modulo the rows; above them, a number.
        """
        return pad_tokens([[self._row(piece) for piece in self._cut(text)] for text in texts], self.length)

    def forward(self, tokens_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the embedded pieces (B, count, width) and where there are any (B, count)."""
        code_BL = tokens_BL - self.rows - 1
        is_number_BL = code_BL >= 0
        words_BLD = self.embedding(tokens_BL.masked_fill(is_number_BL, 0))
        numbers_BLD = self.number(code_BL.unsqueeze(-1) / _STEPS - _LARGEST)
        x_BLD = torch.where(is_number_BL[..., None], numbers_BLD.to(words_BLD.dtype), words_BLD)
        return x_BLD, tokens_BL != 0

    def _cut(self, text: str) -> list[str]:
        return _PIECE.findall(unicodedata.normalize("NFKC", text).casefold())[: self.length]

    def _row(self, piece: str) -> int:
        value = _parse(piece) if piece[-1].isdecimal() else None
        if value is None:
            return 1 + zlib.crc32(piece.encode()) % self.rows
        return 1 + self.rows + round((_LARGEST + max(-_LARGEST, min(_LARGEST, value))) * _STEPS)


def _parse(piece: str) -> float:
    """Returns the logarithm of a number as `squash` has it; a point or comma before three figures is no decimal."""
    sign = -1.0 if piece[0] in "-\u2212" else 1.0
    whole, *decimals = re.split("[.,]", _THOUSANDS.sub("", piece.lstrip("-\u2212")))
    number = float(f"{whole}.{''.join(decimals)}0")
    return sign * math.log1p(number)


class TextTower(nn.Module):
    """Texts to the joint space."""

    def __init__(self, tokens: ByteTokens | WordPieces, shape: VitShape) -> None:
        """Takes what makes and embeds tokens, and the shape of the transformer."""
        super().__init__()
        self.tokens, self.keep = tokens, shape.keep
        self.position_LD = nn.Parameter(torch.randn(tokens.count, shape.width) * 0.02)
        self.registers_RD = nn.Parameter(torch.randn(max(1, shape.registers), shape.width) * 0.02)
        self.transformer = Transformer(
            shape.width, shape.depth, shape.heads, dropout=shape.dropout, checkpointing=shape.checkpointing
        )
        self.norm = nn.LayerNorm(shape.width)
        self.head = nn.Linear(shape.width, shape.dim, bias=False)

    def tokenize(self, texts: list[str]) -> Tensor:
        """Returns int64 (N, L), 0 = padding."""
        return self.tokens.tokenize(texts)

    def forward(self, tokens_BL: Tensor) -> tuple[Tensor, None]:
        """Returns (B, dim), not normalised, for tokens of `tokenize`; and no map. The mean of the tokens of text."""
        x_BLD, mask_BL = self.tokens(tokens_BL)
        x_BLD = x_BLD + self.position_LD.to(x_BLD.dtype)
        if self.training and self.keep < 1:
            x_BLD, mask_BL = drop_tokens(x_BLD, mask_BL, self.keep)
        registers_BRD = self.registers_RD.to(x_BLD.dtype).expand(len(x_BLD), -1, -1)
        count = len(self.registers_RD)
        x_BLD = torch.cat([registers_BRD, x_BLD], 1)
        x_BLD = self.norm(self.transformer(x_BLD, F.pad(mask_BL, (count, 0), value=True)))[:, count:]
        return self.head(pool_mean(x_BLD, mask_BL)), None

    def flops(self) -> int:
        """Returns the operations of the forward pass of one text of full length; in training of what is kept of it."""
        window = self.tokens.window.weight.numel() if isinstance(self.tokens, ByteTokens) else 0
        kept = count_kept(self.tokens.count, self.keep) if self.training else self.tokens.count
        return self.transformer.flops(len(self.registers_RD) + kept) + 2 * self.tokens.count * window


def drop_tokens(x_BLD: Tensor, mask_BL: Tensor, keep: float) -> tuple[Tensor, Tensor]:
    """Returns some tokens of each text and where they are real: each stays with that probability, one at least.

    They come in fewer columns (B, K, D), in any order; a text of which more would stay loses the rest.
    """
    columns = count_kept(mask_BL.shape[1], keep)
    chance_BL = torch.rand(mask_BL.shape, device=mask_BL.device).masked_fill(~mask_BL, 2.0)
    chance_BK, order_BK = chance_BL.topk(columns, largest=False)
    limit_B1 = chance_BK[:, :1].clamp(min=keep, max=1.0)
    kept_BLD = x_BLD.gather(1, order_BK[:, :, None].expand(-1, -1, x_BLD.shape[2]))
    return kept_BLD, chance_BK <= limit_B1


def count_kept(length: int, keep: float) -> int:
    """Returns how many of so many tokens `drop_tokens` gives: the expected number and two standard deviations."""
    return min(length, math.ceil(length * keep + 2 * math.sqrt(length * keep * (1 - keep))))


def pool_mean(x_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """Returns the mean (B, D) of the tokens where the mask is True; zeros where it is nowhere."""
    weight_BL1 = mask_BL.to(x_BLD.dtype)[..., None]
    return (x_BLD * weight_BL1).sum(1) / weight_BL1.sum(1).clamp(min=1)


def pad_tokens(rows: list[list[int]], length: int) -> Tensor:
    """Returns int64 (N, length) with the rows on the left and zeros behind them."""
    tokens_NL = torch.zeros(len(rows), length, dtype=torch.int64)
    for row, ids in zip(tokens_NL, rows, strict=True):
        row[: len(ids)] = torch.tensor(ids, dtype=torch.int64)
    return tokens_NL
