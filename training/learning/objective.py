"""What is contrasted with what: the weights of all pairs of embeddings, and the loss of a batch.

The rows R of a batch are the six views (`VIEWS`) and the Sentinel-2 embedding localised at the photo and at the article
(`SPOTS`). Views are contrasted all to all (UniGeoCLIP, arXiv 2604.11668) or each with location alone; localised rows
with what was seen or written there and with the photo's location (GAIR, arXiv 2503.16683: INCL beside SECL).
"""

from typing import Literal

import torch
from torch import Tensor

from training.data.batch import LOCATION, SPOTS, VIEWS
from training.learning.config import FitOptions
from training.losses import all_to_all
from training.model import Embeddings

ROWS = (*VIEWS, *(f"spot_{name}" for name in SPOTS))
"""Names of R."""


def join_rows(embeddings: Embeddings) -> tuple[Tensor, Tensor]:
    """Returns all embeddings of a batch, (R, B, D), and which there are, bool (R, B)."""
    z_RBD = torch.cat([embeddings.z_MBD, embeddings.spots_SBD])
    return z_RBD, torch.cat([embeddings.present_MB, embeddings.inside_SB])


def weigh_pairs(options: FitOptions) -> Tensor:
    """Returns the weight of each ordered pair of rows, (R, R), symmetric; 0 where two are not contrasted."""
    weights_RR = torch.zeros(len(ROWS), len(ROWS))
    for i, first in enumerate(VIEWS):
        for second in VIEWS[i + 1 :]:
            if options.pairs == "all" or LOCATION in (first, second):
                is_secl = first == "sentinel2" and second in ("street", LOCATION)
                _set(weights_RR, first, second, options.secl if is_secl else 1.0)
    if options.predictor != "none":
        _set(weights_RR, "spot_street", "street", options.incl)
        _set(weights_RR, "spot_street", LOCATION, options.incl)
        _set(weights_RR, "spot_text", "text", options.incl)
    if options.include_self:
        weights_RR[: len(VIEWS), : len(VIEWS)].fill_diagonal_(1.0)
    return weights_RR


class Objective:
    """The loss of a batch as the options want it."""

    def __init__(self, options: FitOptions) -> None:
        self._weights_RR = weigh_pairs(options)
        self._negatives: Literal["pair", "candidate"] = "pair" if options.negatives == "pair" else "candidate"
        self._include_self = options.include_self

    def __call__(
        self, z_RBD: Tensor, present_RB: Tensor, scale: Tensor, *, near_K2: Tensor, rows: tuple[int, int] | None = None
    ) -> Tensor:
        """Returns the loss.

        Args:
            z_RBD: unit vectors, zeros where absent.
            present_RB: bool.
            scale: inverse temperature, 0-dim.
            near_K2: int64, pairs of places that are no negatives of each other, both orders.
            rows: the places whose queries count here, where processes share a batch; None for all.
        """
        return all_to_all(
            z_RBD, present_RB, scale, include_self=self._include_self, weights_MM=self._weights_RR,
            negatives=self._negatives, near_K2=near_K2, rows=rows,
        )  # fmt: skip


def _set(weights_RR: Tensor, first: str, second: str, weight: float) -> None:
    i, j = ROWS.index(first), ROWS.index(second)
    weights_RR[i, j] = weights_RR[j, i] = weight
