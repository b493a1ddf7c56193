"""Patches that were read from remote rasters, kept on disk, so that a second run asks for no pixel again."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from geodata.raster import Raster
from geodata.services.cache import AnswerCache
from schemas.grid import Grid
from schemas.reference import Item


class PatchCache:
    """A folder of patches by item and grid; without a folder everything is read."""

    def __init__(self, folder: str) -> None:
        self._answers = AnswerCache(folder) if folder else None

    def read(self, item: Item, grid: Grid, read: Callable[[Item, Grid], Raster]) -> Raster:
        """Returns a kept patch, or reads and keeps it. Raises what `read` raises."""
        if self._answers is None:
            return read(item, grid)
        asked = json.dumps([item.source, item.item_id, item.href, asdict(grid)], sort_keys=True)
        key = f"patch {hashlib.sha256(asked.encode()).hexdigest()}"
        kept = self._answers.read(key)
        if kept is not None and (raster := _decode(kept[2])) is not None:
            return raster
        raster = read(item, grid)
        self._answers.write(key, 200, {}, _encode(raster))
        return raster


def _encode(raster: Raster) -> bytes:
    arrays: dict[str, Any] = {"values": raster.values, "valid": raster.valid}
    if raster.cloud is not None:
        arrays["cloud"] = raster.cloud
    about = json.dumps({"grid": asdict(raster.grid), "note": raster.note}).encode()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, about=np.frombuffer(about, dtype=np.uint8), **arrays)
    return buffer.getvalue()


def _decode(payload: bytes) -> Raster | None:
    try:
        with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            cloud = arrays.get("cloud")
            return Raster(arrays["values"], arrays["valid"], Grid(**about["grid"]), cloud, about["note"])
    except (ValueError, KeyError, zipfile.BadZipFile):
        return None
