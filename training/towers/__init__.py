"""Encoders, one for each view, that end in one space."""

from typing import Protocol

from torch import Tensor


class TowerError(ValueError):
    """A tower cannot be made as it was asked for; the message is one sentence with the remedy."""


class Tower(Protocol):
    """What the model asks of the encoder of a view."""

    def __call__(self, stored: Tensor, /) -> tuple[Tensor, Tensor | None]:
        """Returns (B, dim), not normalised, and the map of its tokens (B, width, H, W) where there is one.

        Towers of Sentinel-2 and elevation also take where in its patch each place lies, (B, 2) as in `Batch.focus_BR2`.
        """

    def flops(self) -> int:
        """Returns the floating-point operations of the forward pass of one sample, two to a multiply-add."""


class Reader(Tower, Protocol):
    """What the model asks of the encoder of texts besides."""

    def tokenize(self, texts: list[str], /) -> Tensor:
        """Returns int64 (N, L): 0 = padding, L fixed, longer texts cut."""
