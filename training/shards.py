"""The shards of a corpus as a stream of samples, wherever it lies: in a folder, at http(s)://, gs:// or s3://.

Members stay bytes here (`training.decode` reads them). Shards are shared out among nodes and loader workers; the order
within one of them is that of the manifest.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import smart_open
import webdataset
from webdataset.tariterators import group_by_keys, tar_file_expander

from schemas.corpus import MANIFEST, CorpusError, check_format

try:
    from google.api_core.exceptions import GoogleAPICallError
except ImportError:  # without the extra nothing at gs:// is reached
    GoogleAPICallError = OSError


def open_shards(corpus: str, split: str) -> webdataset.DataPipeline:
    """Returns the samples of one split, each a dict of its key (`__key__`) and its members' bytes by suffix.

    gs:// and s3:// need the extra `remote`, credentials as their own tools take them, and for another S3 than Amazon's
    AWS_ENDPOINT_URL.

    Args:
        corpus: folder or address of a finished corpus.
        split: train, val or test.

    Raises:
        CorpusError: if there is no corpus of a known format, or no shard of that split.
    """
    root = corpus.rstrip("/")
    manifest = _read_manifest(root)
    names = [str(shard["name"]) for shard in manifest["shards"]]
    urls = [f"{root}/{name}" for name in names if name.startswith(f"{split}/")]
    if not urls:
        splits = sorted({name.partition("/")[0] for name in names})
        raise CorpusError(f"{corpus} has no shard of split {split!r}: it has {', '.join(splits) or 'none at all'}.")
    return webdataset.DataPipeline(
        webdataset.SimpleShardList(urls), webdataset.split_by_node, webdataset.split_by_worker,
        _open_each, tar_file_expander, group_by_keys,
    )  # fmt: skip


def _read_manifest(root: str) -> dict[str, Any]:
    try:
        with smart_open.open(f"{root}/{MANIFEST}", "rb", compression="disable") as file:
            manifest: dict[str, Any] = json.load(file)
    except (NotImplementedError, ImportError) as error:
        raise CorpusError(
            f"{root} cannot be read: give a folder or http(s)://; gs:// and s3:// need pip install 'sameplace[remote]'."
        ) from error
    except (OSError, GoogleAPICallError) as error:
        cause = getattr(error, "strerror", None) or error
        raise CorpusError(f"{root} holds no finished corpus that can be read ({MANIFEST}: {cause}).") from error
    check_format(manifest, root)
    return manifest


def _open_each(shards: Iterable[dict[str, str]]) -> Iterator[dict[str, Any]]:
    for shard in shards:
        with smart_open.open(shard["url"], "rb", compression="disable") as stream:
            yield {**shard, "stream": stream}
