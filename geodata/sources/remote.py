"""What the sources of one modality share: a name, drops that say it, and a refusal to read what is not theirs."""

from collections.abc import Iterator, Sequence

from geodata.raster import Raster
from geodata.sources.source import Finding, ReadError
from schemas.drop import Drop, Reason, Stage
from schemas.grid import Grid
from schemas.reference import Item, Place


class RemoteSource:
    """A service or an indexed dump; each modality's own overrides what it can do."""

    modality = ""
    """The one that it offers."""

    def __init__(self, name: str) -> None:
        self.name = name
        """Word in records and drops."""

    def find(self, places: Sequence[Place], halo: Sequence[Place]) -> Iterator[Finding | Drop]:
        """Yields references for the cells of one unit; see `Source.find`. Raises ServiceError."""
        raise NotImplementedError

    def anchors(self, unit: str, seed: int) -> list[tuple[float, float]]:
        """Returns positions (lon, lat) in a coarse cell on which places can be anchored. Raises ServiceError."""
        raise NotImplementedError

    def prepare(self, items: Sequence[Item]) -> None:
        """Tells what will soon be read, so that it can be asked for in batches."""

    def read_raster(self, item: Item, grid: Grid) -> Raster:
        """Raises ReadError: this source has no rasters."""
        raise ReadError(Reason.UNKNOWN_MODALITY, f"{self.name} has no {item.modality}")

    def read_bytes(self, item: Item) -> bytes:
        """Raises ReadError: this source has no photos."""
        raise ReadError(Reason.UNKNOWN_MODALITY, f"{self.name} has no {item.modality}")

    def read_text(self, item: Item) -> str:
        """Raises ReadError: this source has no texts."""
        raise ReadError(Reason.UNKNOWN_MODALITY, f"{self.name} has no {item.modality}")

    def close(self) -> None:
        """Lets go of what is open."""

    def _drop(
        self, key: str, reason: Reason, detail: str, *, value: float | None = None, item_id: str = "", count: int = 1
    ) -> Drop:  # fmt: skip
        return Drop(key, self.modality, Stage.FIND, reason, value, detail, self.name, item_id, count=count)
