"""The one place where requests are sent: budgets, time-outs, retries, the cache, and no secret in any message.

What is transient is tried again with full jitter (Brooker, Exponential Backoff And Jitter, AWS Architecture Blog,
2015), or when the service says so. What a body means is known to the service's client, which parses it inside the
attempt, so that a broken body counts as a failed attempt.
"""

import json
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

import requests
import urllib3

from geodata.services.budget import TokenBucket
from geodata.services.cache import AnswerCache
from geodata.services.redact import redact, strip_tokens
from geodata.services.service import SERVICES, Service, root_of
from geodata.services.transport import Transport

T = TypeVar("T")

TRANSIENT_STATUS = frozenset([408, 429, 500, 502, 503, 504])
"""Answers after which the same request may succeed."""
GIVE_UP_AFTER = 3
"""After so many requests in a row have failed for good, a service is left alone."""
PROBE_S = 30.0
"""A service that was given up is asked once in so long whether it is back."""
MAX_WAIT_S = 120.0
"""A service that wants us to wait longer than this is not waited for."""
MAX_SILENCES, MAX_BYTES = 5, 256_000_000
"""An answer may last so many times the longest silence, and be so large."""
CHUNK_BYTES = 1 << 18
"""Taken from the network at once: most photos whole."""
AGENT = "sameplace/0.1 (corpus builder; {contact})"


class ServiceError(Exception):
    """A service did not give what was asked of it."""

    def __init__(self, service: str, detail: str, *, status: int | None = None, retryable: bool = False) -> None:
        super().__init__(f"{service}: {detail}")
        self.service, self.detail, self.status, self.retryable = service, detail, status, retryable


class Transient(Exception):  # noqa: N818 - a verdict about one attempt, not an error that leaves this layer
    """This attempt failed; the next may not."""

    def __init__(self, detail: str, *, after_s: float | None = None) -> None:
        super().__init__(detail)
        self.detail, self.after_s = detail, after_s


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    """HTTP status."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    """Decoded from its transfer encoding."""

    def json(self) -> Any:
        """Returns the body as JSON.

        Raises:
            Transient: for anything else, such as the HTML page of a proxy.
        """
        try:
            return json.loads(self.body)
        except ValueError as error:
            kind = self.headers.get("content-type", "no content type")
            raise Transient(f"no JSON but {len(self.body)} bytes of {kind}") from error


@dataclass(frozen=True)
class HttpSettings:
    """How services are asked; nothing here shapes the corpus."""

    endpoints: Mapping[str, str] = field(default_factory=dict)
    """Addresses that replace those of `SERVICES`."""
    rates: Mapping[str, float] = field(default_factory=dict)
    """Requests a second that replace those of `SERVICES`; the burst grows with them."""
    contact: str = ""
    """Of the operator, for the User-Agent."""
    cache: str = ""
    """Folder of raw answers; "" keeps none."""
    workers: int = 1
    """Processes that share the budgets."""
    attempts: int = 5
    """Times one request is sent at most."""
    connect_s: float = 5.0
    """Time-out of a connection."""
    read_s: float = 60.0
    """Longest silence of a service while it answers."""
    patience_s: float = 120.0
    """How long a request waits for a service that is down, beyond its attempts."""
    backoff_s: float = 1.0
    """Upper bound of the first pause; it doubles from attempt to attempt."""


class Session:
    """Sends requests; threads may share one, processes may not."""

    def __init__(self, settings: HttpSettings, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.settings = settings
        self.sent: Counter[str] = Counter()
        """Requests to each service."""
        self.received: Counter[str] = Counter()
        """Bytes of the bodies that came, as they came over the network; without those of GDAL."""
        self.waited_s: defaultdict[str, float] = defaultdict(float)
        """From the requests to the ends of their answers; GDAL's with the time of decoding."""
        self._sleep, self._lock = sleep, threading.Lock()
        agent = AGENT.format(contact=settings.contact or "no contact given")
        self._transport = Transport(agent, connect_s=settings.connect_s, read_s=settings.read_s)
        self._cache = AnswerCache(settings.cache) if settings.cache else None
        self._buckets = {name: _make_bucket(service, settings) for name, service in SERVICES.items()}
        self._slots = {name: _make_slots(service, settings.workers) for name, service in SERVICES.items()}
        self._failures: Counter[str] = Counter()
        self._answered: dict[str, float] = {}
        self._given_up: dict[str, float] = {}

    def root(self, service: str) -> str:
        """Returns the address of a service."""
        return root_of(service, self.settings.endpoints)

    def request(
        self, service: str, url: str, *, parse: Callable[[Answer], T], params: Mapping[str, str | int] | None = None,
        body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None,
        accept: tuple[int, ...] = (200,),
        classify: Callable[[Answer], None] | None = None, cache_key: str | None = "",
    ) -> T:  # fmt: skip
        """Sends a request until it succeeds or there is no hope.

        Args:
            service: one of `SERVICES`.
            parse: reads the answer; a Transient it raises counts as a failed attempt.
            params: query of the URL; never holds a secret.
            body: sent as JSON by POST where it is not None.
            headers: may hold a secret: they appear in no message and no cache key.
            accept: statuses that `parse` understands.
            classify: sees every answer first, whatever its status, and may raise Transient or ServiceError.
            cache_key: name of the answer in the cache where the URL is not one; None for what must not be kept.

        Raises:
            ServiceError: when it failed for good.
        """
        full = f"{url}?{urlencode(params)}" if params else url
        key = None if cache_key is None else f"{service} {cache_key or full} {json.dumps(body, sort_keys=True)}"
        kept = self._cache.read(key) if self._cache and key else None
        if kept is not None:
            return parse(Answer(*kept))

        def attempt() -> tuple[Answer, T]:
            answer = self._send(service, full, body, headers)
            if classify is not None:
                classify(answer)
            _check_status(service, answer, accept)
            return answer, parse(answer)

        answer, parsed = self.persist(service, _host_of(full), attempt)
        if self._cache and key:
            self._cache.write(key, answer.status, answer.headers, strip_tokens(answer.headers, answer.body))
        return parsed

    def persist(self, service: str, where: str, attempt: Callable[[], T]) -> T:
        """Repeats what may be transient, and waits for a service that is down, until patience ends.

        A service is down while nobody has had an answer from it since this request began.

        Args:
            where: named in errors.
            attempt: raises Transient where it may be repeated.

        Raises:
            ServiceError: when it failed for good.
        """
        self._refuse_if_given_up(service)
        start, number = time.monotonic(), 0
        while True:
            number += 1
            try:
                result = attempt()
            except Transient as fault:
                wait_s = self._pause_s(min(number, self.settings.attempts), fault.after_s)
                is_down = self._answered.get(service, 0.0) < start
                is_patient = is_down and time.monotonic() - start < self.settings.patience_s
                if (number < self.settings.attempts or is_patient) and wait_s <= MAX_WAIT_S:
                    self._sleep(wait_s)
                    continue
                self._failures[service] += 1
                if is_down and self._failures[service] >= GIVE_UP_AFTER:
                    self._given_up[service] = time.monotonic()
                times = f"{number} time{'s' if number > 1 else ''}"
                detail = f"{where} failed {times}, last with: {redact(fault.detail)}"
                raise ServiceError(service, detail, retryable=True) from fault
            self._answered[service] = time.monotonic()
            self._given_up.pop(service, None)
            self._failures[service] = 0
            return result

    def spend(self, service: str) -> None:
        """Takes one request from a service's budget, for what this session does not send itself."""
        if (wait_s := self._buckets[service].reserve()) > 0:  # no wait still gives the processor away
            self._sleep(wait_s)
        with self._lock:
            self.sent[service] += 1

    def note_answer(self, service: str, size: int, waited_s: float) -> None:
        """Counts an answer's bytes and how long it took."""
        with self._lock:
            self.received[service] += size
            self.waited_s[service] += waited_s

    def close(self) -> None:
        """Closes all connections."""
        self._transport.close()

    def _send(
        self, service: str, url: str, body: Mapping[str, Any] | None, headers: Mapping[str, str] | None
    ) -> Answer:
        self.spend(service)
        start = time.monotonic()
        try:
            with self._slots[service], self._transport.open(url, body, headers or {}) as answer:
                content = b"".join(_read_slowly(answer, MAX_SILENCES * self.settings.read_s))
                self.note_answer(service, answer.tell(), time.monotonic() - start)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise Transient(_explain(error)) from error
        return Answer(answer.status, {name.lower(): value for name, value in answer.headers.items()}, content)

    def _pause_s(self, attempt: int, after_s: float | None) -> float:
        jitter_s = random.uniform(0, self.settings.backoff_s * 2 ** (attempt - 1))
        return jitter_s if after_s is None else after_s + jitter_s / 10

    def _refuse_if_given_up(self, service: str) -> None:
        """Lets one request in a while see whether a service has come back; the others fail at once."""
        with self._lock:
            since = self._given_up.get(service)
            if since is None:
                return
            if time.monotonic() - since > PROBE_S:
                self._given_up[service] = time.monotonic()
                return
        raise ServiceError(service, f"is down: nothing came for {self.settings.patience_s:.0f} s", retryable=True)


def _host_of(url: str) -> str:
    """Host and port, without a user's name and password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _make_bucket(service: Service, settings: HttpSettings) -> TokenBucket:
    rate = settings.rates.get(service.name, service.rate_per_s)
    share = 1 / settings.workers
    return TokenBucket(rate * share, service.burst * share * max(1.0, rate / service.rate_per_s))


def _make_slots(service: Service, workers: int) -> AbstractContextManager[object]:
    return threading.BoundedSemaphore(max(1, service.at_once // workers)) if service.at_once else nullcontext()


def _read_slowly(answer: urllib3.BaseHTTPResponse, limit_s: float) -> Iterator[bytes]:
    """Yields a body; one that comes in drops, each before its time-out, has to end as well."""
    start, size = time.monotonic(), 0
    while chunk := answer.read1(CHUNK_BYTES, decode_content=True):
        size += len(chunk)
        if time.monotonic() - start > limit_s:
            raise Transient(f"{size} bytes in {limit_s:.0f} s, and no end")
        if size > MAX_BYTES:
            raise Transient(f"more than {MAX_BYTES / 1e6:.0f} MB")
        yield chunk


def parse_retry_after(value: str | None) -> float | None:
    """Returns the seconds that a Retry-After header asks for: a number or an HTTP date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())


def _check_status(service: str, answer: Answer, accept: tuple[int, ...]) -> None:
    if answer.status in accept:
        return
    text = redact(answer.body[:200].decode("utf-8", "replace").strip().replace("\n", " "))
    detail = f"HTTP {answer.status}{': ' if text else ''}{text}"
    if answer.status in TRANSIENT_STATUS:
        raise Transient(detail, after_s=parse_retry_after(answer.headers.get("retry-after")))
    raise ServiceError(service, detail, status=answer.status)


def _explain(error: Exception) -> str:
    """One phrase for what happened, without the URL and the nesting of the library's own message."""
    cause: BaseException = error
    while (deeper := cause.__cause__ or cause.__context__) is not None:
        cause = deeper
    return redact(f"{type(error).__name__} ({str(cause)[:160] or type(cause).__name__})")
