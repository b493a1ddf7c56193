"""Writing a shard: USTAR, fixed owner, mode and time, so that equal members give equal bytes; and reading it again."""

import hashlib
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True, eq=False)
class Member:
    """One member as it was found."""

    name: str
    """Its name."""
    offset: int
    """Of its first byte in the tar."""
    payload: bytes
    """Its bytes, fewer than `size` where the tar is cut off."""
    size: int
    """Bytes that its header announces."""
    flaw: str
    """In which way its header or filling differs from what `TarWriter` writes; "" where it does not."""


@dataclass(frozen=True)
class Stretch:
    """Bytes that are no member."""

    start: int
    """First byte."""
    stop: int
    """Byte after the last one."""
    flaw: str
    """What is wrong with them."""


class TarWriter:
    """Writes members one after the other and knows where each lies."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self._hash = hashlib.sha256()
        self.size = 0
        """Bytes written so far."""

    @property
    def sha256(self) -> str:
        """Digest of what was written so far."""
        return self._hash.hexdigest()

    def add(self, name: str, payload: bytes) -> int:
        """Writes a member and returns the offset of its first byte in the tar.

        Raises:
            ValueError: if the name is longer than USTAR allows.
        """
        self._put(_header(name, len(payload)))
        offset = self.size
        self._put(payload + bytes(-len(payload) % BLOCK))
        return offset

    def close(self) -> None:
        """Writes the end of the archive: two empty blocks, filled up to a record."""
        self._put(bytes(2 * BLOCK))
        self._put(bytes(-self.size % tarfile.RECORDSIZE))

    def _put(self, block: bytes) -> None:
        self._sink.write(block)
        self._hash.update(block)
        self.size += len(block)


def read_members(source: BinaryIO) -> Iterator[Member | Stretch]:
    """Yields what a tar holds, in order, one member in memory at a time; after damage it goes on at the next header."""
    offset, lost, blank = 0, -1, -1
    while block := source.read(BLOCK):
        info = _parse(block)
        if info is None:
            if any(block):
                lost, blank = (offset if lost < 0 else lost), -1
            elif blank < 0:
                blank = offset
            offset += len(block)
            continue
        if lost >= 0 or blank >= 0:
            yield Stretch(max(0, min(s for s in (lost, blank) if s >= 0)), offset, "hold no member")
        lost = blank = -1
        payload, padding = source.read(info.size), source.read(-info.size % BLOCK)
        yield Member(info.name, offset + BLOCK, payload, info.size, _find_flaw(block, info, payload, padding))
        offset += BLOCK + len(payload) + len(padding)
    end = offset if blank < 0 else blank
    if lost >= 0:
        yield Stretch(lost, end, "hold no member")
    if offset - end < 2 * BLOCK or offset % tarfile.RECORDSIZE or offset - end >= 2 * BLOCK + tarfile.RECORDSIZE:
        yield Stretch(end, offset, "are not the two empty blocks, filled up to a record, that end a tar")


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o644, 0
    return info.tobuf(tarfile.USTAR_FORMAT)


def _parse(block: bytes) -> tarfile.TarInfo | None:
    try:
        info = tarfile.TarInfo.frombuf(block, tarfile.ENCODING, "surrogateescape")
    except tarfile.HeaderError:
        return None
    return info if info.size >= 0 else None


def _find_flaw(header: bytes, info: tarfile.TarInfo, payload: bytes, padding: bytes) -> str:
    if len(payload) < info.size:
        return f"is cut off after {len(payload)} of {info.size} bytes"
    try:
        is_ours = header == _header(info.name, info.size)
    except (ValueError, UnicodeError):
        is_ours = False
    if not is_ours:
        return "has a header that is not plain USTAR with mode 0644, owner 0 and time 0"
    return "is followed by bytes that are not 0" if any(padding) or len(padding) < -info.size % BLOCK else ""
