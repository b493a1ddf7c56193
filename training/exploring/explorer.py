"""What the page can ask of a run: who is near a query, where it could lie, and where inside a place's patch."""

import itertools
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from schemas.corpus import CorpusError, read_sample
from schemas.modality import TEXT
from schemas.page.pack import pack_numbers
from training.api import Encoder
from training.data.batch import LOCATION, SPOTS, VIEWS
from training.decode import FAULTS, decode_geotiff
from training.evaluation.maps import Heat, embed_region, map_patch
from training.exploring.gallery import Gallery
from training.exploring.pictures import PICTURES, as_stored, draw_picture
from training.inputs import InputError
from training.sphere import distance_m

COLUMNS = 200
"""Of the map of the region."""
MOST_PIXELS = 100_000_000
"""A larger picture is not decoded."""
MOST_TEXT = 10_000
"""Characters of a query, and of a text that is shown."""
_REMEMBERED = 200
"""Queries that can still be asked about."""


@dataclass(frozen=True, eq=False)
class Query:
    """What is searched for."""

    view: str
    """One of the run's."""
    z_D: NDArray[np.float32]
    """Unit vector."""
    lonlat: tuple[float, float] | None = None
    """Where it truly lies, degrees, where that is known."""
    key: str | None = None
    """The place that it is a view of."""


class Explorer:
    """One run and the places it embedded; several threads may ask."""

    def __init__(self, encoder: Encoder, gallery: Gallery, corpus: str, name: str) -> None:
        """Takes an encoder on the CPU: single queries gain nothing elsewhere."""
        self._encoder, self._gallery, self._corpus, self._name = encoder, gallery, corpus, name
        self._queries: OrderedDict[str, Query] = OrderedDict()
        self._numbers = itertools.count(1)
        self._lock, self._region_lock = threading.Lock(), threading.Lock()
        self._region_HWD: NDArray[np.float32] | None = None
        self.extent = find_extent(gallery.places.lonlat_N2)

    def describe(self) -> dict[str, Any]:
        """Returns what the page says before anything is searched."""
        places = self._gallery.places
        return {
            "run": self._name, "corpus": Path(self._corpus).name, "views": list(self._encoder.views),
            "counts": {view: len(places.rows(view)) for view in self._encoder.views},
            "splits": [samples.split for samples in self._gallery.splits], "number": len(places),
            "extent": self.extent, "has_query": self._has_query, "keys": places.keys,
            "split": self._gallery.split_N.tolist(), "lonlat": np.round(places.lonlat_N2, 6).tolist(),
        }  # fmt: skip

    def read_query(self, view: str, body: bytes) -> Query:
        """Embeds what was typed, clicked or dropped.

        Args:
            body: a text in UTF-8, a longitude and a latitude with a comma, or a JPEG file.

        Raises:
            InputError: for what is no such thing, or a view that the run does not know.
        """
        lonlat = None
        value: Any = body
        if view == TEXT.name:
            value = _read_text(body)
        elif view == LOCATION:
            lonlat = value = _read_lonlat(body)
        elif view in ("street", "aerial"):
            _check_size(body)
        elif view in VIEWS:
            raise InputError(f"A file of {view} cannot be dropped here: choose the view of a place.")
        return Query(view, self._encoder.encode(view, [value])[0], lonlat)

    def take_query(self, view: str, key: str) -> Query:
        """Returns a view of a place of the corpus as a query.

        Raises:
            InputError: if there is no such place or view.
        """
        row = self._find(key)
        places = self._gallery.places
        if view not in VIEWS or not places.present_MN[VIEWS.index(view), row]:
            raise InputError(f"The place {key} has no view {view!r}: choose another.")
        return Query(view, places.z(view)[row], _pair(places.query_lonlat(view)[row]), key)

    def search(self, query: Query, target: str, count: int) -> dict[str, Any]:
        """Returns the places whose view `target` is most like a query, the best first.

        Of a query that is the target view of a place itself, that place is left out.

        Raises:
            InputError: if no place has such a view.
        """
        places = self._gallery.places
        if target not in self._encoder.views or not len(places.rows(target)):
            raise InputError(f"No place here has a view {target!r} that the run knows: choose another.")
        rows = places.rows(target)
        own = self._gallery.row_of.get(query.key or "", -1)
        if query.view == target:
            rows = rows[rows != own]
        similarity = places.z(target)[rows] @ query.z_D
        order = np.argsort(-similarity, kind="stable")
        answer = {
            "query": self._remember(query), "view": query.view, "target": target, "searched": len(rows),
            "lonlat": query.lonlat, "key": query.key,
            "cards": [self._card(int(rows[at]), float(similarity[at]), query) for at in order[:count]],
        }  # fmt: skip
        if own in rows:
            answer["rank"] = int(np.flatnonzero(rows[order] == own)[0]) + 1
        return answer

    def heat(self, number: str) -> dict[str, Any]:
        """Returns how alike a query and the locations of the region are.

        Raises:
            InputError: if the query is forgotten.
        """
        query = self._recall(number)
        return _pack(Heat(self.embed_region() @ query.z_D, self.extent))

    def embed_region(self) -> NDArray[np.float32]:
        """Returns the locations that `heat` compares, (H, W, D): embedded once, which takes some seconds."""
        with self._region_lock:
            if self._region_HWD is None:
                self._region_HWD = embed_region(self._encoder.model, self.extent, columns=COLUMNS)
        return self._region_HWD

    def patch(self, key: str, number: str) -> dict[str, Any]:
        """Returns how alike a query and the points of a place's Sentinel-2 patch are (GAIR, figure 4).

        Args:
            number: of a query; `own` for the place's own photo.

        Raises:
            InputError: if the query is forgotten, or the place lacks patch or photo.
            CorpusError: if the patch is damaged.
        """
        row = self._find(key)
        query = self.take_query("street", key) if number == "own" else self._recall(number)
        payload = self._gallery.read(row, "sentinel2")
        if not self._has_query or payload is None:
            raise InputError(f"There is no map inside the patch of {key}: the run has no query, or the place no patch.")
        try:
            stored_CHW = as_stored(decode_geotiff(payload))
        except FAULTS as error:
            raise CorpusError(f"The Sentinel-2 patch of {key} is damaged ({error}): look at another place.") from error
        with self._lock:
            return _pack(map_patch(self._encoder.model, query.z_D, stored_CHW))

    def place(self, key: str) -> dict[str, Any]:
        """Returns what is known of a place: views, texts, credits, and where photo and article lie in its patch."""
        row = self._find(key)
        samples, drawn = self._gallery.draw(row)
        places = self._gallery.places
        spots = {
            view: drawn.spots_BS2[0, number].tolist() for number, view in enumerate(SPOTS) if drawn.inside_SB[number, 0]
        }
        return {
            "key": key, "split": samples.split, "lonlat": _pair(places.lonlat_N2[row]), "views": self._views(row),
            "spots": spots, "text": self._text(row, MOST_TEXT), "credits": self._credits(key),
        }  # fmt: skip

    def picture(self, key: str, view: str) -> bytes | None:
        """Returns a JPEG of a view; None where there is none.

        Raises:
            CorpusError: if it is damaged.
        """
        row = self._gallery.row_of.get(key)
        payload = self._gallery.read(row, view) if row is not None and view in PICTURES else None
        if payload is None:
            return None
        try:
            return draw_picture(view, payload)
        except FAULTS as error:
            raise CorpusError(f"The view {view} of {key} is damaged ({error}).") from error

    @property
    def _has_query(self) -> bool:
        config = self._encoder.model.config
        return bool(config.inr) and "sentinel2" in config.views

    def _card(self, row: int, score: float, query: Query) -> dict[str, Any]:
        places = self._gallery.places
        key = places.keys[row]
        at = places.lonlat_N2[row]
        away = None if query.lonlat is None else float(distance_m(np.array(query.lonlat), at))
        split = self._gallery.splits[self._gallery.split_N[row]].split
        return {
            "key": key, "split": split, "similarity": round(score, 4), "away_m": away, "row": row,
            "views": self._views(row), "text": self._text(row, 160), "is_own": key == query.key,
        }  # fmt: skip

    def _views(self, row: int) -> list[str]:
        """Returns the views that the corpus has of a place and the run has a tower for."""
        return [view for view, there in zip(VIEWS, self._gallery.places.present_MN[:, row], strict=True) if there]

    def _text(self, row: int, most: int) -> str:
        payload = self._gallery.read(row, TEXT.name)
        return "" if payload is None else bytes(payload[: 4 * most]).decode("utf-8", "replace")[:most]

    def _credits(self, key: str) -> list[dict[str, str]]:
        """Returns who is to be credited for a place's views; nothing where the corpus has no index."""
        try:
            sample = read_sample(self._corpus, key)
        except (CorpusError, KeyError, ValueError, OSError):
            return []
        firsts = {one.modality: one for one in reversed(sample.observations)}
        return [
            {"view": view, "credit": firsts[view].attribution or "", "licence": firsts[view].licence or ""}
            for view in VIEWS
            if view in firsts
        ]

    def _find(self, key: str) -> int:
        row = self._gallery.row_of.get(key)
        if row is None:
            raise InputError(f"The page has no place {key[:20]!r}: choose one of the splits that it was started with.")
        return row

    def _remember(self, query: Query) -> str:
        number = str(next(self._numbers))
        with self._lock:
            self._queries[number] = query
            while len(self._queries) > _REMEMBERED:
                self._queries.popitem(last=False)
        return number

    def _recall(self, number: str) -> Query:
        with self._lock:
            query = self._queries.get(number)
        if query is None:
            raise InputError("That query is forgotten: search again.")
        return query


def find_extent(lonlat_N2: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Returns west, south, east, north around places, with a margin, degrees."""
    low, high = lonlat_N2.min(axis=0), lonlat_N2.max(axis=0)
    margin = np.maximum(0.05 * (high - low), 0.01)
    west, south = np.maximum(low - margin, (-180.0, -90.0)).tolist()
    east, north = np.minimum(high + margin, (180.0, 90.0)).tolist()
    return west, south, east, north


def _pack(heat: Heat) -> dict[str, Any]:
    """Returns a map as 256 steps between its least and its greatest value."""
    low, high = float(heat.similarity_HW.min()), float(heat.similarity_HW.max())
    steps = np.round(255 * (heat.similarity_HW - low) / max(high - low, 1e-9)).astype(np.uint8)
    rows, columns = steps.shape
    values = pack_numbers(steps, "u1")
    return {"rows": rows, "columns": columns, "extent": heat.extent, "low": low, "high": high, "values": values}


def _pair(values: Iterable[float]) -> tuple[float, float]:
    lon, lat = (round(float(value), 6) for value in values)
    return lon, lat


def _read_text(body: bytes) -> str:
    try:
        text = body.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise InputError(f"The text is not UTF-8 ({error.reason}): send it so.") from error
    if not text or len(text) > MOST_TEXT:
        raise InputError(f"The text has {len(text)} characters: write 1 to {MOST_TEXT:,}.")
    return text


def _read_lonlat(body: bytes) -> tuple[float, float]:
    try:
        lon, lat = (float(part) for part in body.decode("utf-8").split(","))
    except ValueError as error:
        shown = body[:40].decode("utf-8", "replace")
        raise InputError(f"{shown!r} is no position: give longitude and latitude with a comma, in degrees.") from error
    return lon, lat


def _check_size(body: bytes) -> None:
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(body)
    except ValueError as error:
        raise InputError(f"The picture is no JPEG that can be read ({error}): convert it.") from error
    if height * width > MOST_PIXELS:
        raise InputError(f"The picture has {height} x {width} pixels: give at most {MOST_PIXELS:,} in all.")
