"""Tars on a local disk: what lies where in them, and their bytes without copying."""

import mmap
import os
import tarfile
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import pyarrow as pa

from schemas.corpus import Corpus
from training.data.order import Rows

_MAPPED_AT_ONCE = 128
"""Tars that stay mapped: mapping one again costs some 20 microseconds, and each takes one of the open files allowed."""
_BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True)
class Damage:
    """Something of a corpus that cannot be read."""

    shard: str
    """Name of the tar with its folder."""
    key: str
    """H3 cell; "" where the tar does not tell."""
    member: str
    """Name of the member; "" where the shard or the rest of it is meant."""
    cause: str
    """What is wrong."""

    def __str__(self) -> str:
        return f"{self.shard}, {self.member or self.key or 'as a whole'}: {self.cause}"


@dataclass(frozen=True, eq=False)
class Listing:
    """Members of one tar."""

    path: Path
    """The tar."""
    names: pa.StringArray
    """Their names."""
    offset_K: Rows
    """First byte of each."""
    size_K: Rows
    """Bytes of each."""
    flaw: str = ""
    """Why there are no more; "" where the tar ends as it should."""

    @property
    def shard(self) -> str:
        """Name of the tar with its folder."""
        return f"{self.path.parent.name}/{self.path.name}"


class Maps:
    """Tars in memory; those not used for longest are given up. For any number of threads."""

    def __init__(self) -> None:
        self._views: OrderedDict[Path, memoryview] = OrderedDict()
        self._lock = Lock()

    def open(self, path: Path) -> memoryview:
        """Returns the bytes of a tar.

        Raises:
            OSError: if it cannot be opened.
        """
        with self._lock:
            view = self._views.get(path)
            if view is None:
                view = self._views[path] = map_file(path)
                if len(self._views) > _MAPPED_AT_ONCE:
                    self._views.popitem(last=False)
            self._views.move_to_end(path)
        return view


def map_file(path: Path) -> memoryview:
    """Returns the bytes of a file; they are mapped as long as a view of them lives."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def list_tar(path: Path) -> Listing:
    """Returns what a tar holds, from its headers alone."""
    view, at, flaw = map_file(path), 0, ""
    names, offsets, sizes = [], [], []
    while at < len(view):
        header = bytes(view[at : at + _BLOCK])
        if not any(header):
            break
        try:
            info = tarfile.TarInfo.frombuf(header, tarfile.ENCODING, "replace")
        except tarfile.HeaderError as error:
            flaw = f"no member can be found from byte {at} on ({error})"
            break
        names.append(info.name)
        offsets.append(at + _BLOCK)
        sizes.append(info.size)
        at += _BLOCK + -(-info.size // _BLOCK) * _BLOCK
    else:
        flaw = f"it is cut off after {len(view)} bytes"
    return Listing(path, pa.array(names, pa.string()), np.array(offsets, np.int64), np.array(sizes, np.int64), flaw)


def list_index(corpus: Corpus, split: str) -> Iterator[Listing]:
    """Yields what the tars of a split hold, from the corpus' index.

    Raises:
        CorpusError: if that cannot be read.
    """
    index = corpus.read_index(["shard", "offset", "members"], split=split)
    index = index.sort_by([("shard", "ascending"), ("offset", "ascending")])
    shards = index["shard"].combine_chunks().dictionary_encode()
    codes = shards.indices.to_numpy(zero_copy_only=False)
    starts = np.flatnonzero(np.diff(codes, prepend=-1)).tolist()
    for start, stop in zip(starts, [*starts[1:], len(codes)], strict=False):
        members = index["members"].slice(start, stop - start).combine_chunks().flatten()
        offset_K, size_K = (members.field(name).to_numpy(zero_copy_only=False) for name in ("offset", "size"))
        yield Listing(corpus.path / shards[start].as_py(), members.field("name"), offset_K, size_K)
