"""Which live sources a build uses, whether they answer, and what is missing for them."""

import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from geodata import cells
from geodata.regions import Region, find_country
from geodata.sampling import uniform_stream
from geodata.services.orthophotos import WITHOUT_OPEN_SERVICE, find_orthophoto
from geodata.services.redact import redact
from geodata.services.service import SERVICES
from geodata.services.session import Answer, ServiceError, Session
from geodata.sources import SourceError
from geodata.sources.live import LIVE_MODALITIES, STAC_SERVICES, TOKEN, LiveSettings, read_token
from pipelines.plan.options import OptionError, Options
from pipelines.plan.plan import SourceSpec
from pipelines.sources.words import DUMP, FILES, LIVE, parse_sources

PROBE_ATTEMPTS, PROBE_READ_S = 1, 10.0
"""A service is asked once whether it is there, and not waited for."""
ANCHORS = {"photo": "mapillary", "article": "wikipedia"}
"""Live source whose positions places are anchored on."""


_QUESTIONS: dict[str, tuple[str, dict[str, str | int] | None]] = {
    "wikipedia": ("", {"action": "query", "meta": "siteinfo", "format": "json"}),
    "sas": ("/token/sentinel2l2a01/sentinel2-l2", None),
    "mapillary": ("/images", {"image_ids": "1", "fields": "id"}),
    "mapillary_tiles": ("/mly1_public/2/6/33/21", None),
}
"""What a service is asked to see whether it answers: path and query."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's table."""

    what: str
    """Service, credential or disk."""
    is_good: bool
    """False where a build would lack something."""
    found: str
    """What was found."""
    remedy: str
    """What to do; "" where nothing."""


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
    size_bytes: int = 0
    """Of the answer."""

    @property
    def is_refused(self) -> bool:
        """True where the service answered that we may not ask."""
        is_token = self.service.startswith("mapillary") and bool(re.search(r'"code":\s*190\b', self.detail))
        return self.status in (401, 403) or is_token


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
        if name == "mapillary" and not read_token():
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
    refused = next((p for p in probes if p.is_refused and p.service.startswith("mapillary")), None)
    if refused is not None:
        raise SourceError(
            f"{TOKEN} is refused by {refused.host}: {SERVICES['mapillary'].needs}; or unset it to build without photos."
        )
    silent = {probe.service: probe for probe in probes if probe.status is None or probe.is_refused}
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
    if any(spec.kind in FILES for spec in specs):
        return None  # what the user's files hold comes first
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
    http = replace(settings.http, attempts=PROBE_ATTEMPTS, patience_s=0, read_s=PROBE_READ_S, cache="")
    session = Session(http)
    with ThreadPoolExecutor(max(1, len(services))) as pool:
        probes = list(pool.map(lambda service: _probe(session, service, settings), services))
    session.close()
    return probes


def examine_services(options: Options, specs: Sequence[SourceSpec], region: Region) -> list[Finding]:
    """Asks every service of a build with the user's credentials, and says what is missing."""
    names = [spec.name for spec in specs if spec.kind == LIVE]
    services = services_of(names)
    if any(name in ("planetary-computer", "orthophotos") for name in names):
        services.append("sas")
    if not read_token() and "street" in options.modality_names:
        services.append("mapillary")
    findings = []
    for probe in probe_services(options.live_settings, services):
        answer = f"{probe.host} answers in {1000 * probe.seconds:.0f} ms" if probe.status else probe.detail
        findings.append(_judge_probe(probe, answer, options))
    if "orthophotos" in names:
        findings.append(_examine_aerial(region))
    return findings


def _judge_probe(probe: Probe, answer: str, options: Options) -> Finding:
    needs = SERVICES[probe.service].needs
    if probe.status is None:
        return Finding(probe.service, False, answer, "check the network, or give --endpoint NAME=URL of a mirror")
    if probe.service.startswith("mapillary"):
        if not read_token():
            return Finding(probe.service, "street" not in options.required, f"{answer}; no token", f"optional: {needs}")
        if probe.is_refused:
            return Finding(probe.service, False, f"{answer}, HTTP {probe.status}: the token is refused", needs)
        if probe.status >= 500:
            return Finding(probe.service, False, f"{answer}, HTTP {probe.status}", "try again later")
        return Finding(probe.service, True, f"{answer}; token accepted", "")
    if probe.service == "wikipedia" and not options.contact:
        return Finding(probe.service, False, f"{answer}; no contact", f"give {needs}")
    is_good = probe.status < 400
    return Finding(probe.service, is_good, f"{answer}, HTTP {probe.status}", "" if is_good else "try again later")


def _examine_aerial(region: Region) -> Finding:
    """What share of the region's land has an open orthophoto, by points uniform in area."""
    points = cells.centres(next(uniform_stream(region, seed=0, resolution=7)))
    countries = find_country(points[:, 0], points[:, 1])
    open_ones = {c: "NAIP" if c == "US" else find_orthophoto(c) for c in sorted({c for c in countries if c})}
    served = [country for country, service in open_ones.items() if service]
    share = sum(country in served for country in countries) / max(1, len(countries))
    found = f"{share:.0%} of the land has open orthophotos ({', '.join(served) or 'no country'})"
    lacking = [country for country in open_ones if country not in served]
    reasons = "; ".join(f"{country}: {WITHOUT_OPEN_SERVICE.get(country, 'none known')}" for country in lacking[:3])
    more = f"; and {len(lacking) - 3} more" if len(lacking) > 3 else ""
    return Finding("aerial", True, found, f"elsewhere dropped ({reasons}{more})" if lacking else "")


def _probe(session: Session, service: str, settings: LiveSettings) -> Probe:
    url = session.root(service).format(language=settings.languages[0])
    path, params = _QUESTIONS.get(service, ("", None))
    token = read_token() if service.startswith("mapillary") else None
    headers = {"Authorization": f"OAuth {token}"} if token else None
    start = time.monotonic()
    status, detail = None, ""
    try:
        status, detail = session.request(
            service, url + path, parse=_status, params=params, headers=headers, accept=tuple(range(200, 600)),
            cache_key=None,
        )  # fmt: skip
    except ServiceError as error:
        status, detail = error.status, str(error.__cause__ or error.detail)
    seconds = time.monotonic() - start
    return Probe(service, urlsplit(url).netloc, status, seconds, detail, session.received[service])


def _status(answer: Answer) -> tuple[int, str]:
    text = answer.body[:400].decode("utf-8", "replace") if answer.status >= 400 else ""
    return answer.status, redact(" ".join(text.split()))[:200]


def _without_token(options: Options) -> str:
    sentence = f"{TOKEN} is not set, so the corpus is built without street-level photos: {SERVICES['mapillary'].needs}"
    if "street" in options.required:
        raise OptionError(f"{TOKEN} is not set, but --require street needs it: {SERVICES['mapillary'].needs}.")
    return f"note: {sentence}."
