"""What one observation, one file's block and one request weigh: constants where nothing was measured.

A dry run replaces them by what a pilot of a few observations weighed (`pipelines.cost.pilot`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Weight:
    """What the observations of one view weigh, on the average."""

    stored_bytes: float
    """Of one stored observation with tar header and padding."""
    cpu_s: float
    """Processor time of reading, judging and encoding one."""
    kept_share: float = 1.0
    """Observations kept for one that is wanted: the others are judged bad, and no spare makes up for them."""
    tried_shares: tuple[float, ...] = ()
    """Share of the places that go on to the first spare candidate, to the second ..., among those that have one."""
    seen: int = 0
    """Places at which this was measured; 0 for a constant."""


@dataclass(frozen=True)
class Block:
    """What GDAL reads at least of one kind of file."""

    side_px: int
    """Width and height."""
    size_bytes: float
    """Compressed; 0 where it comes with the header."""


_S2_BYTES_PER_PX, _CLASSES_BYTES_PER_PX, _DEM_BYTES_PER_PX = 1.4, 0.11, 2.2
# Sentinel-2 and its classes: `file:size` of recorded items of Earth Search, less overviews and gaps; DEM: a guess.

BLOCK_PX = {"planetary-computer": 512, "earth-search": 1024, "copernicus-dem": 1024, "orthophotos": 512}
"""Sides of the blocks of each source's files: guesses from how their producers say that they make them."""


def _constant_block(kind: str) -> Block:
    """The block of a kind of file, `SOURCE NAME`, that no pilot has seen."""
    source, _, name = kind.partition(" ")
    side = BLOCK_PX.get(source, 512)
    per_px = {"copernicus-dem": _DEM_BYTES_PER_PX, "orthophotos": 1.0}.get(source, _S2_BYTES_PER_PX)
    return Block(side, side * side * (_CLASSES_BYTES_PER_PX if name == "SCL" else per_px))


WEIGHTS = {
    "sentinel2": Weight(138_000, 0.006), "aerial": Weight(23_600, 0.0037), "dem": Weight(32_600, 0.0019),
    "street": Weight(19_900, 0.0017), "text": Weight(1_350, 0.0001),
}  # fmt: skip
"""Of the demo, by its own dry run on one core: 75 places with all views a second (command in BENCHMARKS.md)."""
ANSWER_BYTES = {
    "aerial": 15_000.0, "mapillary_images": 150_000.0, "mapillary": 800.0, "wikipedia": 1_500.0, "sas": 400.0,
}  # fmt: skip
"""Guesses: a map tile, a photo 1024 pixels wide, a photo's links, an article's introduction, a token."""
ANSWER_S = {
    "aerial": 0.15, "mapillary_images": 0.2, "mapillary": 0.5, "wikipedia": 0.5, "sas": 0.3, "blob": 0.06, "s3": 0.06,
}  # fmt: skip
"""Guesses: seconds between a request and the end of its answer."""


@dataclass(frozen=True)
class Measures:
    """What things weigh, measured or not."""

    weights: Mapping[str, Weight] = field(default_factory=lambda: dict(WEIGHTS))
    """By modality."""
    blocks: Mapping[str, Block] = field(default_factory=dict)
    """By kind of file; see `pipelines.cost.reads.File`."""
    answer_bytes: Mapping[str, float] = field(default_factory=lambda: dict(ANSWER_BYTES))
    """By service: one tile, photo, link, article, token, whatever the number in one request."""
    answer_s: Mapping[str, float] = field(default_factory=lambda: dict(ANSWER_S))
    """By service: seconds of one request."""
    check_bytes: Mapping[str, float] = field(default_factory=dict)
    """By service: the answer that tells, before anything is read, that it is there."""
    notes: tuple[str, ...] = ()
    """What could not be measured, and why."""

    def block(self, kind: str) -> Block:
        """Returns the block of a kind of file."""
        return self.blocks[kind] if kind in self.blocks else _constant_block(kind)

    @property
    def seen(self) -> int:
        """Observations that were measured."""
        return sum(weight.seen for weight in self.weights.values())
