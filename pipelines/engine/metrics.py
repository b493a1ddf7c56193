"""Names of all Beam counters."""

from collections import Counter
from collections.abc import Mapping

from apache_beam.metrics import Metrics

from geodata.services.session import Session

FOUND, KEPT, DROPPED, SHARDS, FAILED = "found", "kept", "dropped", "shards", "failed"
BYTES, REQUESTS, RECEIVED = "bytes", "requests", "received"


def count(name: str, label: str = "", by: int = 1) -> None:
    """Adds to the counter `name` or `name.label` of the namespace sameplace."""
    Metrics.counter("sameplace", f"{name}.{label}" if label else name).inc(by)


def count_traffic(session: Session, sent: Counter[str], received: Counter[str]) -> None:
    """Counts requests and bytes of each service since a session had sent and received so many."""
    for service, number in (session.sent - sent).items():
        count(REQUESTS, service, by=number)
    for service, size in (session.received - received).items():
        count(RECEIVED, service, by=size)


def read_traffic(counters: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Returns requests and received bytes by service, from the counters of a run."""
    return {
        name: {label.removeprefix(f"{name}."): n for label, n in counters.items() if label.startswith(f"{name}.")}
        for name in (REQUESTS, RECEIVED)
    }
