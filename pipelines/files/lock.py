"""One run at a time in the folder of a corpus; parts of a job array share it.

The lock is the system's own (flock) on a small file that tells who holds it: it ends with its process, however that
ends, so nothing stale can bar the way. At gs:// and s3:// there is no such lock, and some network drives keep none
either: there two runs do not see each other.
"""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from pipelines.files import storage

LOCK = "build.lock"
"""Lies in the folder of a corpus while something is at work there."""


class BusyError(ValueError):
    """Another run is at work in the same folder: one sentence with fact and remedy."""


@contextmanager
def hold(output: str, part: str = "") -> Iterator[None]:
    """Keeps a corpus for this run until the block ends; a folder made for it is gone then if nothing came into it.

    Args:
        part: the part of a job array that this run builds, `k/N`: other parts may be at work, the same may not.

    Raises:
        BusyError: if another run holds it.
        OSError: if the folder cannot be written.
    """
    if storage.is_remote(output):
        yield
        return
    is_new = not os.path.isdir(output)
    Path(output).mkdir(parents=True, exist_ok=True)
    try:
        with ExitStack() as locks:
            locks.enter_context(_locked(output, LOCK, fcntl.LOCK_SH if part else fcntl.LOCK_EX))
            if part:
                locks.enter_context(_locked(output, f"{LOCK}.{part.replace('/', '-of-')}", fcntl.LOCK_EX))
            yield
    finally:
        if is_new:
            with suppress(OSError):  # there is something in it
                os.rmdir(output)


def is_lock(name: str) -> bool:
    """Returns whether a file in the folder of a corpus is a lock."""
    return name.startswith(LOCK)


@contextmanager
def _locked(output: str, name: str, kind: int) -> Iterator[None]:
    path = os.path.join(output, name)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 500).decode(errors="replace").strip()
            os.close(descriptor)
            who = f" ({holder})" if holder else ""
            raise BusyError(
                f"Another run is at work in {output}{who}: let it end, or give another --output; parts of one plan "
                "run side by side with --partition k/N."
            ) from None
        except OSError:  # a network drive without locks
            break
        if os.path.exists(path) and os.path.samestat(os.fstat(descriptor), os.stat(path)):
            break
        os.close(descriptor)  # its last holder has just removed the file: take the new one
    try:
        os.truncate(descriptor, 0)
        since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {since}\n".encode(), 0)
        yield
    finally:
        with suppress(OSError):  # parts are at work still, and the last of them removes it
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
        os.close(descriptor)
