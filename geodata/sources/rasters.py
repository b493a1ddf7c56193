"""Rasters read over HTTP by GDAL: opened once, signed when read, tried again where that may help."""

import itertools
import logging
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import rasterio
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from geodata.services.redact import redact
from geodata.services.session import AGENT, HttpSettings, ServiceError, Session, Transient
from geodata.services.signing import Signer, is_blob
from geodata.sources.source import ReadError
from schemas.drop import Reason

T = TypeVar("T")

OPEN_RASTERS = 96
"""Rasters kept open: seven scenes of thirteen files. Opening one costs a request for its header."""
_GONE = re.compile(r"\b(404|410)\b|BlobNotFound|does not exist", re.IGNORECASE)
_REFUSED = re.compile(r"\b40[13]\b")
_NO_RASTER = re.compile(r"not recognized as|not a TIFF|Cannot read TIFF|unsupported", re.IGNORECASE)


def _redact_record(record: logging.LogRecord) -> bool:
    record.msg, record.args = redact(record.getMessage()), ()
    return True


logging.getLogger("rasterio._env").addFilter(_redact_record)  # GDAL's warnings hold signed addresses


@dataclass
class _Entry:
    """One raster; only one thread reads it at a time, for GDAL's handles cannot be shared."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    dataset: DatasetReader | None = None
    url: str = ""
    users: int = 0


class Rasters:
    """A pool of open rasters; threads may share one."""

    def __init__(self, session: Session, signer: Signer, *, most: int = OPEN_RASTERS) -> None:
        self._session, self._signer, self._most = session, signer, most
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._lock = threading.Lock()
        self._options = gdal_options(session.settings)

    def read(self, href: str, look: Callable[[DatasetReader], T]) -> T:
        """Returns what a function sees in an open raster.

        A refusal renews the token and repeats the read, once; what may be transient is repeated after a pause.

        Args:
            href: unsigned address.

        Raises:
            ReadError: if it cannot be read; retryable where it may be later.
        """
        entry = self._borrow(href)
        try:
            with entry.lock, rasterio.Env(**self._options):
                return self._attempt(href, entry, look)
        finally:
            with self._lock:
                entry.users -= 1

    def close(self) -> None:
        """Closes all rasters."""
        with self._lock:
            for entry in self._entries.values():
                _shut(entry)
            self._entries.clear()

    def _attempt(self, href: str, entry: _Entry, look: Callable[[DatasetReader], T]) -> T:
        service, tries = "blob" if is_blob(href) else "s3", itertools.count(1)
        refused: list[str] = []

        def attempt() -> T:
            number = next(tries)
            try:
                return self._look(href, entry, look, number, refused)
            except RasterioError as error:
                _shut(entry)
                fault = redact(_explain(error))
                if _REFUSED.search(fault) and is_blob(href) and not refused:
                    refused.append(entry.url)
                    return attempt()
                if _GONE.search(fault) or (_NO_RASTER.search(fault) and number > 1):
                    raise _verdict(href, fault) from error
                raise Transient(fault) from error

        try:
            return self._session.persist(service, href.rpartition("/")[2], attempt)
        except ServiceError as error:
            raise ReadError(Reason.SERVICE, redact(str(error)), retryable=True) from error

    def _look(self, href: str, entry: _Entry, look: Callable[[DatasetReader], T], number: int, refused: list[str]) -> T:
        if entry.dataset is None:
            entry.url = self._signer.sign(href, refused=refused[-1] if refused else None)
            self._session.spend("blob" if is_blob(href) else "s3")
            entry.dataset = rasterio.open(f"/vsicurl/{_fresh(entry.url, number)}")
        return look(entry.dataset)

    def _borrow(self, href: str) -> _Entry:
        with self._lock:
            entry = self._entries.setdefault(href, _Entry())
            self._entries.move_to_end(href)
            entry.users += 1
            idle = [key for key, other in self._entries.items() if other.users == 0]
            for key in idle[: max(0, len(self._entries) - self._most)]:
                _shut(self._entries.pop(key))
        return entry


def gdal_options(settings: HttpSettings) -> dict[str, str | int | float]:
    """Returns how GDAL asks: no listing of folders, the header in one request; the session repeats what fails."""
    return {
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_INGESTED_BYTES_AT_OPEN": 32_768,
        "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".tif,.tiff",
        "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES", "GDAL_HTTP_CONNECTTIMEOUT": settings.connect_s,
        "GDAL_HTTP_TIMEOUT": settings.read_s, "GDAL_HTTP_MAX_RETRY": 0,
        
        "GDAL_HTTP_USERAGENT": AGENT.format(contact=settings.contact or "no contact given"), "PROJ_NETWORK": "OFF",
    }  # fmt: skip


def _fresh(url: str, attempt: int) -> str:
    """GDAL remembers of an address that it failed; another address of the same file makes it ask again."""
    return url if attempt == 1 else f"{url}{'&' if '?' in url else '?'}x-attempt={attempt}"


def _shut(entry: _Entry) -> None:
    if entry.dataset is not None:
        entry.dataset.close()
        entry.dataset = None


def _verdict(href: str, fault: str) -> ReadError:
    name = href.rpartition("/")[2]
    if _GONE.search(fault):
        return ReadError(Reason.MISSING_FILE, f"{name}: {fault}")
    if _NO_RASTER.search(fault):
        return ReadError(Reason.UNREADABLE, f"{name}: {fault}")
    return ReadError(Reason.SERVICE, f"{name}: {fault}", retryable=True)


def _explain(error: BaseException) -> str:
    """All that GDAL said, in one line."""
    said: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        if str(cause) and "See previous exception" not in str(cause):
            said.append(str(cause))
        cause = cause.__cause__ or cause.__context__
    return "; ".join(dict.fromkeys(said))[:400]
