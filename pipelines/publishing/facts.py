"""What the pages and catalogues of a corpus are written from, besides its manifest."""

from dataclasses import dataclass

import pyarrow as pa

from geodata.boxes import Box
from pipelines.publishing.credits import Tallies


@dataclass(frozen=True)
class TableFile:
    """One of the tables of a corpus as it lies there."""

    name: str
    """Path within the corpus."""
    about: str
    """One sentence."""
    schema: pa.Schema
    """Its columns."""
    rows: int
    """Number of rows."""
    size: int
    """Bytes."""
    sha256: str
    """Of the file."""


@dataclass(frozen=True)
class Facts:
    """What the records add up to."""

    box: Box
    """West, south, east, north of all patches, degrees; west > east where it crosses the antimeridian."""
    period: tuple[str | None, str | None]
    """First and last capture time, ISO 8601 in UTC; None where no record has one."""
    crs: list[str]
    """Zones in which the patches lie."""
    countries: list[str]
    """ISO 3166 alpha-2 codes."""
    sources: list[str]
    """Names of those that observations come from."""
    tallies: Tallies
    """Credits by view and licence."""
    tables: list[TableFile]
    """Tables of the corpus."""
    generation: int
    """How many times the corpus has grown."""
