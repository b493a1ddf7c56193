"""Tensors: read shards, decode, encode, contrast, evaluate. Never loads Beam, GDAL or h3.

Shape suffixes: B batch, C channel, H height, W width, L tokens, D width of an embedding, Q query points, M views,
S spots, N rows, K pairs, G gallery.

    from training import load

    model = load("runs/demo")
    a, b = model.encode("text", ["a mill by the river"]), model.encode("location", [(6.13, 49.61)])
    model.similarity(a, b)
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.api import Encoder


def load(run: "str | Path", *, weights: str = "auto", device: str = "cpu") -> "Encoder":
    """Opens a trained run for encoding.

    Args:
        run: folder of a run, or of one of its checkpoints.
        weights: `ema` (the moving average), `model`, or `auto` for the average where there is one.
        device: `cpu`, `cuda`, `cuda:1`, or `auto` for a GPU where there is one.

    Returns:
        An encoder: `encode(view, values)` gives (N, D) float32 unit vectors, `similarity(a, b)` their cosines (N, K).
        Positions are (lon, lat) in degrees, WGS 84.

    Raises:
        CheckpointError: if there is no checkpoint, it was tampered with, or holds another architecture.
    """
    from training.api import open_run  # importing training loads no torch

    return open_run(run, weights=weights, device=device)
