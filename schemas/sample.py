"""What one place is: its observations, and how they are written beside each other in a shard."""

import json
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime

from schemas.grid import Grid
from schemas.modality import MODALITIES

SCHEMA_VERSION = 1
"""Version of the metadata member and of the corpus layout; a reader refuses a newer one."""


@dataclass(frozen=True, eq=False)
class Observation:
    """One modality of one cell: the encoded payload and where, when and from whom it comes."""

    modality: str
    """One of `schemas.modality.MODALITIES`."""
    member: str
    """Name of the tar member that holds the payload."""
    payload: bytes
    """Encoded bytes exactly as in the shard (GeoTIFF, JPEG or UTF-8)."""
    lon: float
    """Degrees east, WGS 84: the photo's or article's own position, the middle of a raster patch."""
    lat: float
    """Degrees north, WGS 84."""
    captured_at: datetime | None
    """When it was taken, aware UTC; None where the source does not say."""
    source: str
    """Name of the source it was read from."""
    item_id: str
    """The source's identifier."""
    licence: str
    """Licence text or SPDX code as the source gives it."""
    attribution: str
    """Credit line as the source asks for it."""
    distance_m: float
    """Geodesic distance of (lon, lat) from the cell's centre, metres."""
    synthetic: bool
    """True for generated content that shows no real place."""
    grid: Grid | None = None
    """Where the pixels of a raster truly lie; None for photos and texts."""
    valid_share: float | None = None
    """Share of the patch's pixels that hold data, 0 ... 1; None for what is not a raster."""
    cloud_share: float | None = None
    """Share of valid pixels under cloud, 0 ... 1; Sentinel-2 only."""
    heading_deg: float | None = None
    """Direction in which the photo looks, degrees clockwise from north; None where unknown."""
    is_pano: bool | None = None
    """True for a 360-degree equirectangular photo; None for what is not a photo."""
    title: str | None = None
    """Title of the article; None for what is not a text."""
    note: str | None = None
    """What the source says besides: which elevation model, which revision, how an offset was decided."""

    def __post_init__(self) -> None:
        if self.modality not in MODALITIES:
            raise ValueError(f"Unknown modality {self.modality!r}: choose from {', '.join(MODALITIES)}.")
        check_lonlat(self.lon, self.lat)
        if self.captured_at is not None and self.captured_at.tzinfo is None:
            raise ValueError(f"captured_at must be aware UTC, not the naive {self.captured_at}.")


@dataclass(frozen=True, eq=False)
class Sample:
    """The observations of one cell; any modality may be absent."""

    key: str
    """H3 cell, the identity of the place."""
    split: str
    """train, val or test."""
    lon: float
    """Cell centre, degrees east, WGS 84."""
    lat: float
    """Cell centre, degrees north, WGS 84."""
    country: str | None
    """ISO 3166 alpha-2 code of the country that holds the centre; None at sea."""
    observations: tuple[Observation, ...]
    """All observations, in the order of `MODALITIES`, several photos in the order of their members."""

    def __post_init__(self) -> None:
        check_lonlat(self.lon, self.lat)

    def first(self, modality: str) -> Observation | None:
        """Returns the sample's first observation of a modality, None where it is absent."""
        return next((o for o in self.observations if o.modality == modality), None)

    @property
    def sentinel2(self) -> Observation | None:
        """Twelve-band Sentinel-2 patch."""
        return self.first("sentinel2")

    @property
    def aerial(self) -> Observation | None:
        """Aerial image."""
        return self.first("aerial")

    @property
    def dem(self) -> Observation | None:
        """Elevation."""
        return self.first("dem")

    @property
    def street(self) -> Observation | None:
        """First street-level photo."""
        return self.first("street")

    @property
    def text(self) -> Observation | None:
        """Encyclopaedic text."""
        return self.first("text")


def check_lonlat(lon: float, lat: float) -> None:
    """Raises ValueError unless (lon, lat) are degrees on the Earth; says so where they look swapped."""
    if -180 <= lon <= 180 and -90 <= lat <= 90:
        return
    swapped = " They look swapped." if -180 <= lat <= 180 and -90 <= lon <= 90 else ""
    raise ValueError(f"Longitude {lon} and latitude {lat} must lie in -180 ... 180 and -90 ... 90 degrees.{swapped}")


def encode_metadata(sample: Sample) -> bytes:
    """Returns the `{key}.json` member: everything but the payloads, keys sorted, UTF-8."""
    observations = []
    for observation in sample.observations:
        row = {f.name: getattr(observation, f.name) for f in fields(observation) if f.name != "payload"}
        row["captured_at"] = format_time(observation.captured_at)
        row["grid"] = asdict(observation.grid) if observation.grid else None
        observations.append({name: value for name, value in row.items() if value is not None})
    record = {
        "schema_version": SCHEMA_VERSION, "key": sample.key, "split": sample.split, "lon": sample.lon,
        "lat": sample.lat, "country": sample.country, "synthetic": any(o.synthetic for o in sample.observations),
        "observations": observations,
    }  # fmt: skip
    return json.dumps(record, ensure_ascii=False, sort_keys=True, allow_nan=False).encode()


def decode_metadata(metadata: bytes, payloads: dict[str, bytes]) -> Sample:
    """Puts a sample together again.

    Args:
        metadata: the `{key}.json` member.
        payloads: the other members by name.

    Raises:
        ValueError: if the metadata is of a newer schema than this reader knows.
    """
    record = json.loads(metadata)
    if record["schema_version"] > SCHEMA_VERSION:
        raise ValueError(
            f"Sample {record['key']} has schema version {record['schema_version']}, this reader knows up to "
            f"{SCHEMA_VERSION}: install a newer sameplace."
        )
    observations = []
    for row in record["observations"]:
        row["grid"] = Grid(**row["grid"]) if "grid" in row else None
        row["captured_at"] = parse_time(row["captured_at"]) if "captured_at" in row else None
        observations.append(Observation(payload=payloads[row["member"]], **row))
    place = {name: record[name] for name in ("key", "split", "lon", "lat", "country")}
    return Sample(observations=tuple(observations), **place)


def format_time(time: datetime | None) -> str | None:
    """Writes a time as ISO 8601 in UTC, `2020-02-19T11:34:25Z`; None stays None."""
    return None if time is None else time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """Reads ISO 8601; a time without a zone counts as UTC.

    Raises:
        ValueError: if the text is no such time.
    """
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
