"""How fast a service may be asked: a token bucket, whose rate is divided among the workers."""

import threading
import time
from collections.abc import Callable


class TokenBucket:
    """Gives out requests at a steady rate after an initial burst; threads may share one."""

    def __init__(self, rate_per_s: float, burst: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate_per_s, max(1.0, burst), clock
        self._tokens, self._seen = self._burst, clock()
        self._lock = threading.Lock()

    def reserve(self) -> float:
        """Takes one request and returns how many seconds to wait before sending it."""
        with self._lock:
            now = self._clock()
            self._tokens = min(self._burst, self._tokens + (now - self._seen) * self._rate)
            self._seen = now
            self._tokens -= 1
            return max(0.0, -self._tokens / self._rate)
