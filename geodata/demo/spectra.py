"""What the materials of the demo landscape look like: reflectance in the bands of Sentinel-2, and colour from it.

The values are guesses after the shapes found in the ECOSTRESS and USGS splib07 spectral libraries; they are not
measurements and are not taken from either.
"""

from enum import IntEnum, auto

import numpy as np
from numpy.typing import NDArray

from geodata.demo.waves import Array


class Material(IntEnum):
    """What covers a point."""

    DEEP_WATER = 0
    SHALLOW_WATER = auto()
    CONIFER = auto()
    BROADLEAF = auto()
    GRASS = auto()
    DRY_GRASS = auto()
    GREEN_CROP = auto()
    RIPE_CROP = auto()
    RAPE = auto()
    SOIL = auto()
    RED_SOIL = auto()
    SAND = auto()
    ROCK = auto()
    SNOW = auto()
    TUNDRA = auto()
    RED_ROOF = auto()
    GREY_ROOF = auto()
    WHITE_ROOF = auto()
    ASPHALT = auto()
    GRAVEL = auto()


REFLECTANCE = 1e-4 * np.array(
    [
        [420, 400, 330, 150, 110, 80, 75, 60, 55, 50, 20, 15],
        [560, 680, 800, 470, 300, 180, 150, 120, 110, 90, 40, 30],
        [200, 230, 390, 240, 600, 1500, 1800, 1900, 2000, 2000, 900, 400],
        [230, 270, 560, 310, 900, 2600, 3300, 3500, 3600, 3500, 1700, 800],
        [330, 430, 860, 600, 1250, 2700, 3200, 3300, 3400, 3300, 2000, 1100],
        [600, 800, 1250, 1450, 1900, 2300, 2500, 2600, 2700, 2700, 3200, 2300],
        [260, 340, 820, 400, 1150, 3400, 4200, 4400, 4500, 4300, 1800, 800],
        [650, 900, 1450, 1850, 2200, 2500, 2700, 2900, 3000, 3000, 3300, 2200],
        [380, 560, 1450, 1250, 1900, 3200, 3700, 3900, 4000, 3900, 2000, 1000],
        [650, 850, 1150, 1450, 1700, 1850, 2000, 2150, 2300, 2400, 3000, 2600],
        [450, 600, 980, 1750, 2100, 2250, 2400, 2500, 2600, 2700, 3300, 2800],
        [1200, 1550, 2150, 2700, 2950, 3050, 3150, 3250, 3350, 3400, 4100, 3700],
        [850, 1000, 1180, 1320, 1420, 1480, 1540, 1600, 1650, 1700, 1900, 1700],
        [8300, 8500, 8500, 8400, 8300, 8100, 8000, 7800, 7600, 5800, 800, 500],
        [400, 500, 760, 860, 1200, 1700, 1900, 2000, 2100, 2100, 2300, 1500],
        [650, 750, 950, 1850, 2150, 2250, 2350, 2450, 2550, 2600, 2900, 2600],
        [1150, 1250, 1350, 1450, 1500, 1550, 1600, 1650, 1700, 1700, 1900, 1800],
        [2900, 3200, 3400, 3500, 3550, 3600, 3600, 3600, 3600, 3500, 3400, 3100],
        [700, 800, 900, 950, 1000, 1050, 1100, 1150, 1200, 1200, 1400, 1300],
        [1000, 1250, 1500, 1750, 1900, 2000, 2100, 2200, 2250, 2300, 2700, 2400],
    ],
    dtype=np.float64,
)
"""Reflectance of each material in B01 ... B12 without B10, shape (materials, 12)."""

_VISIBLE = [3, 2, 1]
_STAIN = np.array([0.0, 0.3, 0.3, 0.3, 0.5, 0.5, 0.45, 0.45, 0.45, 1, 1, 1, 1, 0.05, 0.6, 0.7, 0.6, 0.3, 0.4, 1])
"""How much of the rock below shows in each material."""
_HELD = np.array(
    [
        [-0.374, -0.34, -0.153, 0.255, 0.238, 0.204, 0.17, 0.136, 0.102, 0.102, 0.136, 0.136],
        [0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.26, 0.26],
    ]
)
"""Logarithm of the factor for each band of what holds one unit of iron, and of lime, on bare rock."""


def reflect(material: NDArray[np.intp], iron: Array, lime: Array) -> Array:
    """Returns reflectance in all bands, (12, ...), of materials coloured by the rock below them."""
    return _stain(slice(None), material, iron, lime)


def reflect_rgb(material: NDArray[np.intp], iron: Array, lime: Array) -> Array:
    """Returns the same in red, green, blue: (3, ...)."""
    return _stain(_VISIBLE, material, iron, lime)


def stain_rgb(colour: Array, iron: Array, lime: Array, share: float) -> Array:
    """Returns colours (3, ...) of what is made of the rock by that share."""
    return _colour(colour, _VISIBLE, share, iron, lime)


def _stain(bands: list[int] | slice, material: NDArray[np.intp], iron: Array, lime: Array) -> Array:
    return _colour(REFLECTANCE.T[bands].take(material, axis=1), bands, _STAIN[material], iron, lime)


def _colour(plain: Array, bands: list[int] | slice, share: Array | float, iron: Array, lime: Array) -> Array:
    held = np.stack([share * np.maximum(iron, iron / 2), share * lime])  # what lacks iron is hardly blue
    exponent = _HELD[:, bands].T @ held.reshape(2, -1)
    return np.asarray(plain * np.exp(exponent).reshape(plain.shape))


_HALF_WHITE, _GAMMA = 0.3, 0.6
"""Shape of the film: reflectance in full sun at which a picture nears white, and the power of its tones. Guesses."""
_FINENESS = 8192
_FILM = np.rint(255 * (1 - np.exp(np.arange(2 * _FINENESS) / _FINENESS / -_HALF_WHITE)) ** _GAMMA).astype(np.uint8)


def to_srgb(radiance: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Returns 8-bit colour for reflectance times illumination; bright snow still keeps its shades."""
    return np.asarray(_FILM[np.clip(radiance * _FINENESS, 0, len(_FILM) - 1).astype(np.intp)])


def from_srgb(colour: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the radiance that is shown as a colour of 0 ... 0.98."""
    return np.asarray(-_HALF_WHITE * np.log1p(-(colour ** (1 / _GAMMA))))
