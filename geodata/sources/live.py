"""The live sources of a process: opened by name, sharing one session, one signer and one pool of rasters.

What a source needs is imported when it is opened: each worker process pays only for the clients that it uses.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from geodata.judge import Thresholds
from geodata.observe import Encoding
from geodata.services.secret import read_secret
from geodata.services.session import HttpSettings, Session
from geodata.sources.files import Limits
from geodata.sources.remote import RemoteSource
from geodata.sources.scene_choice import SceneChoice
from geodata.sources.source import SourceError

if TYPE_CHECKING:
    from geodata.services.stac_api import StacSearch
    from geodata.sources.rasters import Rasters

TOKEN = "MAPILLARY_TOKEN"
"""Environment variable of the Mapillary token: the one secret, read where it is used and written nowhere."""

STAC_SERVICES = {"planetary-computer": "stac", "earth-search": "earth_search"}
"""Service that each provider of scenes is asked at."""

LIVE_MODALITIES: Mapping[str, str] = {
    "planetary-computer": "sentinel2", "earth-search": "sentinel2", "orthophotos": "aerial", "copernicus-dem": "dem",
    "mapillary": "street", "wikipedia": "text",
}  # fmt: skip
"""Live sources by name, and what they offer."""


def read_token() -> str:
    """Returns the Mapillary token, "" where none is set.

    Raises:
        SourceError: if it cannot be one.
    """
    token = os.environ.get(TOKEN, "").strip()
    if not re.fullmatch(r"[!-~]*", token):
        raise SourceError(f"{TOKEN} holds a blank or a sign that no token has: copy it anew.")
    return token


def adopt_token(secret: str) -> None:
    """Takes the token from Google Secret Manager into this process's environment where it has none.

    Raises:
        SourceError: if the secret cannot be read.
    """
    if secret and not os.environ.get(TOKEN):
        os.environ[TOKEN] = read_secret(secret)


@dataclass(frozen=True)
class LiveSettings:
    """How live sources are asked."""

    http: HttpSettings = field(default_factory=HttpSettings)
    """Addresses, contact, cache, retries."""
    scenes: SceneChoice = field(default_factory=SceneChoice)
    """Which Sentinel-2 scenes count."""
    limits: Limits = field(default_factory=Limits)
    """Observations per cell."""
    thresholds: Thresholds = field(default_factory=Thresholds)
    """The judges' limits."""
    encoding: Encoding = field(default_factory=Encoding)
    """Pixel sizes, panoramas."""
    languages: tuple[str, ...] = ("en",)
    """Wikipedias, the preferred first."""
    photo_search: str = "tiles"
    """tiles or boxes."""
    token_secret: str = ""
    """Where a process finds the Mapillary token that has none in its environment; the name, never the token."""


class LiveSources:
    """Opens live sources; one for a process."""

    def __init__(self, settings: LiveSettings) -> None:
        self.settings = settings
        adopt_token(settings.token_secret)
        self.session = Session(settings.http)
        self._opened: dict[str, RemoteSource] = {}

    def open(self, name: str) -> RemoteSource:
        """Returns the source of that name, the same at each call."""
        if name not in self._opened:
            self._opened[name] = self._make(name)
        return self._opened[name]

    def close(self) -> None:
        """Closes all sources and connections."""
        for source in self._opened.values():
            source.close()
        self._opened.clear()
        self.session.close()

    @cached_property
    def rasters(self) -> "Rasters":
        """The open rasters of all sources."""
        from geodata.services.signing import Signer
        from geodata.sources.rasters import Rasters

        return Rasters(self.session, Signer(self.session))

    @cached_property
    def _stac(self) -> "StacSearch":
        return self._search(STAC_SERVICES[self.settings.scenes.provider])

    def _search(self, service: str) -> "StacSearch":
        from geodata.services.stac_api import StacSearch

        return StacSearch(self.session, service)

    def _make(self, name: str) -> RemoteSource:
        settings, cache = self.settings, self.settings.http.cache
        if name in STAC_SERVICES:
            from geodata.sources.sentinel2 import Sentinel2Source

            return Sentinel2Source(self._stac, self.rasters, settings.scenes, limits=settings.limits, cache=cache)
        if name == "copernicus-dem":
            from geodata.sources.elevation import ElevationSource

            return ElevationSource(self._stac, self.rasters, cache=cache)
        if name == "orthophotos":
            from geodata.sources.aerial import AerialSource

            # Earth Search's NAIP lies in a bucket whose readers pay
            stac = self._search("stac") if settings.scenes.provider == "earth-search" else self._stac
            gsd_m = settings.encoding.aerial_gsd_m
            return AerialSource(self.session, stac, self.rasters, limits=settings.limits, gsd_m=gsd_m)
        if name == "mapillary":
            from geodata.services.mapillary import Mapillary
            from geodata.sources.street import StreetSource

            mapillary = Mapillary(self.session, read_token())
            return StreetSource(
                mapillary, self.session, limits=settings.limits, photo_px=settings.encoding.photo_px,
                search=settings.photo_search, pano=settings.encoding.pano,
            )  # fmt: skip
        if name == "wikipedia":
            from geodata.services.mediawiki import MediaWiki
            from geodata.sources.encyclopaedia import WikipediaSource

            wikis = {language: MediaWiki(self.session, language) for language in settings.languages}
            return WikipediaSource(wikis, limits=settings.limits, thresholds=settings.thresholds)
        raise ValueError(f"Unknown live source {name!r}: choose from {', '.join(LIVE_MODALITIES)}.")
