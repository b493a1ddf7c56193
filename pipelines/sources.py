"""Sources by the words of the command line."""

from collections.abc import Sequence
from pathlib import Path

from geodata.judge import Thresholds
from geodata.sources import Catalogue, SourceError
from geodata.sources.files import FileSource, Limits
from geodata.sources.folder import scan_folder
from geodata.sources.stac import scan_stac
from pipelines.plan import SourceSpec
from schemas.reference import Item


def parse_sources(text: str) -> list[SourceSpec]:
    """Reads `folder:PATH,stac:PATH`.

    Raises:
        SourceError: for a word that is no source, or a path that is not there.
    """
    specs = []
    for part in (part.strip() for part in text.split(",")):
        kind, _, path = part.partition(":")
        if kind == "live":
            raise SourceError("Live services are not in this version yet: give --sources folder:PATH or stac:PATH.")
        if kind not in ("folder", "stac") or not path:
            raise SourceError(f"Unknown source {part!r}: give folder:PATH, stac:PATH or live.")
        where = Path(path).expanduser().absolute()
        if not (where.is_dir() if kind == "folder" else where.is_file()):
            raise SourceError(f"The {kind} source {path} is not there: check the path.")
        specs.append(SourceSpec(kind, where.name if kind == "folder" else where.parent.name, str(where)))
    names = [spec.name for spec in specs]
    if len(set(names)) < len(names):
        raise SourceError(f"Two sources are called {max(names, key=names.count)!r}: rename one of the folders.")
    return specs


def scan_source(spec: SourceSpec, *, resolution: int, thresholds: Thresholds) -> Catalogue:
    """Lists what a source of files holds."""
    if spec.kind == "folder":
        return scan_folder(spec.name, Path(spec.path), resolution=resolution, thresholds=thresholds)
    return scan_stac(spec.name, Path(spec.path), resolution=resolution)


def open_source(spec: SourceSpec, items: Sequence[Item] = (), limits: Limits | None = None) -> FileSource:
    """Opens a source: with its items for finding, without them for reading."""
    return FileSource(spec.name, spec.root, items, limits=limits)
