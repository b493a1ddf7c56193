"""Mapillary on loopback: Graph API, coverage tiles, and the images on a second host.

It behaves as public clients report of the real one, its quirks among them; `offences` says what no client may do.
"""

import json
import math
import re
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import mapbox_vector_tile
import numpy as np
import shapely

from geodata.services.mapillary import Mapillary
from geodata.services.session import HttpSettings, Session
from geodata.sources.files import Limits
from geodata.sources.street import StreetSource
from tests.services.server import LoopbackServer, Reply, Request

TOKEN = "MLY|1234567890|0123456789abcdef0123456789abcdef"
FIELDS = frozenset([
    "id", "altitude", "camera_type", "captured_at", "compass_angle", "computed_compass_angle", "computed_geometry",
    "creator", "geometry", "height", "is_pano", "quality_score", "sequence", "thumb_1024_url", "thumb_2048_url",
    "thumb_original_url", "width",
])  # fmt: skip
ENVELOPES = {
    "no token": (500, {"message": "Invalid OAuth 2.0 Access Token", "type": "MLYApiException", "code": 190}),
    "malformed token": (401, {"message": "Failed to decode", "type": "OAuthException", "code": 190}),
    "unknown token": (401, {"message": "Error validating application", "type": "OAuthException", "code": 190}),
    "gone": (400, {
        "message": "Unsupported get request. Object with ID '1' does not exist, cannot be loaded due to missing "
        "permissions, or does not support this operation", "type": "MLYApiException", "code": 100, "error_subcode": 33,
    }),
    "unknown field": (400, {
        "message": "Tried accessing nonexisting field (x) on node type (ChunkObject)", "type": "MLYApiException",
        "code": 100,
    }),
    "bad box": (400, {
        "message": "The bbox must be smaller than 0.01 degrees square", "type": "MLYApiException", "code": 100,
    }),
    "too much": (500, {
        "message": "Please reduce the amount of data you're asking for, then retry your request",
        "type": "OAuthException", "code": 1,
    }),
    "busy": (500, {
        "message": "Service temporarily unavailable", "type": "OAuthException", "is_transient": True, "code": 2,
    }),
    "limit": (403, {"message": "Application request limit reached", "type": "OAuthException", "code": 4}),
}  # fmt: skip
EXTENT = 4096


@dataclass(frozen=True)
class Shot:
    """One photo as the double has it."""

    id: str
    lon: float
    lat: float
    captured_at: datetime = datetime(2023, 6, 1, 12, tzinfo=UTC)
    heading: float | None = None
    is_pano: bool = False
    creator: str | None = "mapper"
    jpeg: bytes = b"\xff\xd8\xff\xda scan \xff\xd9"
    computed: tuple[float, float] | None = None
    """lon, lat; left out of the answer where None."""
    computed_heading: float | None = None
    camera: str = "perspective"
    sequence: str | None = "run"
    has_thumb: bool = True


class MapillaryDouble:
    """Serves some photos until it is closed."""

    def __init__(
        self, shots: list[Shot], *, token: str = TOKEN, lifetime_s: float = 3600, paging: bool = False,
        too_much: int = 10**9, empty: int = 404,
    ) -> None:  # fmt: skip
        self.shots = {shot.id: shot for shot in shots}
        self.token, self.lifetime_s, self.paging, self.too_much, self.empty = token, lifetime_s, paging, too_much, empty
        self._secret = token.rpartition("|")[2]
        self.deleted: set[str] = set()
        self._at = np.empty((0, 2))
        self.extra: list[object] = []
        """Records put into each answer about a box: broken ones."""
        self.offences: list[str] = []
        self.graph = LoopbackServer(self._handle_graph, stall_s=0.6)
        self.images = LoopbackServer(self._handle_image, stall_s=0.6)
        self.endpoints = {"mapillary": self.graph.root, "mapillary_tiles": f"{self.graph.root}/maps/vtp"}

    def __enter__(self) -> "MapillaryDouble":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.graph.close()
        self.images.close()

    def asked(self, part: str) -> list[Request]:
        """Requests to the Graph API and the tiles whose line has a part."""
        return [request for request in self.graph.requests if part in request.line]

    def _handle_graph(self, request: Request) -> Reply:
        if "access_token" in request.query or self._secret in request.line:
            self.offences.append(f"token in the address {request.path}")
        sent = request.headers.get("authorization", "")
        if not sent.removeprefix("OAuth").strip():
            return envelope("no token")
        if not sent.startswith("OAuth MLY|"):
            return envelope("malformed token")
        if sent != f"OAuth {self.token}":
            return envelope("unknown token")
        tile = re.fullmatch(r"/maps/vtp/mly1_public/2/(\d+)/(\d+)/(\d+)", request.path)
        if tile:
            body = self.encode_tile(*(int(number) for number in tile.groups()))
            return Reply(200, body, {"Content-Type": "application/x-protobuf"}) if body else Reply(self.empty)
        fields = ["id", *request.query.get("fields", "id").split(",")]
        if set(fields) - FIELDS:
            return envelope("unknown field")
        if request.path != "/images":
            shot = self._there(request.path[1:])
            return answer(self._record(shot, fields)) if shot else envelope("gone")
        if "image_ids" in request.query:
            found = [self._there(id_) for id_ in request.query["image_ids"].split(",")]
            return answer({"data": [self._record(shot, fields) for shot in reversed(found) if shot]})
        return self._search(request, fields)

    def _search(self, request: Request, fields: list[str]) -> Reply:
        west, south, east, north = (float(degrees) for degrees in request.query["bbox"].split(","))
        limit = int(request.query.get("limit", 25))
        if max(east - west, north - south) >= 0.01 or limit > 2000 or not -180 <= west < east <= 180:
            return envelope("bad box")

        def edge(shot: Shot) -> tuple[float, str]:
            return min(shot.lon - west, east - shot.lon, shot.lat - south, north - shot.lat), shot.id

        inside = [s for s in self.shots.values() if west <= s.lon <= east and south <= s.lat <= north]
        there = sorted((shot for shot in inside if shot.id not in self.deleted), key=edge)
        if len(there) > self.too_much:
            return envelope("too much")
        start = int(request.query.get("after", 0))
        page = {"data": [*(self._record(shot, fields) for shot in there[start : start + limit]), *self.extra]}
        if self.paging and start + limit < len(there):
            query = request.line.partition("?")[2].partition("&after=")[0]
            link = f"https://elsewhere.example/images?{query}&after={start + limit}&access_token=not-yours"
            page |= {"paging": {"cursors": {"after": str(start + limit)}, "next": link}}
        return answer(page)

    def _there(self, id_: str) -> Shot | None:
        return None if id_ in self.deleted else self.shots.get(id_)

    def _record(self, shot: Shot, fields: list[str]) -> dict[str, object]:
        """Only what was asked for, and of this only what there is."""
        expires = f"{int(time.time() + self.lifetime_s):X}"
        link = f"{self.images.root}/m1/v/t6/{shot.id}?stp=s%s&ccb=10-5&oh=00_signature&oe={expires}&_nc_sid=0"
        record = {
            "id": shot.id, "captured_at": round(shot.captured_at.timestamp() * 1000), "compass_angle": shot.heading,
            "computed_compass_angle": shot.computed_heading, "camera_type": shot.camera, "is_pano": shot.is_pano,
            "geometry": {"type": "Point", "coordinates": [shot.lon, shot.lat]},
            "computed_geometry": shot.computed and {"type": "Point", "coordinates": list(shot.computed)},
            "creator": shot.creator and {"username": shot.creator, "id": "1"}, "sequence": shot.sequence,
            "width": 4000, "height": 3000, "quality_score": 0.745, "altitude": 0,
        }  # fmt: skip
        for name, size in (("1024", "1024x768"), ("2048", "2048x1536"), ("original", "4000x3000")):
            record[f"thumb_{name}_url"] = link % size if shot.has_thumb else None
        return {name: record[name] for name in fields if record.get(name) is not None}

    def _handle_image(self, request: Request) -> Reply:
        if "authorization" in request.headers or self._secret in request.line:
            self.offences.append(f"token sent to the image host for {request.path}")
        shot = self._there(request.path.rpartition("/")[2])
        if int(request.query.get("oe", "0"), 16) <= time.time():
            return Reply(403, b"URL signature expired", {"Content-Type": "text/plain"})
        return Reply(200, shot.jpeg, {"Content-Type": "image/jpeg"}) if shot else Reply(404, b"Not Found")

    def encode_tile(self, z: int, x: int, y: int) -> bytes:
        """Returns a vector tile, nothing where there is nothing; tiles do not know yet what was deleted."""
        there = list(self.shots.values())
        units = {shot.id: to_units(shot.lon, shot.lat, z, x, y) for shot in there}
        layers = []
        if 6 <= z <= 14:
            runs: dict[str, list[Shot]] = {}
            for shot in sorted(there, key=lambda s: (s.captured_at, s.id)):
                runs.setdefault(shot.sequence or shot.id, []).append(shot)
            lines = [(name, self._clip([units[shot.id] for shot in run])) for name, run in runs.items()]
            features = [_feature(line, {"id": name, "is_pano": False}) for name, line in lines if not line.is_empty]
            layers += [{"name": "sequence", "features": features}] if features else []
        if z == 14:
            inside = [shot for shot in there if all(-64 <= unit < EXTENT + 64 for unit in units[shot.id])]
            points = [(shot, shapely.Point(*(round(unit) for unit in units[shot.id]))) for shot in inside]
            features = [_feature(point, _properties(shot)) for shot, point in points]
            layers += [{"name": "image", "features": features}] if features else []
        options = {"extents": EXTENT, "y_coord_down": True}
        return mapbox_vector_tile.encode(layers, default_options=options) if layers else b""

    def _runs_near(self, z: int, x: int, y: int) -> set[str]:
        """Sequences with a photo in the tile or as far again around it, and all where there are few: it saves time."""
        shots = list(self.shots.values())
        if len(shots) < 500:
            return {shot.sequence or shot.id for shot in shots}
        if len(self._at) != len(shots):
            self._at = np.array([to_units(shot.lon, shot.lat, 0, 0, 0) for shot in shots]) / EXTENT
        inside = (np.abs(self._at * 2**z - (x + 0.5, y + 0.5)) < 1.5).all(axis=1)
        return {shots[number].sequence or shots[number].id for number in np.flatnonzero(inside).tolist()}

    def _clip(self, points: list[tuple[float, float]]) -> shapely.Geometry:
        """A line simplified by half a pixel of a map, in the tile and a little around it; of one photo a dot."""
        ends = [*points, (points[-1][0] + 2, points[-1][1])] if len(points) == 1 else points
        line = shapely.LineString(ends).simplify(8)
        return shapely.intersection(line, shapely.box(-64, -64, EXTENT + 64, EXTENT + 64))


def open_street(
    double: MapillaryDouble, *, cache: object = "", limits: Limits | None = None, attempts: int = 5, token: str = TOKEN,
    **more: str,
) -> StreetSource:  # fmt: skip
    """The source that asks a double, impatiently."""
    settings = HttpSettings(
        endpoints=double.endpoints, patience_s=0, backoff_s=0.001, read_s=0.3, cache=str(cache), attempts=attempts
    )
    session = Session(settings, sleep=lambda _: None)
    limits = limits or Limits(photos_per_cell=1, photo_spares=2)
    return StreetSource(Mapillary(session, token), session, limits=limits, photo_px=256, **more)


def grid_of_shots(number: int, lonlat: tuple[float, float], step_deg: float, first_id: int = 10**15 + 1) -> list[Shot]:
    """A square of photos, each of its own sequence."""
    side = math.ceil(math.sqrt(number))
    blank = Shot("", *lonlat)
    return [
        replace(
            blank, id=str(first_id + n), lon=lonlat[0] + step_deg * (n % side), lat=lonlat[1] + step_deg * (n // side),
            sequence=f"run{n}",
        )
        for n in range(number)
    ]  # fmt: skip


def to_units(lon: float, lat: float, z: int, x: int, y: int) -> tuple[float, float]:
    """Where a position lies in a tile, of 4096 units: the formulas of the slippy map."""
    across = (lon + 180) / 360 * 2**z
    down = (1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2 * 2**z
    return (across - x) * EXTENT, (down - y) * EXTENT


def envelope(name: str) -> Reply:
    """An error as the service writes it."""
    status, error = ENVELOPES[name]
    return Reply(status, _encode({"error": {**error, "fbtrace_id": "Axyz"}}), {"Content-Type": "application/json"})


def answer(record: object) -> Reply:
    return Reply(200, _encode(record), {"Content-Type": "application/json; charset=UTF-8"})


def _encode(record: object) -> bytes:
    return json.dumps(record).replace("/", "\\/").encode()


def _feature(geometry: shapely.Geometry, properties: dict[str, object]) -> dict[str, object]:
    return {"geometry": geometry, "properties": properties}


def _properties(shot: Shot) -> dict[str, object]:
    properties = {
        "id": int(shot.id), "captured_at": round(shot.captured_at.timestamp() * 1000), "compass_angle": shot.heading,
        "is_pano": shot.is_pano, "sequence_id": shot.sequence,
    }  # fmt: skip
    return {name: value for name, value in properties.items() if value is not None}
