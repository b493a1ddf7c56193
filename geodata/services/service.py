"""The services that live sources ask: where they are, how fast they may be asked, what their licence demands."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Service:
    """One service on the network."""

    name: str
    """Word in `--endpoint NAME=URL`, in errors and in reports."""
    root: str
    """Address; words in braces are filled in by the client."""
    rate_per_s: float
    """Requests a second that all workers together may send."""
    burst: int
    """Requests that may be sent at once after a pause."""
    serves: str
    """What it is for."""
    at_once: int = 0
    """Requests under way at the same time, of all workers together; 0 for any number."""
    needs: str = ""
    """What a user must have, and where to get it."""


_ALL = (
    Service("stac", "https://planetarycomputer.microsoft.com/api/stac/v1", 4, 8, "Sentinel-2, DEM and NAIP scenes"),
    Service("sas", "https://planetarycomputer.microsoft.com/api/sas/v1", 1, 10, "keys to the scenes' files"),
    Service("blob", "https://{account}.blob.core.windows.net", 200, 400, "the scenes' files"),
    Service("earth_search", "https://earth-search.aws.element84.com/v1", 4, 8, "Sentinel-2 and DEM scenes"),
    Service("s3", "https://{bucket}.s3.{region}.amazonaws.com", 200, 400, "the files of Earth Search"),
    Service("aerial", "{template}", 10, 40, "tiles of national orthophotos"),
    Service(
        "mapillary", "https://graph.mapillary.com", 20, 100, "street-level photos", 0,
        "MAPILLARY_TOKEN in the environment: a client token from https://www.mapillary.com/dashboard/developers",
    ),
    Service(
        "mapillary_tiles", "https://tiles.mapillary.com/maps/vtp", 0.55, 2000, "where photos are", 0, "MAPILLARY_TOKEN"
    ),
    Service("mapillary_images", "https://{host}", 20, 100, "the photos' pixels"),
    Service(
        "wikipedia", "https://{language}.wikipedia.org/w/api.php", 5, 10, "articles", 3,
        "--contact, an e-mail address or page of yours: https://foundation.wikimedia.org/wiki/Policy:User-Agent_policy",
    ),
)  # fmt: skip
# Rates: Mapillary allows 10,000 searches a minute and 50,000 tiles a day; Wikimedia asks for at most three requests
# at a time; the others publish no number, so theirs are guesses of what no operator minds.

SERVICES: dict[str, Service] = {service.name: service for service in _ALL}
"""All services by name."""


class EndpointError(ValueError):
    """An endpoint cannot be used: one sentence for the user."""


def parse_endpoints(texts: tuple[str, ...]) -> dict[str, str]:
    """Reads `NAME=URL` settings.

    Raises:
        EndpointError: for a name that is no service, or what is no URL.
    """
    endpoints = {}
    for text in texts:
        name, _, url = text.partition("=")
        if name not in SERVICES:
            raise EndpointError(f"--endpoint {text!r} names no service: choose from {', '.join(SERVICES)}.")
        if not url.startswith(("http://", "https://")):
            raise EndpointError(f"--endpoint {text!r} has no address: write {name}=https://...")
        if "@" in urlsplit(url).netloc:
            raise EndpointError(f"--endpoint {name} holds a user's name or password: give an address without.")
        endpoints[name] = url.rstrip("/")
    return endpoints


def parse_rates(texts: tuple[str, ...]) -> dict[str, float]:
    """Reads `NAME=REQUESTS_A_SECOND` settings.

    Raises:
        EndpointError: for a name that is no service, or a rate that is no positive number.
    """
    rates = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            rates[name] = float(number)
        except ValueError:
            rates[name] = 0.0
        if name not in SERVICES or not 0 < rates[name] < float("inf"):
            raise EndpointError(f"--rate {text!r} is no rate: write NAME=5, with a name of {', '.join(SERVICES)}.")
    return rates


def root_of(service: str, endpoints: Mapping[str, str]) -> str:
    """Returns the address at which a service is asked."""
    return endpoints.get(service, SERVICES[service].root)
