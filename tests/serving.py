"""A page's server while a test asks it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from schemas.page.loopback import LoopbackServer

S = TypeVar("S", bound=LoopbackServer)


@contextmanager
def serve(server: S) -> Iterator[S]:
    """Lets a server answer in a thread, and ends it."""
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
