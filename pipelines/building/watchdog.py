"""Ends the waiting for a source that hangs: what takes too long is given up, and soon the source is too.

A thread cannot be stopped from outside. One that hangs is left behind and a new one takes its place; being daemons,
they do not keep a process alive.
"""

import queue
import threading
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

MOST_OVERDUE = 3
"""After so many reads that hung a source is not asked again by this worker."""

_Task = tuple["Future[Any]", Callable[[], Any]]


class OverdueError(Exception):
    """A source did not answer in time."""


class Watchdog:
    """Runs reads and searches, each within a limit; safe to be called by several threads."""

    def __init__(self, limit_s: float) -> None:
        """Takes the longest that one may last; 0 for any length."""
        self._limit_s = limit_s
        self._overdue: Counter[str] = Counter()
        self._idle: deque[_Worker] = deque()

    def has_hung(self, source: str) -> bool:
        """Returns whether the source was given up once: what it holds open may still be in use."""
        return self._overdue[source] > 0

    def run(self, source: str, read: Callable[[], Any], *, times: float = 1.0) -> Any:
        """Returns what a read or a search returns.

        Args:
            times: how many times the limit it may last.

        Raises:
            OverdueError: if it takes too long, or others of its source did.
        """
        if not self._limit_s:
            return read()
        if self._overdue[source] >= MOST_OVERDUE:
            raise OverdueError(f"the source has hung {MOST_OVERDUE} times and is not asked again in this run")
        try:
            worker = self._idle.pop()
        except IndexError:
            worker = _Worker()
        future = worker.submit(read)
        limit_s = self._limit_s * times
        try:
            future.exception(timeout=limit_s)
        except TimeoutError:
            self._overdue[source] += 1
            raise OverdueError(f"no answer within {limit_s:g} s (--overdue)") from None
        self._idle.append(worker)
        return future.result()

    def close(self) -> None:
        """Ends the threads that do not hang."""
        while self._idle:
            self._idle.pop().close()


class _Worker:
    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="reader", daemon=True)
        self._thread.start()

    def submit(self, read: Callable[[], Any]) -> "Future[Any]":
        future: Future[Any] = Future()
        self._tasks.put((future, read))
        return future

    def close(self) -> None:
        self._tasks.put(None)
        self._thread.join()

    def _serve(self) -> None:
        while (task := self._tasks.get()) is not None:
            future, read = task
            try:
                future.set_result(read())
            except BaseException as error:  # noqa: BLE001 - handed to the caller, who raises it
                future.set_exception(error)
