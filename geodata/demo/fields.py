"""The latent fields of the demo landscape at any point: what all five views are drawn from.

All shares, widths and rates in this module are guesses that make a plausible picture.
"""

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np

from geodata.demo.waves import Array, Lattice, Points, Waves, draw_waves


@dataclass(frozen=True, eq=False)
class Latents:
    """The fields at some positions, all of one shape."""

    height_m: Array
    """Surface of land or water above the sea, metres."""
    depth_m: Array
    """Of the sea or a lake, metres; negative: height of the land above the next water table."""
    river_m: Array
    """Distance to the middle of the next river, metres; its sign tells the bank."""
    river_half_m: Array
    """Half the width of that river, metres; near 0 where it has run dry."""
    road_m: Array
    """Distance to the next country road, metres; signed."""
    forest: Array
    """Share under trees, 0 ... 1."""
    vegetation: Array
    """Share that is green, 0 ... 1."""
    farm: Array
    """Share of tilled land, 0 ... 1."""
    built: Array
    """Density of settlement, 0 ... 1."""
    temperature_c: Array
    """Mean of the summer half-year, degrees Celsius."""
    moisture: Array
    """0 desert ... 1 rain forest."""
    soil: Array
    """Below 0 pale, above 0 red."""
    slope: Array
    """Rise over run of the land."""
    u_m: Array
    """Eastward coordinate of the bent net along which parcels, streets and houses lie, minus x, metres."""
    v_m: Array
    """The northward one, minus y."""
    iron: Array
    """Of the rock, which lies in level beds: below 0 pale or grey, above 0 red. A function of the height alone."""
    lime: Array
    """The same: below 0 dark, above 0 light."""
    habit: Array
    """What people and woods of a district are used to, 0 ... 1: crops, roofs, kinds of trees."""

    @property
    def water(self) -> Array:
        """1 on sea, lakes and rivers, else 0."""
        return ((self.depth_m > 0) | (np.abs(self.river_m) < self.river_half_m)).astype(np.float64)

    def stack(self) -> Array:
        """Returns the fields along a new first axis; `Latents(*stack)` is the way back."""
        return np.stack([getattr(self, field.name) for field in fields(self)])

    def part(self, *index: slice) -> "Latents":
        """Returns the fields at some of the positions."""
        return Latents(*(getattr(self, field.name)[index] for field in fields(self)))


LATENTS = len(fields(Latents))
"""How many fields there are."""


class Landscape:
    """The fields of one seed."""

    def __init__(self, seed: int) -> None:
        """Remembers the seed: the waves are drawn when they are first needed."""
        self._seed = seed

    def at(self, places: Points | Lattice) -> Latents:
        """Returns all fields at some positions."""
        mountain = _rise(1.7 * self._total(places, "mountain") - 0.9)
        moisture = _rise(1.4 * self._total(places, "moisture") + 0.5)
        river_m = self._line(places, "river")
        broad_m = 270 + 300 * self._total(places, "continent") + (35 + 220 * mountain) * self._total(places, "broad")
        fine_m = (20 + 55 * mountain) * self._total(places, "fine")
        fine_m += 480 * mountain**2 * (np.exp(-((self._total(places, "ridge") / 0.45) ** 2)) - 0.3)
        valley = np.exp(-((river_m / 220) ** 2)) * _rise((moisture - 0.2) / 0.05)
        land_m = broad_m + np.where(fine_m > 0, fine_m * (1 - 0.85 * valley), fine_m) - (5 + 22 * mountain) * valley
        table_m = np.maximum(0.0, broad_m - 29 - 95 * mountain)
        height_m = np.maximum(land_m, table_m)
        slope = np.hypot(*self._slope(places, mountain)) * (1 - 0.7 * valley)
        north_m = places.y if isinstance(places, Points) else places.positions().y
        temperature_c = 14 + 7 * self._total(places, "temperature") - 0.0065 * height_m - 0.9 * north_m / 111_195
        arid = _rise((0.34 - moisture) / 0.04) * _rise((temperature_c - 10) / 2)
        mild, flat = _rise((temperature_c - 3.5) / 1.2), _rise((0.3 - slope) / 0.05)
        dry_ground = _rise((table_m - land_m + 1.5) / -0.5)
        town = self._total(places, "town")
        built = _rise((town - 0.95 - 0.5 * arid) / 0.1) * mild * flat * dry_ground
        woods = self._total(places, "woods") + 2.2 * (moisture - 0.6) + 0.5 * np.minimum(slope, 1) / 0.3
        forest = _rise((woods - 0.4) / 0.18) * (1 - 0.97 * arid) * _rise((temperature_c - 2.0) / 0.8) * (1 - built)
        farm = _rise((self._total(places, "farm") + 0.5) / 0.12) * mild * flat * (1 - built) * (1 - arid) * dry_ground
        vegetation = (1 - 0.95 * arid) * _rise((temperature_c - 1) / 1.2) * _rise((0.9 - slope) / 0.12)
        return Latents(
            height_m, table_m - land_m, river_m, (5 + 24 * (1 - mountain)) * _rise((moisture - 0.3) / 0.03),
            self._line(places, "road"), forest, vegetation * (1 - 0.6 * built), farm * (1 - forest), built,
            temperature_c, moisture, self._total(places, "soil"), slope,
            330 * self._total(places, "net east"), 330 * self._total(places, "net north"),
            *_beds(self._seed, height_m), _rise(1.7 * self._total(places, "habit")),
        )  # fmt: skip

    def _total(self, places: Points | Lattice, name: str) -> Array:
        return places.total(_waves(self._seed, name))

    def _line(self, places: Points | Lattice, name: str) -> Array:
        """Signed distance to the zero line of a field, metres, right to first order near it."""
        waves = _waves(self._seed, name)
        return np.clip(places.total(waves) / np.maximum(np.hypot(*places.gradient(waves)), 1e-6), -900, 900)

    def _slope(self, places: Points | Lattice, mountain: Array) -> tuple[Array, Array]:
        """Slope of the land east and north, without what rivers and ridges add."""
        broad, fine = (places.gradient(_waves(self._seed, name)) for name in ("broad", "fine"))
        ridge = _waves(self._seed, "ridge")
        r = places.total(ridge) / 0.45
        sharp = -2 * 480 * mountain**2 * r * np.exp(-(r**2)) / 0.45
        a, b = 35 + 220 * mountain, 20 + 55 * mountain
        east, north = (a * g + b * f + sharp * s for g, f, s in zip(broad, fine, places.gradient(ridge), strict=True))
        return east, north


_SPECTRA: dict[str, tuple[float, float, float]] = {
    "continent": (400e3, 50e3, 0.8), "broad": (50e3, 6e3, 0.9), "fine": (6e3, 30.0, 1.3), "ridge": (24e3, 900.0, 0.9),
    "mountain": (350e3, 40e3, 0.6), "river": (30e3, 700.0, 1.2), "road": (16e3, 1500.0, 1.2),
    "temperature": (400e3, 60e3, 0.5), "moisture": (300e3, 20e3, 0.6), "woods": (40e3, 45.0, 0.4),
    "town": (12e3, 300.0, 0.6), "farm": (30e3, 400.0, 0.4), "soil": (100e3, 60.0, 0.35),
    "net east": (9e3, 2.2e3, 1.2), "net north": (9e3, 2.2e3, 1.2), "habit": (12e3, 1.5e3, 0.7),
}  # fmt: skip
"""Longest and shortest wavelength in metres, and the exponent by which amplitude grows with it."""


_BEDS = np.array([0.8, 0.42, 0.24, 0.13])
"""Wavelengths of what the rock holds, in e-folds of the height."""


@lru_cache(maxsize=64)
def _waves(seed: int, name: str) -> Waves:
    rng = np.random.Generator(np.random.Philox(key=[seed, 1_000_000 + list(_SPECTRA).index(name)]))
    return draw_waves(rng, *_SPECTRA[name])


def _beds(seed: int, height_m: Array) -> tuple[Array, Array]:
    """Iron and lime of the rock at a height, each of variance about 1: beds thicken upwards."""
    logarithm = np.log1p(np.maximum(height_m, 0.0))
    rng = np.random.Generator(np.random.Philox(key=[seed, 2_000_000]))
    k = 2 * np.pi / (_BEDS * rng.uniform(0.85, 1.15, (2, _BEDS.size)))
    waves = np.sin(logarithm[..., None, None] * k + rng.uniform(0, 2 * np.pi, k.shape))
    iron, lime = np.moveaxis(waves.sum(-1), -1, 0) * np.sqrt(2 / _BEDS.size)
    return iron, lime


def _rise(t: Array) -> Array:
    """The logistic curve."""
    return 0.5 * (1 + np.tanh(t / 2))
