"""The five views of a place: their members in the tar, raster layout, unit, and the rule by which they belong.

This is the only file that holds these numbers. It knows nothing of services or of files.
"""

from dataclasses import dataclass
from enum import StrEnum


class Belongs(StrEnum):
    """How an item of a modality finds its cell: the one membership rule."""

    COVERS = "covers"
    """A raster belongs to every sampled cell of whose hexagon it covers enough."""
    HEXAGON = "hexagon"
    """A photo belongs to the cell whose hexagon holds its position."""
    NEAREST_FOOTPRINT = "nearest_footprint"
    """An article belongs to the nearest sampled cell whose Sentinel-2 patch footprint holds its position."""


@dataclass(frozen=True)
class Modality:
    """One view of a place and how it is stored."""

    name: str
    """Word used in options, columns and metadata."""
    suffix: str
    """What follows the key in the member's name, without the leading dot."""
    belongs: Belongs
    """Membership rule."""
    unit: str
    """Unit of the stored values."""
    bands: tuple[str, ...] = ()
    """Band names in stored order; empty for what is not a raster on our grid."""
    dtype: str = "uint8"
    """Numpy type of the stored values."""
    size_px: int = 0
    """Height and width of the patch in pixels; 0 where there is no grid."""
    gsd_m: float = 0.0
    """Metres per pixel of the patch; 0 where there is no grid."""
    offset_m: float = 0.0
    """Largest shift of the patch's centre from the cell's centre, each axis; chosen by the hash of the cell."""
    nodata: float | None = None
    """Stored value of a gap; None where the encoding has no gaps."""

    @property
    def is_raster(self) -> bool:
        """True for the modalities that lie on a grid."""
        return self.size_px > 0


SENTINEL2_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
"""Sentinel-2 L2A bands; B10 (cirrus) does not exist at level 2A."""

SENTINEL2 = Modality(
    "sentinel2", "sentinel2.geotiff", Belongs.COVERS, "reflectance x 10000", SENTINEL2_BANDS,
    dtype="uint16", size_px=128, gsd_m=10.0, offset_m=480.0, nodata=0.0,
)  # fmt: skip
AERIAL = Modality(
    "aerial", "aerial.jpg", Belongs.COVERS, "sRGB", ("red", "green", "blue"), dtype="uint8", size_px=256, gsd_m=0.75
)
DEM = Modality(
    "dem", "dem.geotiff", Belongs.COVERS, "m", ("height",),
    dtype="float32", size_px=128, gsd_m=10.0, offset_m=480.0, nodata=-32768.0,
)  # fmt: skip
STREET = Modality("street", "street.jpg", Belongs.HEXAGON, "sRGB")
TEXT = Modality("text", "text.txt", Belongs.NEAREST_FOOTPRINT, "UTF-8")

MODALITIES: dict[str, Modality] = {m.name: m for m in (SENTINEL2, AERIAL, DEM, STREET, TEXT)}
"""All modalities by name, in the order in which they are always listed."""

PHOTO_SHORT_SIDE_PX = 256
"""Default short side of a stored photo."""


def find_modality(name: str) -> Modality:
    """Returns the modality of that name.

    Raises:
        ValueError: for a name that is none of the five.
    """
    if name not in MODALITIES:
        raise ValueError(f"Unknown modality {name!r}: choose from {', '.join(MODALITIES)}.")
    return MODALITIES[name]


def member_name(key: str, modality: str, number: int = 0, count: int = 1) -> str:
    """Returns the member's name in the tar: `{key}.street.jpg`, or `{key}.street1.jpg` where a sample holds several.

    A word that ends in a figure is kept apart from the number: `{key}.sentinel2_1.geotiff`.
    """
    stem, _, extension = MODALITIES[modality].suffix.rpartition(".")
    stem += "_" if count > 1 and stem[-1].isdigit() else ""
    return f"{key}.{stem}{number}.{extension}" if count > 1 else f"{key}.{stem}.{extension}"
