"""Where a modality comes from. A source finds light references and reads pixels or bytes; it knows nothing of Beam."""

from geodata.sources.source import Catalogue, Finding, Source, SourceError

__all__ = ["Catalogue", "Finding", "Source", "SourceError"]
