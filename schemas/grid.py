"""Where the pixels of a raster lie: CRS, affine and shape, always together. Values only; `geodata.grid` makes them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """A north-up raster lattice."""

    crs: str
    """Authority code, for instance `EPSG:32631`; units are metres."""
    left: float
    """Easting of the outer edge of the first column, CRS units."""
    top: float
    """Northing of the outer edge of the first row, CRS units."""
    gsd_m: float
    """Metres per pixel, both axes."""
    height: int
    """Rows."""
    width: int
    """Columns."""

    def __post_init__(self) -> None:
        if not (self.gsd_m > 0 and self.height > 0 and self.width > 0):
            raise ValueError(f"A grid needs a positive pixel size and shape, not {self.gsd_m} m, {self.shape}.")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        return self.height, self.width

    @property
    def right(self) -> float:
        """Easting of the outer edge of the last column."""
        return self.left + self.width * self.gsd_m

    @property
    def bottom(self) -> float:
        """Northing of the outer edge of the last row."""
        return self.top - self.height * self.gsd_m

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top in CRS units."""
        return self.left, self.bottom, self.right, self.top

    @property
    def centre(self) -> tuple[float, float]:
        """Easting, northing of the middle of the patch."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    @property
    def affine(self) -> tuple[float, float, float, float, float, float]:
        """GDAL/rasterio order a, b, c, d, e, f: x = a col + b row + c; y = d col + e row + f."""
        return self.gsd_m, 0.0, self.left, 0.0, -self.gsd_m, self.top
