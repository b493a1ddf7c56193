"""A finished corpus on disk, or several as their union: which there are, whether they fit, and one sample by its key.

pyarrow is the only thing needed beyond the standard library, because the index is a parquet table.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.sample import Sample, decode_metadata

FORMAT_VERSION = 1
"""Version of the folder layout and of the tables; a reader refuses a newer one."""
MANIFEST, INDEX, DROPS = "manifest.json", "index.parquet", "drops.parquet"
_MEND = "run python -m pipelines.finish on the folder, or copy it anew."


class CorpusError(ValueError):
    """The folder is no usable corpus, or several do not fit together: one sentence with fact, value, remedy."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """One finished corpus."""

    path: Path
    """Its folder."""
    manifest: dict[str, object]
    """What `manifest.json` holds."""

    @property
    def is_synthetic(self) -> bool:
        """True where the records show no real place."""
        return bool(self.manifest["synthetic"])

    @property
    def shards(self) -> list[dict[str, Any]]:
        """What the manifest says of each shard, its `name` first."""
        shards = self.manifest["shards"]
        assert isinstance(shards, list)
        return shards

    def read_index(
        self, columns: Sequence[str] | None = None, key: str | None = None, split: str | None = None
    ) -> pa.Table:
        """Returns the index, or some of its columns, or the row of one key (H3 cell), or the rows of one split.

        Raises:
            CorpusError: if it cannot be read.
        """
        asked = {"key": key, "split": split}
        filters = [(name, "=", value) for name, value in asked.items() if value is not None] or None
        try:
            return pq.read_table(self.path / INDEX, columns=None if columns is None else list(columns), filters=filters)
        except (OSError, ValueError) as error:
            raise CorpusError(f"{self.path / INDEX} cannot be read ({_first_line(error)}): {_MEND}") from error


def open_corpora(path: str | Path, *, mix_synthetic: bool = False) -> list[Corpus]:
    """Opens the corpus in a folder, or all corpora in its sub-folders as a union.

    Args:
        mix_synthetic: allows a union of synthetic and real corpora.

    Raises:
        CorpusError: if there is none, one is of a newer format, their split functions differ, keys occur twice, or
            synthetic and real records would be mixed unasked.
    """
    root = Path(path)
    folders = [root] if (root / MANIFEST).is_file() else sorted(m.parent for m in root.glob(f"*/{MANIFEST}"))
    if not folders:
        raise CorpusError(f"{root} holds no finished corpus (no {MANIFEST}): build one, for instance with make corpus.")
    corpora = [_open(folder) for folder in folders]
    _check_union(corpora, mix_synthetic=mix_synthetic)
    return corpora


def read_sample(corpus: str | Path, key: str) -> Sample:
    """Reads one sample by its H3 cell: one look into the index, one range read of the shard.

    Args:
        corpus: folder of a corpus, or of several.

    Raises:
        KeyError: if no corpus there holds the key.
        CorpusError: if the folder is no usable corpus, or the sample is damaged.
    """
    for one in open_corpora(corpus, mix_synthetic=True):
        rows = one.read_index(key=key).to_pylist()
        if rows:
            with (one.path / str(rows[0]["shard"])).open("rb") as shard:
                shard.seek(rows[0]["offset"])
                return decode_row(rows[0], shard.read(rows[0]["size"]))
    raise KeyError(f"No sample {key} in {corpus}: see the column key of its {INDEX}.")


def check_format(manifest: Mapping[str, object], where: str | Path) -> None:
    """Raises CorpusError for a manifest of a newer format than this reader's."""
    version = manifest.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise CorpusError(
            f"{where} has corpus format {version}, this reader knows up to {FORMAT_VERSION}: install a newer sameplace."
        )


def decode_row(row: Mapping[str, Any], block: bytes) -> Sample:
    """Returns the sample of a row of the index, or of a shard's sidecar.

    Args:
        row: with its `key`, `offset` and `members`.
        block: `size` bytes of its shard from `offset`.

    Raises:
        CorpusError: if they are not that sample.
    """
    payloads = {}
    for member in row["members"]:
        start = member["offset"] - row["offset"]
        payloads[member["name"]] = block[start : start + member["size"]]
    try:
        return decode_metadata(payloads.pop(f"{row['key']}.json"), payloads)
    except (ValueError, KeyError, TypeError) as error:
        raise CorpusError(
            f"The sample {row['key']} is not where {INDEX} says: python -m pipelines.verify names what is damaged."
        ) from error


def _open(folder: Path) -> Corpus:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorpusError(f"{folder / MANIFEST} cannot be read ({_first_line(error)}): {_MEND}") from error
    if not isinstance(manifest, dict):
        raise CorpusError(f"{folder / MANIFEST} holds no object: {_MEND}")
    check_format(manifest, folder)
    return Corpus(folder, manifest)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")


def _check_union(corpora: list[Corpus], *, mix_synthetic: bool) -> None:
    first = corpora[0]
    for other in corpora[1:]:
        if other.manifest["split_rule"] != first.manifest["split_rule"]:
            raise CorpusError(
                f"{first.path} and {other.path} were split by different rules, so one's test could be the other's "
                "train: build them with the same --split_resolution, or read them apart."
            )
        if other.is_synthetic != first.is_synthetic and not mix_synthetic:
            raise CorpusError(
                f"{first.path} and {other.path} mix synthetic and real places: name one of them, or ask for both."
            )
    if len(corpora) > 1:
        _check_keys(corpora)


def _check_keys(corpora: list[Corpus]) -> None:
    seen: dict[str, Path] = {}
    for corpus in corpora:
        for key in corpus.read_index(["key"])["key"].to_pylist():
            if key in seen:
                raise CorpusError(
                    f"The place {key} is in {seen[key]} and in {corpus.path}: keep one of the two corpora elsewhere."
                )
            seen[key] = corpus.path
