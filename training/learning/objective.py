"""What is contrasted with what: the weights of all pairs of embeddings, and the loss of a batch.

The rows R of a batch are the six views (`VIEWS`), the Sentinel-2 embedding localised at the photo and at the article
(`SPOTS`), and a second embedding of the location. Views are contrasted all to all (UniGeoCLIP, arXiv 2604.11668) or
each with location alone; localised rows with what was seen or written there and with the photo's location (GAIR,
arXiv 2503.16683: INCL beside SECL); `training.learning.variants` says which of it.
"""

from typing import Literal

import torch
from torch import Tensor

from training.data.batch import LOCATION, SPOTS, VIEWS
from training.learning.config import FitOptions
from training.learning.variants import VARIANTS
from training.losses import all_to_all
from training.model import Embeddings

TWIN = "twin"
"""The location, embedded once more: dropout draws anew."""
ROWS = (*VIEWS, *(f"spot_{name}" for name in SPOTS), TWIN)
"""Names of R."""


def join_rows(
    embeddings: Embeddings, rows: tuple[str, ...] = ROWS[:-1], twin_BD: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Returns the embeddings of a batch that rows name, (R, B, D), and which there are, bool (R, B)."""
    z, present = [embeddings.z_MBD, embeddings.spots_SBD], [embeddings.present_MB, embeddings.inside_SB]
    if twin_BD is not None:
        z, present = [*z, twin_BD[None]], [*present, present[0][[VIEWS.index(LOCATION)]]]
    z_RBD, present_RB = torch.cat(z), torch.cat(present)
    if rows == ROWS[: len(z_RBD)]:
        return z_RBD, present_RB
    numbers = [ROWS.index(row) for row in rows]
    return z_RBD[numbers], present_RB[numbers]


def weigh_pairs(options: FitOptions) -> Tensor:
    """Returns the weight of each ordered pair of `ROWS`, (R, R); 0 where two are not contrasted.

    A pair that is contrasted in one direction alone weighs as much as one in both.
    """
    variant = VARIANTS[options.variant]
    weights_RR = torch.zeros(len(ROWS), len(ROWS))
    for i, first in enumerate(variant.views):
        for second in variant.views[i + 1 :]:
            if not variant.pairs and (options.pairs == "all" or LOCATION in (first, second)):
                is_secl = first == "sentinel2" and second in ("street", LOCATION)
                _set(weights_RR, first, second, options.secl if is_secl else 1.0)
    if options.predictor != "none" and not variant.pairs:
        _set(weights_RR, "spot_street", "street", options.incl)
        _set(weights_RR, "spot_street", LOCATION, options.incl)
        _set(weights_RR, "spot_text", "text", options.incl)
    for (first, second), weight in variant.pairs.items():
        _set(weights_RR, first, second, getattr(options, weight))
    if options.directions == "to_location":
        location = ROWS.index(LOCATION)
        weights_RR[:, location] *= 2
        weights_RR[location] = 0
    if variant.has_twins:
        weights_RR[ROWS.index(LOCATION), ROWS.index(TWIN)] = 1.0
    if options.include_self:
        for view in variant.views:
            _set(weights_RR, view, view, 1.0)
    return weights_RR


class Objective:
    """The loss of a batch as the options want it."""

    def __init__(self, options: FitOptions) -> None:
        weights_RR = weigh_pairs(options)
        used = (weights_RR + weights_RR.T).sum(0).nonzero().flatten()
        self.rows = tuple(ROWS[number] for number in used.tolist())
        """Those that have a weight."""
        self._weights_RR = weights_RR[used][:, used]
        self._negatives: Literal["pair", "candidate"] = "pair" if options.negatives == "pair" else "candidate"
        self._per: Literal["pair", "anchor"] = "anchor" if VARIANTS[options.variant].is_fused else "pair"
        self._include_self = options.include_self

    def __call__(
        self, z_RBD: Tensor, present_RB: Tensor, scale: Tensor, *, near_K2: Tensor, rows: tuple[int, int] | None = None
    ) -> Tensor:
        """Returns the loss.

        Args:
            z_RBD: unit vectors in the order of `rows`, zeros where absent.
            present_RB: bool.
            scale: inverse temperature, 0-dim.
            near_K2: int64, pairs of places that are no negatives of each other, both orders.
            rows: the places whose queries count here, where processes share a batch; None for all.
        """
        return all_to_all(
            z_RBD, present_RB, scale, include_self=self._include_self, weights_MM=self._weights_RR,
            negatives=self._negatives, per=self._per, near_K2=near_K2, rows=rows,
        )  # fmt: skip


def _set(weights_RR: Tensor, first: str, second: str, weight: float) -> None:
    i, j = ROWS.index(first), ROWS.index(second)
    weights_RR[i, j] = weights_RR[j, i] = weight
