"""The shards of a corpus as a stream of samples: from a folder, http(s)://, gs://, s3://, or out of a command.

Members stay bytes here (`training.decode` reads them). Shards are shared out among nodes and loader workers; the order
within one of them is that of the manifest.
"""

import json
import shlex
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib import import_module
from typing import Any, BinaryIO

import smart_open
import webdataset
from urllib3.exceptions import HTTPError
from webdataset.tariterators import group_by_keys, tar_file_expander

from schemas.corpus import MANIFEST, CorpusError, check_format

PIPE = "pipe:"
"""What an address begins with that is a command."""


def _list_errors() -> tuple[type[Exception], ...]:
    """Returns what the clients at hand raise that is no OSError; without its extra none of a kind is needed."""
    found: list[type[Exception]] = [HTTPError]
    for module, names in (
        ("google.api_core.exceptions", ("GoogleAPIError",)), ("google.auth.exceptions", ("GoogleAuthError",)),
        ("botocore.exceptions", ("BotoCoreError", "ClientError")),
    ):  # fmt: skip
        with suppress(ImportError):
            found += [getattr(import_module(module), name) for name in names]
    return tuple(found)


UNREACHABLE: tuple[type[Exception], ...] = (OSError, *_list_errors())
"""What is raised where something elsewhere cannot be reached, or its connection ends too early."""


def open_shards(corpus: str, split: str) -> webdataset.DataPipeline:
    """Returns the samples of one split, each a dict of its key (`__key__`) and its members' bytes by suffix.

    gs:// and s3:// need the extra `remote`, credentials as their own tools take them, and for another S3 than Amazon's
    AWS_ENDPOINT_URL.

    Args:
        corpus: folder or address of a finished corpus; or `pipe:` and a shell command that writes a file of it to its
            standard output, with {} in place of the file's name.
        split: train, val or test.

    Raises:
        CorpusError: if there is no corpus of a known format, or no shard of that split.
    """
    manifest = read_manifest(corpus)
    urls = [address_of(corpus, name) for name in shards_of(manifest, split, corpus)]
    return webdataset.DataPipeline(
        webdataset.SimpleShardList(urls), webdataset.split_by_node, webdataset.split_by_worker,
        _open_each, tar_file_expander, group_by_keys,
    )  # fmt: skip


def is_remote(corpus: str) -> bool:
    """True for what is no folder: an address, or a command."""
    return corpus.startswith(PIPE) or "://" in corpus


def read_shard(corpus: str, name: str) -> Iterator[dict[str, Any]]:
    """Yields the samples of one shard, as `open_shards` does.

    Raises:
        tarfile.ReadError, ValueError, and those of `UNREACHABLE`: if it cannot be read, or not to its end.
    """
    yield from group_by_keys(tar_file_expander(_open_each([{"url": address_of(corpus, name)}])))


def shards_of(manifest: dict[str, Any], split: str, where: str) -> dict[str, int]:
    """Returns the shards of a split with their numbers of samples (0 where the manifest does not say).

    Raises:
        CorpusError: if there is none.
    """
    shards = {str(shard["name"]): int(shard.get("samples", 0)) for shard in manifest["shards"]}
    chosen = {name: samples for name, samples in shards.items() if name.startswith(f"{split}/")}
    if not chosen:
        splits = sorted({name.partition("/")[0] for name in shards})
        raise CorpusError(f"{where} has no shard of split {split!r}: it has {', '.join(splits) or 'none at all'}.")
    return chosen


def address_of(corpus: str, name: str) -> str:
    """Returns the address of one of a corpus' files, or the command that writes it."""
    if corpus.startswith(PIPE):
        return corpus.replace("{}", shlex.quote(name))
    return f"{corpus.rstrip('/')}/{name}"


def open_address(address: str) -> AbstractContextManager[BinaryIO]:
    """Opens what `address_of` returned, to be read from its start to its end."""
    if address.startswith(PIPE):
        return _open_pipe(address.removeprefix(PIPE))
    opened: AbstractContextManager[BinaryIO] = smart_open.open(address, "rb", compression="disable")
    return opened


def read_manifest(corpus: str) -> dict[str, Any]:
    """Reads a corpus' manifest.

    Raises:
        CorpusError: if there is no corpus of a known format.
    """
    root = corpus.rstrip("/")
    if root.startswith(PIPE) and "{}" not in root:
        raise CorpusError(
            f"{root} does not say where the file's name belongs: put {{}} there, as in pipe:cat dir/{{}}."
        )
    try:
        with open_address(address_of(root, MANIFEST)) as file:
            manifest: dict[str, Any] = json.load(file)
    except (NotImplementedError, ImportError) as error:
        raise CorpusError(
            f"{root} cannot be read: give a folder or http(s)://; gs:// and s3:// need pip install 'sameplace[remote]'."
        ) from error
    except UNREACHABLE as error:
        cause = getattr(error, "strerror", None) or error
        raise CorpusError(f"{root} holds no finished corpus that can be read ({MANIFEST}: {cause}).") from error
    except ValueError as error:
        raise CorpusError(f"{root} holds no finished corpus that can be read ({MANIFEST} is no JSON).") from error
    if not isinstance(manifest, dict):
        raise CorpusError(f"{root} holds no finished corpus that can be read ({MANIFEST} holds no object).")
    check_format(manifest, root)
    return manifest


def _open_each(shards: Iterable[dict[str, str]]) -> Iterator[dict[str, Any]]:
    for shard in shards:
        with open_address(shard["url"]) as stream:
            yield {**shard, "stream": stream}


@contextmanager
def _open_pipe(command: str) -> Iterator[BinaryIO]:
    """Runs a command for what it writes; one that fails is an error, unless its reader had enough before the end."""
    with subprocess.Popen(command, shell=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        is_read = False
        try:
            yield process.stdout  # type: ignore[misc]
            while process.stdout.read(1 << 20):
                pass
            is_read = True
        finally:
            if not is_read:
                process.kill()
    if process.returncode:
        raise OSError(f"the command {command!r} ended with status {process.returncode}")
