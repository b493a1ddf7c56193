"""The plan on disk: what is to be built, shard by shard, before a byte of imagery is fetched.

plan/plan.json           options, digest, shards, counts, estimate
plan/places.parquet      chosen cells            } one row group
plan/references.parquet  what to read for them   } a shard, in
plan/items.parquet       what references name    } the same order
plan/drops.parquet       what was found and not planned
"""

import hashlib
import json
import os
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipelines.tables import read_rows, write_rows
from schemas.drop import Drop
from schemas.reference import SPLITS, Item, Place, Reference

FOLDER = "plan"
_NEW, _COMMIT = ".new", "commit"


@dataclass(frozen=True)
class ShardPlan:
    """One shard to be built."""

    name: str
    """Path within the corpus, `train/train-000000.tar`."""
    number: int
    """Row group in the plan's tables."""
    places: int
    """Samples, if none is dropped when it is built."""
    sha256: str
    """Digest of its rows: a finished shard with another digest is not this one."""


@dataclass(frozen=True)
class SourceSpec:
    """A source as the user named it."""

    kind: str
    """folder, stac, wikipedia or live."""
    name: str
    """Word in records."""
    path: str
    """Folder, or the STAC file; "" for a service."""

    @property
    def root(self) -> str:
        """The folder to which hrefs are relative."""
        return self.path if self.kind == "folder" else str(Path(self.path).parent)


@dataclass(frozen=True)
class ShardRows:
    """What is needed to build one shard."""

    places: list[Place]
    """Sorted by key."""
    references: list[Reference]
    """Sorted by key, modality, rank."""
    items: list[Item]
    """Those that the references name."""

    def sha256(self) -> str:
        """Digest of all rows."""
        return digest([[asdict(row) for row in rows] for rows in (self.places, self.references, self.items)])


@dataclass
class Plan:
    """The plan as a value; its rows stay on disk."""

    options: dict[str, Any]
    """Options that shape the corpus."""
    sources: list[SourceSpec]
    """Where to read."""
    shards: list[ShardPlan]
    """What to build."""
    split_rule: dict[str, Any]
    """How cells were split."""
    records: dict[str, dict[str, int]] = field(default_factory=dict)
    """Per modality what the sources offer: seen = kept + dropped."""
    rejected: dict[str, int] = field(default_factory=dict)
    """Candidate cells that did not become places, by reason."""
    estimate: dict[str, Any] = field(default_factory=dict)
    """What the build will cost."""

    @property
    def sha256(self) -> str:
        """Digest of the options and of every shard's rows."""
        return digest([self.options, [asdict(shard) for shard in self.shards]])


def write_plan(output: str, plan: Plan, shards: list[ShardRows], drops: list[Drop]) -> None:
    """Writes the plan's tables and `plan.json`, all or nothing, also over an earlier plan."""
    folder = Path(output) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(str(folder / f"places.parquet{_NEW}"), (shard.places for shard in shards), Place)
    write_rows(str(folder / f"references.parquet{_NEW}"), (shard.references for shard in shards), Reference)
    write_rows(str(folder / f"items.parquet{_NEW}"), (shard.items for shard in shards), Item)
    write_rows(str(folder / f"drops.parquet{_NEW}"), [drops], Drop)
    document = json.dumps({**asdict(plan), "sha256": plan.sha256}, indent=1, sort_keys=True, ensure_ascii=False)
    (folder / f"plan.json{_NEW}").write_text(document, encoding="utf-8")
    (folder / _COMMIT).touch()
    _settle(folder)


def _settle(folder: Path) -> None:
    """Ends what a write began: with the commit mark the new files take their places, without it they go."""
    is_whole = (folder / _COMMIT).exists()
    for path in sorted(folder.glob(f"*{_NEW}")):
        if is_whole:
            path.replace(path.with_name(path.name.removesuffix(_NEW)))
        else:
            path.unlink()
    (folder / _COMMIT).unlink(missing_ok=True)


def read_plan(output: str) -> Plan | None:
    """Reads the plan of a corpus; None where there is none."""
    path = Path(output) / FOLDER / "plan.json"
    if path.parent.is_dir() and os.access(path.parent, os.W_OK):
        _settle(path.parent)
    if not path.is_file():
        return None
    document = json.loads(path.read_text(encoding="utf-8"))
    document.pop("sha256")
    document["sources"] = [SourceSpec(**source) for source in document["sources"]]
    document["shards"] = [ShardPlan(**shard) for shard in document["shards"]]
    return Plan(**document)


def read_shard_rows(output: str, number: int) -> ShardRows:
    """Reads one shard's rows."""
    folder = Path(output) / FOLDER
    return ShardRows(
        read_rows(str(folder / "places.parquet"), Place, number),
        read_rows(str(folder / "references.parquet"), Reference, number),
        read_rows(str(folder / "items.parquet"), Item, number),
    )


def read_plan_drops(output: str) -> list[Drop]:
    """Reads what was found and not planned."""
    return read_rows(str(Path(output) / FOLDER / "drops.parquet"), Drop)


def name_shards(splits: list[str]) -> list[str]:
    """Returns the shards' names, numbered within each split."""
    counts: Counter[str] = Counter()
    names = []
    for split in splits:
        names.append(f"{split}/{split}-{counts[split]:06d}.tar")
        counts[split] += 1
    assert set(counts) <= set(SPLITS)
    return names


def digest(value: object) -> str:
    """Returns the SHA-256 of a value written as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
