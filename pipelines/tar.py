"""Writing a shard: USTAR, fixed owner, mode and time, so that equal members give equal bytes."""

import hashlib
import tarfile
from typing import BinaryIO

BLOCK = tarfile.BLOCKSIZE


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
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = len(payload), 0o644, 0
        self._put(info.tobuf(tarfile.USTAR_FORMAT))
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
