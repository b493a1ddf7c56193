"""Files of a corpus wherever they lie: in a folder, at gs:// or at s3://. A file is there whole or not at all.

Beam's file systems do the work for addresses with a scheme; folders are left to the standard library. What goes wrong
is an OSError whose `strerror` is the cause and whose `filename` is the file, whichever client met it.
"""

import errno
import importlib.util
import logging
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import BinaryIO, cast
from uuid import uuid4

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

TEMPORARY = ".tmp"
"""End of the names of files that are being written."""
_MOST_DELETED = 100
"""Files that one request deletes."""
_EXTRAS = {"gs": ("gcp", "google.cloud.storage"), "s3": ("aws", "boto3")}
"""Schemes, the extra that each needs, and a module by which it is known."""
_CLIENT_ERRORS = {
    "google.api_core.exceptions": "GoogleAPIError",
    "google.auth.exceptions": "GoogleAuthError",
    "google.resumable_media.common": "InvalidResponse",
    "botocore.exceptions": "BotoCoreError",
    "apache_beam.io.aws.clients.s3.messages": "S3ClientError",
}
"""What the clients of gs:// and s3:// raise that is no OSError, by module."""
_MEANINGS = {
    401: (errno.EACCES, "access is refused: log in (gs://: gcloud auth application-default login; s3://: AWS_...)"),
    403: (errno.EACCES, "access is refused: the credentials may not do this"),
    404: (errno.ENOENT, "no such file or bucket"),
}
"""HTTP statuses that say enough."""


class AddressError(ValueError):
    """An address cannot be used: one sentence with fact and remedy."""


def reach(path: str, flags: Sequence[str] = ()) -> None:
    """Makes this process reach an address as Beam's flags say (`--s3_endpoint_url` ...); a folder needs nothing.

    Workers get the flags with their pipeline; the process that plans has no pipeline yet.

    Raises:
        AddressError: if the address names no bucket, or what it needs is not there.
    """
    if not is_remote(path):
        return
    scheme, _, rest = path.partition("://")
    if scheme not in _EXTRAS:
        raise AddressError(f"{path} is at {scheme}://, which is not known: give a folder, gs://... or s3://...")
    if not rest.partition("/")[2].strip("/"):
        raise AddressError(f"{path} names no folder in a bucket: write {scheme}://bucket/folder.")
    extra, module = _EXTRAS[scheme]
    if not is_installed(module):
        raise AddressError(f"{path} needs what is not installed: pip install 'sameplace[{extra}]'.")
    if scheme == "gs" and not _has_google_credentials():
        raise AddressError(
            f"{path} needs Google credentials: gcloud auth application-default login, or a key file named by "
            "GOOGLE_APPLICATION_CREDENTIALS."
        )
    FileSystems.set_options(PipelineOptions(list(flags)))
    logging.getLogger().addFilter(_is_not_of_s3)


def is_installed(module: str) -> bool:
    """Returns whether a module of an extra is there."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that would hold it
        return False


def check_writable(folder: str) -> None:
    """Makes a folder where there is none and writes a file into it, to see whether that can be done.

    Raises:
        OSError: if it cannot, or there is no such bucket.
    """
    probe = join(folder, f"probe{TEMPORARY}")
    write_bytes(probe, b"sameplace")
    delete([probe])


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
    if not is_remote(path):
        return os.path.isfile(path)
    with _os_errors(path):
        return bool(FileSystems.exists(path))


def read_bytes(path: str) -> bytes:
    """Returns a whole file.

    Raises:
        OSError: if there is none.
    """
    with _os_errors(path), open_file(path) as file:
        return file.read()


def open_file(path: str) -> BinaryIO:
    """Opens a file for reading from any position.

    Raises:
        OSError: if there is none.
    """
    if not is_remote(path):
        return open(path, "rb")
    with _os_errors(path):
        return cast(BinaryIO, FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED))


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

    The temporary name is nobody else's, so two workers on the same file do not meet: the last one stays. Beam cannot
    write an empty file to s3://.

    Raises:
        OSError: if it cannot be written.
    """
    temporary = f"{path}.{uuid4().hex[:8]}{TEMPORARY}"
    try:
        if is_remote(path):
            with _os_errors(path):
                with FileSystems.create(temporary, compression_type=CompressionTypes.UNCOMPRESSED) as sink:
                    yield sink
                FileSystems.rename([temporary], [path])
        else:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as sink:
                yield sink
            os.replace(temporary, path)
    except BaseException:
        _forget(temporary)
        raise


def list_files(folder: str, prefix: str = "") -> dict[str, int]:
    """Returns the sizes in bytes of all files below a folder, by their path within it; empty where there is none.

    Args:
        prefix: list only paths that begin with this.
    """
    if not is_remote(folder):
        return dict(_walk(folder, "", prefix))
    root = folder.rstrip("/") + "/"
    try:
        with _os_errors(folder):
            found = FileSystems.match([f"{root}{prefix}**"])[0].metadata_list
    except FileNotFoundError:  # gs:// says so where there is no bucket, s3:// is silent
        return {}
    return {file.path.removeprefix(root): file.size_in_bytes for file in found}


def delete(paths: Iterable[str]) -> None:
    """Deletes files; one that is not there is no error."""
    remote = []
    for path in paths:
        if is_remote(path):
            remote.append(path)
        else:
            Path(path).unlink(missing_ok=True)
    for start in range(0, len(remote), _MOST_DELETED):
        batch = remote[start : start + _MOST_DELETED]
        with _os_errors(batch[0]):
            FileSystems.delete(batch)


def delete_folder(folder: str) -> None:
    """Deletes all files below a folder, and the folder."""
    if is_remote(folder):
        with _os_errors(folder):
            FileSystems.delete([folder.rstrip("/") + "/"])
    else:
        shutil.rmtree(folder, ignore_errors=True)


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


def _has_google_credentials() -> bool:
    """Beam looks for half a minute where there are none, and then goes on without."""
    from google.auth import default
    from google.auth.exceptions import DefaultCredentialsError

    try:
        default()
    except DefaultCredentialsError:
        return False
    return True


def _is_not_of_s3(record: logging.LogRecord) -> bool:
    """Beam's S3 client logs the errors that it raises, with tracebacks."""
    return record.module != "s3io"


def _forget(temporary: str) -> None:
    """Deletes what a failed write left, as far as that works: the first error is the one to tell."""
    try:
        delete([temporary])
    except OSError:
        return


@contextmanager
def _os_errors(path: str) -> Iterator[None]:
    """Turns what a client raises into an OSError with cause and file; what already has its file passes."""
    if path.startswith("s3://"):
        _share_models()
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise _os_error(error, path) from error
    except _client_errors() as error:
        raise _os_error(error, path) from error


@cache
def _share_models() -> None:
    """Lets this process read botocore's descriptions of services once.

    They are megabytes of JSON, botocore parses them for each client, and Beam makes a client for each operation.
    """
    files = importlib.import_module("botocore.loaders").JSONFileLoader
    load = cache(partial(files.load_file, files()))
    files.load_file = lambda _, path: load(path)


def _client_errors() -> tuple[type[Exception], ...]:
    """Returns the errors of those clients that are loaded: others cannot have raised any."""
    return tuple(getattr(sys.modules[module], name) for module, name in _CLIENT_ERRORS.items() if module in sys.modules)


def _os_error(error: object, path: str) -> OSError:
    while isinstance(error, BeamIOError) and error.exception_details:
        error = next(iter(error.exception_details.values()))  # a client's error, or the status alone
    if isinstance(error, FileNotFoundError):
        error = 404
    response = getattr(error, "response", None)
    status = error if isinstance(error, int) else getattr(error, "code", None) or getattr(response, "status_code", None)
    number, text = _MEANINGS.get(cast(int, status), (errno.EIO, " ".join(str(error).split())[:300]))
    return OSError(number, text, path)
