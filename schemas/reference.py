"""What the plan holds: light references to observations, and the places they are for. No pixels."""

from dataclasses import dataclass

SPLITS = ("train", "val", "test")
"""The three splits, in the order in which they are always listed."""


@dataclass(frozen=True, slots=True)
class Place:
    """One chosen cell."""

    key: str
    """H3 cell at the sampling resolution."""
    unit: str
    """Its coarse ancestor."""
    split: str
    """train, val or test."""
    lon: float
    """Cell centre, degrees east."""
    lat: float
    """Cell centre, degrees north."""
    country: str | None
    """ISO 3166 alpha-2 code; None at sea."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Where one observation of one cell can be read; equal plans have equal references."""

    key: str
    """The cell it is for."""
    modality: str
    """One of `schemas.modality.MODALITIES`."""
    rank: int
    """For rasters: 0 is tried first, 1 where 0 was judged bad ...; for photos and texts: number among those kept."""
    source: str
    """Name of the source that can read it."""
    item_id: str
    """The source's identifier; with `source` it names a row of the plan's items table."""
    slot: int = 0
    """Which of several wanted observations of a raster it is a candidate for: the season."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that a source offers, whatever the number of cells that use it: a scene, a photo, an article."""

    source: str
    """Name of the source."""
    item_id: str
    """Identifier, unique within the source and modality."""
    modality: str
    """One of `schemas.modality.MODALITIES`."""
    href: str
    """Path relative to the source's root, or a URL without any token; for several files a JSON object by band."""
    lon: float
    """Degrees east; the middle of a raster."""
    lat: float
    """Degrees north."""
    captured_at: str | None = None
    """ISO 8601, UTC."""
    licence: str = ""
    """As the source gives it."""
    attribution: str = ""
    """As the source asks for it."""
    synthetic: bool = False
    """True for generated content."""
    offset: int | None = None
    """First byte of a text within its file; None where the file is the item."""
    size: int | None = None
    """Bytes to be read; None where unknown."""
    heading_deg: float | None = None
    """Of a photo, clockwise from north."""
    is_pano: bool | None = None
    """Of a photo."""
    title: str | None = None
    """Of an article."""
    crs: str | None = None
    """Of a raster: authority code or WKT."""
    bounds: tuple[float, float, float, float] | None = None
    """Of a raster: left, bottom, right, top in its CRS."""
    note: str = ""
    """What the source says besides, for instance which DEM it is."""
