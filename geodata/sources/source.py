"""What every source offers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from geodata.raster import Raster
from schemas.drop import Drop, Reason
from schemas.grid import Grid
from schemas.reference import Item, Place, Reference


class SourceError(ValueError):
    """The source as a whole cannot be used: one sentence for the user."""


class ReadError(Exception):
    """One item cannot be read; becomes a drop."""

    def __init__(self, reason: Reason, detail: str, *, retryable: bool = False) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.retryable = retryable


@dataclass(frozen=True)
class Finding:
    """What one search found for one cell: the reference and the item it points to."""

    reference: Reference
    """For the plan's table of references."""
    item: Item
    """For the plan's table of items."""


@dataclass
class Catalogue:
    """Everything in a source of the user's own files, seen once before planning."""

    items: list[Item] = field(default_factory=list)
    """What can be used."""
    drops: list[Drop] = field(default_factory=list)
    """What cannot, with its reason."""


class Source(Protocol):
    """A live service or a folder of the user's own files."""

    name: str
    """Word in records and drops."""

    def find(self, places: Sequence[Place], halo: Sequence[Place]) -> Iterator[Finding | Drop]:
        """Yields references for the cells of one unit.

        Args:
            places: the unit's chosen cells.
            halo: chosen cells of the neighbouring units, to which an article may belong instead.
        """
        ...

    def prepare(self, items: Sequence[Item]) -> None:
        """Tells what will soon be read, so that a service can be asked in batches."""
        ...

    def read_raster(self, item: Item, grid: Grid) -> Raster:
        """Returns an item's pixels on a grid. Raises ReadError."""
        ...

    def read_bytes(self, item: Item) -> bytes:
        """Returns an item's bytes. Raises ReadError."""
        ...

    def read_text(self, item: Item) -> str:
        """Returns an article's plain text. Raises ReadError."""
        ...

    def close(self) -> None:
        """Lets go of what is open."""
        ...
