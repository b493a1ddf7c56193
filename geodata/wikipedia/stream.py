"""Reading a dump file from its first byte to its last, packed or not, and saying plainly when that fails."""

import bz2
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

CHUNK_BYTES = 1 << 20
"""Unpacked bytes read at once."""


class DumpError(ValueError):
    """A dump cannot be used: one sentence for the user."""


def read_chunks(path: str) -> Iterator[bytes]:
    """Yields the unpacked bytes of a file: gzip and bzip2 (of any number of streams) are known by their first bytes.

    Raises:
        DumpError: if the file is missing, damaged or cut off.
    """
    done = 0
    try:
        with open(path, "rb") as raw, _unpack(raw) as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
                done += len(chunk)
    except EOFError as error:
        raise DumpError(f"{Path(path).name} is cut off, about {done} bytes in: fetch it again.") from error
    except (OSError, zlib.error) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        raise DumpError(f"{Path(path).name} cannot be read ({reason}): check the path, or fetch it again.") from error


def _unpack(raw: BinaryIO) -> BinaryIO:
    magic = raw.read(3)
    raw.seek(0)
    if magic == b"BZh":
        return cast(BinaryIO, bz2.open(raw))
    return cast(BinaryIO, gzip.open(raw)) if magic[:2] == b"\x1f\x8b" else raw
