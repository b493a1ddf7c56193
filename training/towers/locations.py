"""Location encoders, one row each: a position encoding and the network over it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from training.location import POSITIONS, choose_sigmas
from training.location import parameters as choose
from training.location.parameters import PUBLISHED_SIGMAS, Parameters, Span
from training.location.planar import TorchSpatialExtent, count_tiles
from training.towers import TowerError
from training.towers.networks import Ffn, ResidualNet, ScaleMlps, Siren, TileNet
from training.towers.scaled import PlainEncoder, ScaledEncoder

GEOCLIP_DIM = 512
"""Width in which GeoCLIP's embeddings come."""


@dataclass(frozen=True)
class LocationShape:
    """Sizes of a location encoder."""

    dim: int = 256
    """Width of the joint space."""
    width: int = 256
    """Width of the tokens of `scaled`, of the rows of `tile`, and of `plain`."""
    hidden: int = 512
    """Width inside the networks of the other encoders; published are 512 (TorchSpatial, SatCLIP) and 1024 (GeoCLIP)."""
    depth: int = 4
    """Of the transformer of `scaled`."""
    heads: int = 4
    registers: int = 4
    dropout: float = 0.0
    """TorchSpatial publishes 0.5, which a contrast does not bear."""
    checkpointing: bool = False


class Position(nn.Module):
    """A position encoding with its parameters; arrays among them are saved with the weights."""

    def __init__(self, name: str, parameters: Parameters) -> None:
        super().__init__()
        self.name = name
        self.numbers = {key: value for key, value in parameters.items() if not isinstance(value, Tensor)}
        for key, value in parameters.items():
            if isinstance(value, Tensor):
                self.register_buffer(key, value)

    def forward(self, lonlat_B2: Tensor) -> Tensor:
        """Returns (B, F) float64, whatever the precision around it; tiles int64."""
        with torch.autocast(lonlat_B2.device.type, enabled=False):
            return POSITIONS[self.name](lonlat_B2.double(), **self.numbers, **dict(self.named_buffers()))


class PositionEncoder(nn.Module):
    """A position encoding and a network over it."""

    def __init__(self, position: Position, make_network: "Callable[[int], nn.Module]") -> None:
        """Takes what makes the network for a number of features."""
        super().__init__()
        self.position = position
        self.network = make_network(_count_features(position))

    def forward(self, lonlat_B2: Tensor) -> Tensor:
        """Returns (B, dim) for degrees east and north (B, 2); give them in float64."""
        features_BF = self.position(lonlat_B2)
        if features_BF.is_floating_point():
            features_BF = features_BF.to(next(self.network.parameters()).dtype)
        out_BD: Tensor = self.network(features_BF)
        return out_BD

    def flops(self) -> int:
        """Returns the floating-point operations of the network's forward pass of one position."""
        return 2 * sum(layer.weight.numel() for layer in self.network.modules() if isinstance(layer, nn.Linear))


class LocationTower(nn.Module):
    """A location encoder and its way into the joint space."""

    def __init__(self, encoder: "ScaledEncoder | PlainEncoder | PositionEncoder", width: int, dim: int) -> None:
        """Takes an encoder of that width; where it is the joint space's, there is no head, as published."""
        super().__init__()
        self.encoder = encoder
        self.head = nn.Identity() if width == dim else nn.Linear(width, dim, bias=False)

    def forward(self, lonlat_B2: Tensor) -> tuple[Tensor, None]:
        """Returns (B, dim), not normalised, for degrees east and north (B, 2) float64; and no map."""
        return self.head(self.encoder(lonlat_B2)), None

    def flops(self) -> int:
        """Returns the floating-point operations of the forward pass of one position."""
        return self.encoder.flops()


def make_location_tower(name: str, span: Span, shape: LocationShape) -> LocationTower:
    """Returns the location tower of that name for what a corpus covers.

    Raises:
        TowerError: for an unknown name.
    """
    if name not in LOCATIONS:
        raise TowerError(f"Unknown location encoder {name!r}: choose from {', '.join(LOCATIONS)}.")
    return LOCATIONS[name](span, shape)


def _ffn(features: int, shape: LocationShape) -> nn.Module:
    return Ffn(features, shape.dim, shape.hidden, dropout=shape.dropout)


def _residual(features: int, shape: LocationShape) -> nn.Module:
    return ResidualNet(features, shape.dim, shape.hidden // 2, dropout=shape.dropout)


def _siren(features: int, shape: LocationShape) -> nn.Module:
    return Siren(features, shape.dim, shape.hidden, dropout=shape.dropout)


def _pair(
    position: str,
    network: Callable[[int, LocationShape], nn.Module],
    parameters: Callable[[Span], Parameters] = lambda _: {},
) -> Callable[[Span, LocationShape], LocationTower]:
    """Returns what makes the tower of a position encoding, its parameters for a corpus, and a network."""

    def make(span: Span, shape: LocationShape) -> LocationTower:
        encoder = PositionEncoder(Position(position, parameters(span)), lambda features: network(features, shape))
        return LocationTower(encoder, shape.dim, shape.dim)

    return make


def _make_tile(span: Span, shape: LocationShape) -> LocationTower:
    parameters = choose.choose_tiles(span)
    columns, rows = count_tiles(cast(float, parameters["interval"]), cast(TorchSpatialExtent, parameters["extent"]))

    def make_network(_: int) -> nn.Module:
        return TileNet(columns * rows, shape.dim, shape.hidden, width=shape.width, dropout=shape.dropout)

    return LocationTower(PositionEncoder(Position("tile_index", parameters), make_network), shape.dim, shape.dim)


def _make_geoclip(span: Span, shape: LocationShape) -> LocationTower:
    """GeoCLIP's: embeddings of its width, with a way into the joint space."""
    return LocationTower(_scale_mlps(span, shape, GEOCLIP_DIM), GEOCLIP_DIM, shape.dim)


def _make_gair(span: Span, shape: LocationShape) -> LocationTower:
    """GAIR's (arXiv 2503.16683): GeoCLIP's form, which ends in the joint space."""
    return LocationTower(_scale_mlps(span, shape, shape.dim), shape.dim, shape.dim)


def _scale_mlps(span: Span, shape: LocationShape, dim: int) -> PositionEncoder:
    parameters = choose.choose_matrices(span)
    scales = len(cast(Tensor, parameters["matrices"]))
    position = Position("geoclip", parameters)
    return PositionEncoder(position, lambda features: ScaleMlps(features, dim, shape.hidden, scales=scales))


def _make_scaled(span: Span, shape: LocationShape) -> LocationTower:
    return _scaled(choose_sigmas(span.extent, span.finest_m), shape)


def _make_unigeoclip(span: Span, shape: LocationShape) -> LocationTower:
    return _scaled(list(PUBLISHED_SIGMAS["unigeoclip"]), shape)


def _scaled(sigmas: list[float], shape: LocationShape) -> LocationTower:
    encoder = ScaledEncoder(
        sigmas, shape.width, shape.depth, shape.heads,
        registers=shape.registers, dropout=shape.dropout, checkpointing=shape.checkpointing,
    )  # fmt: skip
    return LocationTower(encoder, shape.width, shape.dim)


def _make_plain(span: Span, shape: LocationShape) -> LocationTower:
    return LocationTower(PlainEncoder(span.extent, shape.width), shape.width, shape.dim)


def _count_features(position: Position) -> int:
    return int(position(torch.zeros(1, 2, dtype=torch.float64)).shape[-1])


LOCATIONS: dict[str, Callable[[Span, LocationShape], LocationTower]] = {
    "scaled": _make_scaled,
    "unigeoclip": _make_unigeoclip,
    "plain": _make_plain,
    "geoclip": _make_geoclip,
    "gair": _make_gair,
    "satclip_L10": _pair("sh_analytic_L10", _siren),
    "satclip_L40": _pair("sh_analytic_L40", _siren),
    "tile": _make_tile,
    "wrap": _pair("wrap", _residual),
    "wrap_ffn": _pair("wrap_ffn", _ffn),
    "rbf": _pair("rbf", _ffn, choose.choose_anchors),
    "rff": _pair("rff", _ffn, choose.choose_waves),
    "space2vec_grid": _pair("space2vec_grid", _ffn, choose.choose_degrees),
    "space2vec_theory": _pair("space2vec_theory", _ffn, choose.choose_degrees),
    "xyz": _pair("xyz", _ffn),
    "nerf": _pair("nerf", _ffn, choose.choose_doublings),
    "sphereC": _pair("sphereC", _ffn, choose.choose_radians),
    "sphereCplus": _pair("sphereCplus", _ffn, choose.choose_radians),
    "sphereM": _pair("sphereM", _ffn, choose.choose_radians),
    "sphereMplus": _pair("sphereMplus", _ffn, choose.choose_rising),
    "sphereDFS": _pair("sphereDFS", _ffn, choose.choose_products),
    "spherical_harmonics": _pair("spherical_harmonics", _siren),
}
"""`scaled` is UniGeoCLIP's encoder with scales for the corpus, `unigeoclip` with the four published ones; parameters of
the others follow from `training.location.parameters`."""
