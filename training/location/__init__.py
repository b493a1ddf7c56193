"""Positions on Earth as numbers: the projection and the position encodings, without anything that learns.

Everything is computed in float64 whatever the surrounding precision: at the finest scales a phase turns a hundred
thousand times between the edges of the map, and bfloat16 would round a position by about 20 km. Positions are
(longitude, latitude) in degrees, WGS 84; peers that take (latitude, longitude) differ in that alone.
"""

from training.location.encode import POSITIONS, encode_position
from training.location.fourier import choose_sigmas, draw_matrices, fourier_features, half_similarity_m
from training.location.projection import (
    METRES_PER_UNIT,
    PUBLISHED_ROOT_3,
    Extent,
    centre_and_half_size,
    project_equal_earth,
)

__all__ = [
    "METRES_PER_UNIT",
    "POSITIONS",
    "PUBLISHED_ROOT_3",
    "Extent",
    "centre_and_half_size",
    "choose_sigmas",
    "draw_matrices",
    "encode_position",
    "fourier_features",
    "half_similarity_m",
    "project_equal_earth",
]
