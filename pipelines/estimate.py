"""What a build will cost, before anything is fetched: observations, requests, bytes, and hours at the polite rate."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geodata import cells
from geodata.grid import patch_centres, transformer
from geodata.services.orthophotos import find_orthophoto
from geodata.services.service import SERVICES
from geodata.services.tiles import choose_zoom, ground_size_m
from geodata.sources.live import LIVE_MODALITIES
from geodata.sources.sentinel2 import FINEST
from pipelines.recipe import Recipe
from schemas.modality import AERIAL, MODALITIES, SENTINEL2
from schemas.reference import Item, Reference

BYTES = {"sentinel2": 135_000, "aerial": 22_000, "dem": 30_000, "street": 18_000, "text": 400}
"""Mean size of a stored observation of the demo, measured."""
MEMBER_OVERHEAD = 1_024
"""Tar header and padding of a member."""
METADATA_BYTES = 3_200
"""The metadata member of a sample with five observations, with its header."""

OPENING_REQUESTS, OPENING_BYTES = 2, 32_768
"""GDAL asks for a file's size and for its header."""
BLOCK_PX = 512
"""Side of a block of Sentinel-2's files."""
BLOCK_BYTES = 330_000
"""A guess: 512 x 512 pixels of 16 bits, compressed to 0.6."""
ELEVATION_BLOCK_DEG, ELEVATION_BLOCK_BYTES = 512 / 3600, 600_000
"""Side of a block of elevation, and a guess of its size: 512 x 512 heights of 32 bits, compressed to 0.6."""
PATCH_DEG = 0.0135
"""A patch of 1280 m with its kernel, and a little more: the patch may lie beside the cell."""
TILE_BYTES, PHOTO_BYTES, EXTRACT_BYTES = 15_000, 150_000, 1_500
"""Guesses: a map tile, a photo 1024 pixels wide, the introduction of an article."""
LINKS_PER_REQUEST, EXTRACTS_PER_REQUEST = 50, 20
"""Photos and articles that one request asks for."""

Key = tuple[str, str, str]


class CostEstimate:
    """Adds up shard by shard what a build will hold and what it asks of each service."""

    def __init__(self, recipe: Recipe) -> None:
        self._shards: list[list[Reference]] = []
        self._items: dict[Key, Item] = {}
        self._recipe = recipe

    def add(self, references: Sequence[Reference], items: Iterable[Item]) -> None:
        """Adds a shard."""
        self._shards.append(list(references))
        self._items |= {(i.source, i.modality, i.item_id): i for i in items}

    def as_dict(self) -> dict[str, Any]:
        """Returns the sums."""
        return estimate_cost(self._shards, self._items, self._recipe)

    def scaled(self, factor: float) -> dict[str, Any]:
        """Returns the sums for a larger corpus."""
        return self.as_dict()


def estimate_cost(shards: Sequence[Sequence[Reference]], items: Mapping[Key, Item], recipe: Recipe) -> dict[str, Any]:
    """Returns what the shards will hold and what reading it asks of each service; spare candidates are not counted.

    Args:
        shards: the references of each shard.
        items: what they name, by source, modality and identifier.
    """
    wanted = [[r for r in references if r.rank < recipe.most(r.modality)] for references in shards]
    counts = Counter(reference.modality for references in wanted for reference in references)
    table = {
        name: {"observations": counts[name], "bytes": counts[name] * (BYTES[name] + MEMBER_OVERHEAD)}
        for name in MODALITIES
    }
    views: defaultdict[str, set[str]] = defaultdict(set)
    licences: Counter[tuple[str, str]] = Counter()
    for reference in (reference for references in wanted for reference in references):
        views[reference.key].add(reference.modality)
        licences[reference.modality, items[_key(reference)].licence] += 1
    total = sum(row["bytes"] for row in table.values()) + len(views) * METADATA_BYTES
    return {
        "per_modality": table, "bytes": total,
        "views": {str(n): k for n, k in sorted(Counter(len(found) for found in views.values()).items())},
        "services": _estimate_services(wanted, items, recipe),
        "licences": [[modality, licence, n] for (modality, licence), n in sorted(licences.items())],
    }  # fmt: skip


def _estimate_services(
    shards: Iterable[Sequence[Reference]], items: Mapping[Key, Item], recipe: Recipe
) -> dict[str, dict[str, float]]:
    """Returns requests, bytes and hours at the polite rate of each service that reading will ask."""
    requests: Counter[str] = Counter()
    size: Counter[str] = Counter()
    for references in shards:
        live = [r for r in references if r.source in LIVE_MODALITIES]
        for service, number, volume in _ask_for_shard(live, items, recipe):
            requests[service] += number
            size[service] += volume
    return {
        name: {
            "requests": requests[name], "bytes": size[name],
            "hours": round(requests[name] / SERVICES[name].rate_per_s / 3600, 2),
        }
        for name in SERVICES
        if requests[name]
    }  # fmt: skip


def _ask_for_shard(
    references: Sequence[Reference], items: Mapping[Key, Item], recipe: Recipe
) -> Iterable[tuple[str, int, int]]:
    by_item: defaultdict[Key, list[str]] = defaultdict(list)
    for reference in references:
        by_item[_key(reference)].append(reference.key)
    photos = sum(reference.modality == "street" for reference in references)
    articles = sum(items[key].modality == "text" for key in by_item)
    tiles: defaultdict[str, list[str]] = defaultdict(list)
    for key, places in by_item.items():
        item = items[key]
        if item.modality == SENTINEL2.name:
            opened, runs, blocks = _read_scene(item, places)
            files = "s3" if item.source == "earth-search" else "blob"
            yield files, OPENING_REQUESTS * opened + runs, OPENING_BYTES * opened + BLOCK_BYTES * blocks
        elif item.modality == "dem":
            for part in json.loads(item.href)["parts"]:
                tiles[part["href"]] += places
        elif item.modality == AERIAL.name:
            yield from _ask_for_tiles(item, places, recipe)
    for href, places in tiles.items():
        if href:
            lonlat = cells.centres(_numbers(places))
            runs, blocks = count_reads(lonlat / ELEVATION_BLOCK_DEG, PATCH_DEG / ELEVATION_BLOCK_DEG)
            yield "blob", OPENING_REQUESTS + runs, OPENING_BYTES + ELEVATION_BLOCK_BYTES * blocks
    if photos:
        yield "mapillary", math.ceil(photos / LINKS_PER_REQUEST), 700 * photos
        yield "mapillary_images", photos, PHOTO_BYTES * photos
    if articles:
        yield "wikipedia", math.ceil(articles / EXTRACTS_PER_REQUEST), EXTRACT_BYTES * articles


def _read_scene(item: Item, places: Sequence[str]) -> tuple[int, int, int]:
    """Returns how many files of a scene are opened, with how many requests they are read, and how many blocks."""
    assert item.crs is not None and item.bounds is not None
    centres = patch_centres(_numbers(places), SENTINEL2)
    x, y = transformer("EPSG:4326", item.crs).transform(centres[:, 0], centres[:, 1])
    from_corner = np.stack([np.atleast_1d(x) - item.bounds[0], item.bounds[3] - np.atleast_1d(y)], axis=-1)
    files = Counter(10 if band in FINEST else 60 if band in ("B01", "B09") else 20 for band in SENTINEL2.bands)
    files[20] += 1  # the scene classification
    runs = blocks = 0
    for gsd, number in files.items():
        side = BLOCK_PX * gsd
        read = count_reads(from_corner / side, SENTINEL2.size_px * SENTINEL2.gsd_m / side)
        runs, blocks = runs + number * read[0], blocks + number * read[1]
    return sum(files.values()), runs, blocks


def count_reads(centres: NDArray[np.float64], width: float) -> tuple[int, int]:
    """Returns with how many requests windows are read one after the other, and how many blocks these hold.

    Blocks beside each other lie one after the other in a file and come in one request; what was read stays.

    Args:
        centres: of the windows, in blocks along and down, shape (N, 2).
        width: of the windows, in blocks.
    """
    seen: set[tuple[int, int]] = set()
    runs = 0
    for along, down in centres.tolist():
        for row in range(math.floor(down - width / 2), math.floor(down + width / 2) + 1):
            columns = range(math.floor(along - width / 2), math.floor(along + width / 2) + 1)
            new = [column for column in columns if (column, row) not in seen]
            runs += sum(column - 1 not in new for column in new)
            seen.update((column, row) for column in new)
    return runs, len(seen)


def _numbers(places: Sequence[str]) -> cells.Cells:
    return np.array([cells.to_cell(key) for key in places], dtype=np.uint64)


def _ask_for_tiles(item: Item, places: Sequence[str], recipe: Recipe) -> Iterable[tuple[str, int, int]]:
    if item.href.startswith("{"):
        opened = len(json.loads(item.href)["parts"])
        yield "blob", OPENING_REQUESTS * opened + len(places), (OPENING_BYTES + BLOCK_BYTES) * opened
        return
    service = find_orthophoto(item.item_id.partition(" ")[0])
    if service is None:
        return
    number = 0.0
    for key in places:
        lat = cells.centre(key)[1]
        zoom = choose_zoom(lat, recipe.encoding.aerial_gsd_m, service)
        patch_m = AERIAL.size_px * recipe.encoding.aerial_gsd_m
        number += (1 + patch_m / (256 * ground_size_m(lat, zoom))) ** 2
    yield "aerial", round(number), round(number) * TILE_BYTES


def _key(reference: Reference) -> Key:
    return reference.source, reference.modality, reference.item_id
