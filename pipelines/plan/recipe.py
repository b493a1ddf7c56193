"""How observations become samples: limits, encoding, and how many a sample keeps."""

from dataclasses import dataclass

from geodata.judge import Thresholds
from geodata.observe import Encoding


@dataclass(frozen=True)
class Recipe:
    """What a shard's bytes depend on besides its rows."""

    thresholds: Thresholds
    """The judges' limits."""
    encoding: Encoding
    """How observations are made."""
    required: tuple[str, ...] = ()
    """Views without which a sample is dropped."""
    min_observations: int = 1
    """Observations without which a sample is dropped."""
    min_modalities: int = 1
    """Different views without which a sample is dropped."""
    max_days_apart: float = 0.0
    """Most days between the dated views of a sample; 0 for any."""
    photos_per_cell: int = 1
    """Photos kept for a sample; more are planned, in case some are bad."""
    texts_per_cell: int = 1
    """Articles kept for a sample."""

    def most(self, modality: str) -> int:
        """Returns how many observations of a modality a sample keeps, of rasters for each season."""
        return {"street": self.photos_per_cell, "text": self.texts_per_cell}.get(modality, 1)
