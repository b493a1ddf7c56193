"""Which live sources a build uses, whether they answer, and what is missing for them."""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from geodata.services.service import SERVICES
from geodata.services.session import Answer, ServiceError, Session
from geodata.sources import SourceError
from geodata.sources.live import LIVE_MODALITIES, STAC_SERVICES, TOKEN, LiveSettings
from pipelines.options import OptionError, Options
from pipelines.plan import SourceSpec
from pipelines.sources import DUMP, LIVE, parse_sources

PROBE_ATTEMPTS, PROBE_READ_S = 1, 10.0
"""A service is asked once whether it is there, and not waited for."""
ANCHORS = {"photo": "mapillary", "article": "wikipedia"}
"""Live source whose positions places are anchored on."""


@dataclass(frozen=True)
class Probe:
    """How a service answered."""

    service: str
    """One of `SERVICES`."""
    host: str
    """Whom we asked."""
    status: int | None
    """HTTP status; None where no answer came."""
    seconds: float
    """How long it took."""
    detail: str
    """What was wrong; "" where nothing was."""


def resolve_sources(options: Options) -> tuple[list[SourceSpec], list[str]]:
    """Returns the sources of a build, and notes about those that are left out.

    Raises:
        SourceError: for a path that is not there.
        OptionError: if what is required cannot be had.
    """
    specs = parse_sources(options.sources)
    if options.sources and LIVE not in [part.strip() for part in options.sources.split(",")]:
        return specs, []
    notes: list[str] = []
    for name, modality in LIVE_MODALITIES.items():
        if modality not in options.modality_names or (name in STAC_SERVICES and name != options.sentinel2):
            continue
        if name == "wikipedia" and any(spec.kind == DUMP for spec in specs):
            continue
        if name == "mapillary" and not os.environ.get(TOKEN):
            notes.append(_without_token(options))
            continue
        specs.append(SourceSpec(LIVE, name, ""))
    return specs, notes


def check_contact(options: Options, specs: Sequence[SourceSpec]) -> None:
    """Raises OptionError where Wikipedia is to be asked and nobody says by whom."""
    if not options.contact and any(spec.kind == LIVE and spec.name == "wikipedia" for spec in specs):
        raise OptionError(
            "Wikipedia's rules ask who is asking: give --contact you@example.org (make: CONTACT=...), or leave texts "
            "out with --modalities sentinel2,aerial,dem,street."
        )


def check_services(options: Options, specs: Sequence[SourceSpec]) -> list[str]:
    """Asks the services of a build whether they are there, before any work is done.

    Returns:
        Notes about those that are not, and without which it goes on.

    Raises:
        SourceError: if none answers, or one that the build cannot do without.
    """
    names = {name: LIVE_MODALITIES[name] for name in (spec.name for spec in specs if spec.kind == LIVE)}
    if not names:
        return []
    probes = probe_services(options.live_settings, services_of(list(names)))
    silent = {probe.service: probe for probe in probes if probe.status is None}
    notes = []
    for name, modality in names.items():
        lost = [silent[service] for service in services_of([name]) if service in silent]
        if not lost:
            continue
        needed = modality in options.required or name == anchor_source(options, specs)
        if needed or len(silent) == len(probes):
            raise SourceError(
                f"The service {lost[0].service} at {lost[0].host} could not be reached ({lost[0].detail}): check the "
                "network, or give --sources folder:PATH; make corpus alone (REGION=demo) needs no network."
            )
        notes.append(
            f"note: {lost[0].service} at {lost[0].host} could not be reached ({lost[0].detail}): its {modality} is "
            "dropped with that reason; --retry_failed asks again."
        )
    return notes


def anchor_source(options: Options, specs: Sequence[SourceSpec]) -> str | None:
    """Returns the source on whose positions places are anchored; None where they come from elsewhere.

    Raises:
        OptionError: if the wanted anchors cannot be had.
    """
    if options.sampling not in ("auto", "anchored") or not any(spec.kind == LIVE for spec in specs):
        return None
    names = {spec.name if spec.kind == LIVE else DUMP: spec.name for spec in specs if spec.kind in (LIVE, DUMP)}
    photo, article = names.get("mapillary"), names.get("wikipedia")
    found = {"any": photo or article, "photo": photo, "article": article}.get(options.anchors)
    if found is None:
        raise OptionError(
            f"No live source offers the anchors {options.anchors!r}: set {TOKEN}, give texts (--contact), or choose "
            "--sampling uniform or --sampling file."
        )
    return found


def services_of(sources: Sequence[str]) -> list[str]:
    """Returns the services that live sources ask first of all."""
    asked: dict[str, None] = {}
    for name in sources:
        if name in STAC_SERVICES:
            asked[STAC_SERVICES[name]] = None
        elif name == "mapillary":
            asked |= {"mapillary": None, "mapillary_tiles": None}
        elif name == "wikipedia":
            asked["wikipedia"] = None
    return list(asked)


def probe_services(settings: LiveSettings, services: Sequence[str]) -> list[Probe]:
    """Asks each service once, all at the same time."""
    http = replace(settings.http, attempts=PROBE_ATTEMPTS, read_s=PROBE_READ_S, cache="")
    session = Session(http)
    with ThreadPoolExecutor(max(1, len(services))) as pool:
        probes = list(pool.map(lambda service: _probe(session, service, settings), services))
    session.close()
    return probes


def _probe(session: Session, service: str, settings: LiveSettings) -> Probe:
    url = session.root(service).format(language=settings.languages[0])
    params = {"action": "query", "meta": "siteinfo", "format": "json"} if service == "wikipedia" else None
    start = time.monotonic()
    status, detail = None, ""
    try:
        status = session.request(service, url, parse=_status, params=params, accept=tuple(range(200, 600)))
    except ServiceError as error:
        status, detail = error.status, error.detail
    return Probe(service, urlsplit(url).netloc, status, time.monotonic() - start, detail)


def _status(answer: Answer) -> int:
    return answer.status


def _without_token(options: Options) -> str:
    sentence = f"{TOKEN} is not set, so the corpus is built without street-level photos: {SERVICES['mapillary'].needs}"
    if "street" in options.required:
        raise OptionError(f"{TOKEN} is not set, but --require street needs it: {SERVICES['mapillary'].needs}.")
    return f"note: {sentence}."
