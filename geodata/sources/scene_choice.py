"""Which Sentinel-2 scenes a user wants: settings alone, so that reading options loads no client of any service."""

from dataclasses import dataclass

COLLECTIONS = {
    "planetary-computer": ("sentinel-2-l2a",),
    "earth-search": ("sentinel-2-c1-l2a", "sentinel-2-l2a"),
}
"""Collections of each provider; Earth Search's collection 1 is preferred, for its offset is stated."""


@dataclass(frozen=True)
class SceneChoice:
    """Which scenes count."""

    provider: str = "planetary-computer"
    """Of `COLLECTIONS`."""
    period: str = "2024-01-01/2024-12-31"
    """First and last day."""
    seasons: int = 1
    """Observations wanted of one cell, each from another season."""
    max_cloud_percent: float = 60.0
    """Scenes with more cloud are not even asked for."""
