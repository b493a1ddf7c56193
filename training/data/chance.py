"""Random numbers without a state: each follows from the place, the seed, the epoch and what it is for.

So a batch is the same whoever makes it, in whatever order, on whatever machine, with whatever release of numpy.
"""

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Cells = NDArray[np.uint64]


def hash64(values: Cells, *salt: object) -> Cells:
    """Mixes each value with the salt; different values stay different.

    The mixer is SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014).
    """
    z = values.astype(np.uint64) ^ np.uint64(_salt(" ".join(map(str, salt))))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniform(values: Cells, *salt: object) -> NDArray[np.float64]:
    """Returns a number in [0, 1) for each value."""
    return (hash64(values, *salt) >> np.uint64(11)).astype(np.float64) * 2.0**-53


@lru_cache(maxsize=256)
def _salt(salt: str) -> int:
    return int.from_bytes(hashlib.blake2b(salt.encode(), digest_size=8).digest(), "little")
