"""What a build says: sentences for people on stderr, or the same events as JSON lines for programs."""

import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import TextIO


class Log:
    """Says things in one of two ways."""

    def __init__(self, as_json: bool = False, stream: TextIO | None = None) -> None:
        """Takes whether programs listen."""
        self.as_json = as_json
        self._stream = stream or sys.stderr
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long the run has lasted."""
        return time.monotonic() - self._start

    def say(self, event: str, text: str, **facts: object) -> None:
        """Says what happened: the text, or the event with its facts."""
        line = text
        if self.as_json:
            head = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event}
            line = json.dumps({**head, **(facts or {"text": text})}, ensure_ascii=False)
        print(line, file=self._stream, flush=True)

    def catch_logging(self) -> None:
        """Sends the warnings of libraries the same way."""
        handler = _Handler(self) if self.as_json else logging.StreamHandler(self._stream)
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", force=True, handlers=[handler])
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # what matters comes back as an exception


class _Handler(logging.Handler):
    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.say("log", "", level=record.levelname, logger=record.name, message=record.getMessage())
