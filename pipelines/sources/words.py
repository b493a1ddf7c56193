"""Sources by the words of the command line."""

from collections.abc import Sequence
from pathlib import Path

from geodata.judge import Thresholds
from geodata.sources import Catalogue, Source, SourceError
from geodata.sources.dump import DumpSource
from geodata.sources.files import FileSource, Limits
from geodata.sources.folder import scan_folder
from geodata.sources.live import LiveSources
from geodata.sources.stac import scan_stac
from pipelines.plan.plan import SourceSpec
from schemas.reference import Item

LIVE, DUMP, FILES = "live", "wikipedia", ("folder", "stac")
"""Kinds of sources: services, an indexed dump, files of the user's own."""


def parse_sources(text: str) -> list[SourceSpec]:
    """Reads `folder:PATH,stac:PATH,wikipedia:PATH`; `live` is left to `pipelines.sources.live`.

    Raises:
        SourceError: for a word that is no source, or a path that is not there.
    """
    specs = []
    for part in (part.strip() for part in text.split(",") if part.strip()):
        kind, _, path = part.partition(":")
        if part == LIVE:
            continue
        if kind not in (*FILES, DUMP) or not path:
            raise SourceError(f"Unknown source {part!r}: give live, folder:PATH, stac:PATH or wikipedia:PATH.")
        where = Path(path).expanduser().absolute()
        if not (where.is_file() if kind == "stac" else where.is_dir()):
            raise SourceError(f"The {kind} source {path} is not there: check the path.")
        specs.append(SourceSpec(kind, where.parent.name if kind == "stac" else where.name, str(where)))
    names = [spec.name for spec in specs]
    if len(set(names)) < len(names):
        raise SourceError(f"Two sources are called {max(names, key=names.count)!r}: rename one of the folders.")
    return specs


def scan_source(spec: SourceSpec, *, resolution: int, thresholds: Thresholds) -> Catalogue:
    """Lists what a source of files holds; services and dumps are searched unit by unit instead."""
    if spec.kind == "folder":
        return scan_folder(spec.name, Path(spec.path), resolution=resolution, thresholds=thresholds)
    return scan_stac(spec.name, Path(spec.path), resolution=resolution) if spec.kind == "stac" else Catalogue()


def open_source(
    spec: SourceSpec, live: LiveSources, items: Sequence[Item] = (), limits: Limits | None = None
) -> Source:
    """Opens a source: with its items for finding, without them for reading."""
    if spec.kind == LIVE:
        return live.open(spec.name)
    if spec.kind == DUMP:
        settings = live.settings
        return DumpSource(spec.name, spec.path, limits=settings.limits, thresholds=settings.thresholds)
    return FileSource(spec.name, spec.root, items, limits=limits)
