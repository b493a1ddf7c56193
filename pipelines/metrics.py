"""Names of all Beam counters."""

from apache_beam.metrics import Metrics

FOUND, KEPT, DROPPED, SHARDS, FAILED = "found", "kept", "dropped", "shards", "failed"
BYTES, REQUESTS = "bytes", "requests"


def count(name: str, label: str = "", by: int = 1) -> None:
    """Adds to the counter `name` or `name.label` of the namespace sameplace."""
    Metrics.counter("sameplace", f"{name}.{label}" if label else name).inc(by)
