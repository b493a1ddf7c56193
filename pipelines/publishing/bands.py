"""The bands of the rasters as catalogues describe them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Spectrum:
    """What one band of Sentinel-2 sees."""

    common_name: str
    """Word of STAC's EO extension."""
    centre_nm: float
    """Central wavelength of Sentinel-2A, nanometres."""
    width_nm: float
    """Bandwidth of Sentinel-2A, nanometres."""


SPECTRA = {
    "B01": Spectrum("coastal", 442.7, 20), "B02": Spectrum("blue", 492.7, 65), "B03": Spectrum("green", 559.8, 35),
    "B04": Spectrum("red", 664.6, 30), "B05": Spectrum("rededge071", 704.1, 14),
    "B06": Spectrum("rededge075", 740.5, 14), "B07": Spectrum("rededge078", 782.8, 19),
    "B08": Spectrum("nir", 832.8, 105), "B8A": Spectrum("nir08", 864.7, 21), "B09": Spectrum("nir09", 945.1, 19),
    "B11": Spectrum("swir16", 1613.7, 90), "B12": Spectrum("swir22", 2202.4, 174),
}  # fmt: skip
"""Sentinel-2A, ESA: MultiSpectral Instrument overview, table of spectral bands; 2B differs by less than 17 nm."""
