"""Client of Mapillary's Graph API, version 4: which photos are where, what is known of them, and their pixels.

The token travels in one header to the Graph API, never in an address and never to the host of the images, whose links
carry their own signature. What an answer means is told by the code in its JSON, not by its status: a missing token is
a 500, a deleted photo a 400. It knows nothing of cells.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np

from geodata.boxes import Box, split_at_antimeridian
from geodata.services.redact import redact
from geodata.services.service import SERVICES
from geodata.services.session import (
    TRANSIENT_STATUS,
    Answer,
    ServiceError,
    Session,
    Transient,
    parse_retry_after,
)
from schemas.sample import check_lonlat

LIMIT = 1000
"""Photos of one answer; the service allows 2000, which public clients report to fail often."""
BOX_DEG = 0.0099
"""Widest box asked for: the service refuses 0.01 degrees."""
SMALLEST_DEG = 2e-5
"""Boxes of two metres are not split further, whatever they hold."""
BATCH = 50
"""Identifiers of one request: more make an address that some proxies refuse (a guess)."""
TRANSIENT_CODES = frozenset([1, 2, 4, 17, 341, 613])
"""Unknown error, service busy, and the limits of an application, a user, an hour: Graph API, Error Handling."""
TOKEN_REFUSED, BAD_REQUEST, OBJECT_GONE = 190, 100, 33

_FIELDS = (
    "id,geometry,computed_geometry,captured_at,compass_angle,computed_compass_angle,is_pano,camera_type,creator,"
    "sequence,width,height,quality_score"
)
_HOW_TO = f"needed is {SERVICES['mapillary'].needs}"
_THUMBS = ((1024, "thumb_1024_url"), (2048, "thumb_2048_url"), (math.inf, "thumb_original_url"))


class TooMuchDataError(ServiceError):
    """The same must be asked for in smaller parts."""


class PhotoGoneError(ServiceError):
    """A photo was deleted, or never was."""


@dataclass(frozen=True)
class Photo:
    """What the service says of one photo."""

    id: str
    """Decimal; beyond 2^53, so never a float."""
    lon: float
    """Degrees east."""
    lat: float
    """Degrees north."""
    is_computed: bool
    """True for a position found by matching photos, False for that of the device."""
    captured_at: datetime | None
    """Aware UTC."""
    heading_deg: float | None
    """Clockwise from north, 0 ... 360; the computed one where there is one."""
    is_pano: bool
    """True for 360-degree photos."""
    creator: str | None = None
    """User name."""
    sequence: str | None = None
    """Identifier of the run of photos that it belongs to."""
    width: int | None = None
    """Pixels of the original."""
    height: int | None = None
    """Pixels of the original."""
    quality: float | None = None
    """The service's own score, 0 ... 1."""


class Mapillary:
    """The Graph API with one token; threads may share it."""

    def __init__(self, session: Session, token: str) -> None:
        self._session = session
        self.token = token.strip()
        if not re.fullmatch(r"[!-~]*", self.token):
            raise ServiceError("mapillary", f"the token has a blank or a sign of no alphabet; {_HOW_TO}")

    def search_box(
        self, west: float, south: float, east: float, north: float, *, bad: list[str] | None = None
    ) -> list[Photo]:
        """Returns all photos of a box (degrees), sorted by identifier.

        Args:
            bad: receives the head of each record without identifier or position.

        Raises:
            ServiceError: if the service fails.
        """
        found: dict[str, Photo] = {}
        faults: dict[str, None] = {}
        for box in split_at_antimeridian((west, south, east, north)):
            for part in _cut(box):
                for record in self._search(part):
                    photo = parse_photo(record)
                    if photo is None:
                        faults[json.dumps(record, sort_keys=True)[:200]] = None
                    else:
                        found[photo.id] = photo
        if bad is not None:
            bad += faults
        return [found[id_] for id_ in sorted(found)]

    def describe(self, ids: Iterable[str]) -> dict[str, Photo]:
        """Returns photos by identifier, without those that are gone or whose record is none. Raises ServiceError."""
        found = {id_: parse_photo(record) for id_, record in self._ask(ids, _FIELDS, cache_key="")}
        return {id_: photo for id_, photo in found.items() if photo is not None}

    def image_urls(self, ids: Iterable[str], width: int) -> dict[str, str]:
        """Returns links, good for some time, to pictures so wide, or else to the widest. Raises ServiceError."""
        fields = ",".join(["id", *(name for _, name in _THUMBS)])
        links = {id_: _choose_link(record, width) for id_, record in self._ask(ids, fields, cache_key=None)}
        return {id_: link for id_, link in links.items() if link is not None}

    def read_image(self, url: str) -> bytes:
        """Returns a picture.

        Raises:
            ServiceError: with status 403, 404 or 410 where the link is no longer good.
        """
        endpoint = self._session.settings.endpoints.get("mapillary_images")
        if endpoint is not None:
            parts = urlsplit(url)
            url = f"{endpoint}{parts.path}?{parts.query}"
        return self._session.request("mapillary_images", url, parse=_parse_image, cache_key=None)

    def _search(self, box: Box) -> Iterator[Any]:
        """Yields the records of a box; what an answer cannot hold is asked for by quarters."""
        left = [box]
        while left:
            part = left.pop()
            is_splittable = max(part[2] - part[0], part[3] - part[1]) > SMALLEST_DEG
            try:
                records, is_whole = self._search_part(part)
            except TooMuchDataError:
                if not is_splittable:
                    raise
                left += _quarter(part)
                continue
            if is_whole or not is_splittable:
                yield from records
            else:
                left += _quarter(part)

    def _search_part(self, box: Box) -> tuple[list[Any], bool]:
        """Returns the records of one box, and whether these are all: a full page without a next one is cut off."""
        params: dict[str, str | int] | None
        params = {
            "bbox": ",".join(f"{degrees:.9f}" for degrees in box), "fields": _FIELDS, "limit": LIMIT,
        }  # fmt: skip
        records: list[Any] = []
        seen: set[str | None] = set()
        while True:
            page = self._get(params)
            new = {_parse_id(record) for record in page["data"]} - seen
            records += page["data"]
            params = _next_params(page)
            if params is None:
                return records, len(page["data"]) < LIMIT
            if not new:  # a link past the end, or in a circle
                return records, not page["data"]
            seen |= new

    def _ask(self, ids: Iterable[str], fields: str, *, cache_key: str | None) -> Iterator[tuple[str, Any]]:
        """Yields the records of identifiers; those that the service does not have are passed over."""
        wanted = sorted(set(ids))
        left = [wanted[start : start + BATCH] for start in range(0, len(wanted), BATCH)]
        while left:
            batch = left.pop(0)
            try:
                page = self._get({"image_ids": ",".join(batch), "fields": fields}, cache_key=cache_key)
            except (TooMuchDataError, PhotoGoneError) as error:
                if len(batch) > 1:
                    left = [batch[: len(batch) // 2], batch[len(batch) // 2 :], *left]
                elif isinstance(error, TooMuchDataError):
                    raise
                continue
            here = {_parse_id(record): record for record in page["data"]}
            yield from ((id_, here[id_]) for id_ in batch if id_ in here)

    def _get(self, params: Mapping[str, str | int], *, cache_key: str | None = "") -> dict[str, Any]:
        return self._session.request(
            "mapillary", f"{self._session.root('mapillary')}/images", parse=_parse_page, params=params,
            headers=authorization(self.token), classify=partial(classify, service="mapillary", token=self.token),
            cache_key=cache_key,
        )  # fmt: skip


def authorization(token: str) -> dict[str, str]:
    """Returns the header that carries the token: for the Graph API and the coverage tiles, for no other host."""
    return {"Authorization": f"OAuth {token}"}


def classify(answer: Answer, *, service: str, token: str) -> None:
    """Raises what an error in the body means.

    Raises:
        Transient, PhotoGoneError, TooMuchDataError, ServiceError: by the code.
    """
    error = _find_error(answer)
    if error is None:
        return
    message = str(error.get("message", ""))
    code, status = error.get("code"), answer.status
    detail = f"HTTP {status}, code {code}: {redact(message.replace(token or '...', '...'))[:200]}"
    if code == TOKEN_REFUSED:
        raise ServiceError(service, f"the token is refused ({detail}); {_HOW_TO}", status=status)
    if code == BAD_REQUEST and error.get("error_subcode") == OBJECT_GONE:
        raise PhotoGoneError(service, detail, status=status)
    if code == 1 and "reduce the amount of data" in message:
        raise TooMuchDataError(service, detail, status=status, retryable=True)
    if code in TRANSIENT_CODES or error.get("is_transient") is True or status in TRANSIENT_STATUS:
        raise Transient(detail, after_s=parse_retry_after(answer.headers.get("retry-after")))
    raise ServiceError(service, detail, status=status)


def parse_photo(record: Any) -> Photo | None:
    """Reads one record, which lacks what the service does not know; None without identifier or position."""
    id_ = _parse_id(record)
    if id_ is None:
        return None
    computed, device = _parse_position(record.get("computed_geometry")), _parse_position(record.get("geometry"))
    lonlat = computed or device
    if lonlat is None:
        return None
    heading = parse_heading(record.get("computed_compass_angle"))
    creator = record.get("creator")
    kind = str(record.get("camera_type", ""))
    return Photo(
        id_, *lonlat, computed is not None, parse_milliseconds(record.get("captured_at")),
        parse_heading(record.get("compass_angle")) if heading is None else heading,
        bool(record.get("is_pano", kind in ("spherical", "equirectangular"))),
        str(creator["username"]) if isinstance(creator, dict) and creator.get("username") else None,
        str(record["sequence"]) if record.get("sequence") else None,
        _parse_number(record.get("width"), int), _parse_number(record.get("height"), int),
        _parse_number(record.get("quality_score"), float),
    )  # fmt: skip


def parse_heading(value: object) -> float | None:
    """Returns degrees clockwise from north, 0 <= heading < 360; None for what is no number."""
    heading = _parse_number(value, float)
    return None if heading is None else heading % 360 % 360  # once leaves 360 of a tiny negative number


def parse_milliseconds(value: object) -> datetime | None:
    """Returns the time of a Unix time in milliseconds; None for what is none."""
    number = _parse_number(value, float)
    try:
        return None if number is None else datetime.fromtimestamp(number / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def _parse_number(value: object, kind: type[Any]) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    return kind(value) if is_number else None


def _parse_id(record: Any) -> str | None:
    id_ = record.get("id") if isinstance(record, dict) else None
    text = "" if isinstance(id_, bool) else str(id_)
    return text if re.fullmatch("[0-9]+", text) else None


def _parse_position(geometry: Any) -> tuple[float, float] | None:
    try:
        lon, lat = (float(degrees) for degrees in geometry["coordinates"][:2])
        check_lonlat(lon, lat)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return lon, lat


def _parse_page(answer: Answer) -> dict[str, Any]:
    page = answer.json()
    if not isinstance(page, dict) or not isinstance(page.get("data"), list):
        raise Transient(f"{len(answer.body)} bytes without a list of photos")
    return page


def _parse_image(answer: Answer) -> bytes:
    """Passes whole pictures. The end of a JPEG comes after its last scan; a preview in its head ends before that."""
    body = answer.body
    is_jpeg = body.startswith(b"\xff\xd8\xff") and body.rfind(b"\xff\xd9") > body.rfind(b"\xff\xda")
    is_png = body.startswith(b"\x89PNG\r\n\x1a\n") and b"IEND\xaeB`\x82" in body[-64:]
    if not is_jpeg and not is_png:
        kind = answer.headers.get("content-type", "no content type")
        raise Transient(f"no whole JPEG or PNG but {len(body)} bytes of {kind}")
    return body


def _find_error(answer: Answer) -> dict[str, Any] | None:
    try:
        found = json.loads(answer.body) if b'"error"' in answer.body[:200] else None
    except ValueError:
        return None
    error = found.get("error") if isinstance(found, dict) else None
    return error if isinstance(error, dict) else None


def _next_params(page: Mapping[str, Any]) -> dict[str, str | int] | None:
    """The query of the next page; its link names a host that need not be ours, and may hold a token."""
    paging = page.get("paging")
    link = paging.get("next") if isinstance(paging, dict) else None
    if not isinstance(link, str):
        return None
    return {name: value for name, value in parse_qsl(urlsplit(link).query) if name != "access_token"}


def _choose_link(record: Mapping[str, Any], width: int) -> str | None:
    there = [(wide, record[name]) for wide, name in _THUMBS if isinstance(record.get(name), str)]
    return next((link for wide, link in there if wide >= width), there[-1][1] if there else None)


def _cut(box: Box) -> Iterator[Box]:
    """Cuts a box into as few equal ones as are allowed."""
    west, south, east, north = box
    lons = np.linspace(west, east, max(1, math.ceil((east - west) / BOX_DEG)) + 1).tolist()
    lats = np.linspace(south, north, max(1, math.ceil((north - south) / BOX_DEG)) + 1).tolist()
    for left, right in pairwise(lons):
        yield from ((left, bottom, right, top) for bottom, top in pairwise(lats))


def _quarter(box: Box) -> Sequence[Box]:
    west, south, east, north = box
    lon, lat = (west + east) / 2, (south + north) / 2
    return [(west, south, lon, lat), (lon, south, east, lat), (west, lat, lon, north), (lon, lat, east, north)]
