"""Files of a corpus wherever they lie: in a folder, at gs:// or at s3://. A file is there whole or not at all.

Beam's file systems do the work for addresses with a scheme; folders are left to the standard library, whose errors name
the file and the cause.
"""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast
from uuid import uuid4

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

TEMPORARY = ".tmp"
"""End of the names of files that are being written."""
_MOST_DELETED = 100
"""Files that one request deletes."""


def is_remote(path: str) -> bool:
    """Returns whether a path is an address such as gs://bucket/folder."""
    return "://" in path


def join(folder: str, *parts: str) -> str:
    """Returns a path below a folder."""
    return "/".join([folder.rstrip("/") or "/", *parts]) if is_remote(folder) else str(Path(folder, *parts))


def name_of(folder: str) -> str:
    """Returns the last part of a folder's path."""
    return folder.rstrip("/").rpartition("/")[2] if is_remote(folder) else Path(folder).resolve().name


def exists(path: str) -> bool:
    """Returns whether there is a file."""
    return bool(FileSystems.exists(path)) if is_remote(path) else os.path.isfile(path)


def read_bytes(path: str) -> bytes:
    """Returns a whole file.

    Raises:
        OSError: if there is none.
    """
    with open_file(path) as file:
        return file.read()


def open_file(path: str) -> BinaryIO:
    """Opens a file for reading from any position.

    Raises:
        OSError: if there is none.
    """
    if is_remote(path):
        return cast(BinaryIO, FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED))
    return open(path, "rb")


def write_bytes(path: str, payload: bytes) -> None:
    """Writes a file, in place of what may be there.

    Raises:
        OSError: if it cannot be written; then nothing has changed.
    """
    with create(path) as sink:
        sink.write(payload)


@contextmanager
def create(path: str) -> Iterator[BinaryIO]:
    """Gives a sink whose content becomes the file when the block ends well, and is gone when it does not.

    The temporary name is nobody else's, so two workers on the same file do not meet: the last one stays.

    Raises:
        OSError: if it cannot be written.
    """
    temporary = f"{path}.{uuid4().hex[:8]}{TEMPORARY}"
    try:
        if is_remote(path):
            with FileSystems.create(temporary, compression_type=CompressionTypes.UNCOMPRESSED) as sink:
                yield sink
            FileSystems.rename([temporary], [path])
        else:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as sink:
                yield sink
            os.replace(temporary, path)
    except BaseException:
        delete([temporary])
        raise


def check_writable(folder: str) -> None:
    """Makes a folder where there is none and writes a file into it, to see whether that can be done.

    Raises:
        OSError: if it cannot.
    """
    probe = join(folder, f"probe{TEMPORARY}")
    write_bytes(probe, b"")
    delete([probe])


def list_files(folder: str, prefix: str = "") -> dict[str, int]:
    """Returns the sizes of all files below a folder, in bytes, by their path within it; empty where there is no folder.

    Args:
        prefix: list only paths that begin with this.
    """
    if is_remote(folder):
        root = folder.rstrip("/") + "/"
        found = FileSystems.match([f"{root}{prefix}**"])[0].metadata_list
        return {file.path.removeprefix(root): file.size_in_bytes for file in found}
    return dict(_walk(folder, "", prefix))


def _walk(folder: str, inside: str, prefix: str) -> Iterator[tuple[str, int]]:
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        name = inside + entry.name
        if entry.is_dir():
            yield from _walk(entry.path, f"{name}/", prefix)
        elif name.startswith(prefix):
            try:
                yield name, entry.stat().st_size
            except FileNotFoundError:  # renamed by a worker since
                continue


def delete(paths: Iterable[str]) -> None:
    """Deletes files; one that is not there is no error."""
    remote = []
    for path in paths:
        if is_remote(path):
            remote.append(path)
        else:
            Path(path).unlink(missing_ok=True)
    there = [path for path in remote if FileSystems.exists(path)]
    for start in range(0, len(there), _MOST_DELETED):
        FileSystems.delete(there[start : start + _MOST_DELETED])


def delete_folder(folder: str) -> None:
    """Deletes all files below a folder, and the folder."""
    if is_remote(folder):
        delete(join(folder, name) for name in list_files(folder))
    else:
        shutil.rmtree(folder, ignore_errors=True)
