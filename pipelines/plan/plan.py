"""The plan on disk: what is to be built, shard by shard, before a byte of imagery is fetched.

plan/plan.json                     options, digest, shards, counts, estimate; names the tables that count
plan/{stem}.places.parquet         chosen cells            } one row group a shard, in
plan/{stem}.references.parquet     what to read for them   } the same order, some
plan/{stem}.items.parquet          what references name    } shards in one part
plan/{stem}.drops.parquet          what was found and not planned

Tables are written under new names and count when `plan.json` names them, so a plan is the old one or the new one, on
every file system; its memory is that of one part.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipelines.files import storage
from pipelines.files.tables import RowWriter, read_rows, write_rows
from schemas.drop import Drop
from schemas.reference import SPLITS, Item, Place, Reference

FOLDER, SEARCH = "plan", "search"
"""Folder of the plan, and below it that of the searches that it is being made from."""
PART_SHARDS = 64
"""Shards in one part of the plan."""
DROPS_AT_ONCE = 50_000
"""Drops in one table: more begin another."""


@dataclass(frozen=True)
class ShardPlan:
    """One shard to be built."""

    name: str
    """Path within the corpus, `train/train-000000.tar`."""
    part: str
    """Stem of the plan's tables that hold its rows."""
    group: int
    """Row group in these tables."""
    places: int
    """Samples, if none is dropped when it is built."""
    sha256: str
    """Digest of its rows: a finished shard with another digest is not this one."""
    generation: int = 0
    """How many times the corpus had grown when it was planned."""


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

    def tables(self) -> tuple[Sequence[Place | Reference | Item], ...]:
        """Returns places, references and items."""
        return self.places, self.references, self.items

    def index_items(self) -> dict[tuple[str, str, str], Item]:
        """Returns the items by source, modality and identifier."""
        return {(item.source, item.modality, item.item_id): item for item in self.items}

    def sha256(self) -> str:
        """Digest of all rows."""
        return digest([[_values(row) for row in rows] for rows in self.tables()])


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
    drops: list[str] = field(default_factory=list)
    """Stems of the tables of what was found for places and not planned."""
    apart: list[str] = field(default_factory=list)
    """Stems of the tables of what no place could use; they are written anew when the corpus grows."""
    records: dict[str, dict[str, int]] = field(default_factory=dict)
    """Per modality what the sources offer: seen = kept + dropped."""
    rejected: dict[str, int] = field(default_factory=dict)
    """Candidate cells that did not become places, by reason."""
    estimate: dict[str, Any] = field(default_factory=dict)
    """What the build will cost."""
    revision: int = 0
    """How many times the plan was written before this time."""
    generation: int = 0
    """How many times the corpus has grown."""

    @property
    def sha256(self) -> str:
        """Digest of the options and of every shard's rows."""
        return digest([self.options, sorted((shard.name, shard.sha256) for shard in self.shards)])

    @property
    def places(self) -> int:
        """Samples, if none is dropped."""
        return sum(shard.places for shard in self.shards)

    def published_options(self) -> dict[str, Any]:
        """Returns the options as a finished corpus tells them: of paths only the last part, which is not private."""
        told = dict(sorted(self.options.items()))
        words = [word.strip().partition(":") for word in told.get("sources", "").split(",")]
        told["sources"] = ",".join(f"{kind}{colon}{Path(path).name or path}" for kind, colon, path in words)
        for name in ("region", "places"):
            if (path := Path(told.get(name, ""))).is_absolute() or len(path.parts) > 1:
                told[name] = path.name
        return told

    def parts(self) -> dict[str, list[ShardPlan]]:
        """Returns the shards of each part, in the order of their row groups."""
        found: dict[str, list[ShardPlan]] = {}
        for shard in sorted(self.shards, key=lambda shard: (shard.part, shard.group)):
            found.setdefault(shard.part, []).append(shard)
        return found


class PlanWriter:
    """Writes the tables of a plan; they count once `commit` has named them."""

    def __init__(self, output: str, revision: int, *, taken: Collection[str] = (), generation: int = 0) -> None:
        """Begins a revision.

        Args:
            taken: names of shards that stay; new ones are numbered after them.
        """
        self._folder = storage.join(output, FOLDER)
        self._revision, self._generation = revision, generation
        self._numbers = Counter(name.partition("/")[0] for name in taken)
        self._stems, self._stem = 0, ""
        self._tables: list[RowWriter] = []
        self._part: list[ShardPlan] = []
        self._drops: list[Drop] = []
        self.shards: list[ShardPlan] = []
        """What was added."""
        self.drops: list[str] = []
        """Stems of the tables of drops."""

    def add(self, rows: ShardRows, known: ShardPlan | None = None) -> None:
        """Writes a shard's rows.

        Args:
            known: the shard as it was planned before; None for a new one.
        """
        if not self._part:
            self._stem = self._next_stem()
            self._tables = [
                RowWriter(storage.join(self._folder, f"{self._stem}.{kind}.parquet"), record)
                for kind, record in (("places", Place), ("references", Reference), ("items", Item))
            ]
        name = known.name if known else self._next_name(rows.places[0].split)
        generation = known.generation if known else self._generation
        shard = ShardPlan(name, self._stem, len(self._part), len(rows.places), rows.sha256(), generation)
        self._part.append(shard)
        for table, values in zip(self._tables, rows.tables(), strict=True):
            table.write(values)
        if len(self._part) == PART_SHARDS:
            self._end_part()

    def drop(self, drops: Iterable[Drop]) -> None:
        """Writes what was found and not planned."""
        self._drops += drops
        if len(self._drops) >= DROPS_AT_ONCE:
            self.end_drops()

    def close(self) -> None:
        """Ends the tables."""
        if self._part:
            self._end_part()
        self.end_drops()

    def end_drops(self) -> None:
        """Ends the table of drops."""
        if self._drops:
            self.drops.append(self._next_stem())
            rows = sorted(self._drops, key=drop_order)
            write_rows(storage.join(self._folder, f"{self.drops[-1]}.drops.parquet"), [rows], Drop)
            self._drops = []

    def _end_part(self) -> None:
        for table in self._tables:
            table.close()
        self.shards += self._part
        self._tables, self._part = [], []

    def _next_stem(self) -> str:
        self._stems += 1
        return f"{self._revision:03d}-{self._stems - 1:05d}"

    def _next_name(self, split: str) -> str:
        assert split in SPLITS
        number = self._numbers[split]
        self._numbers[split] += 1
        return f"{split}/{split}-{number:06d}.tar"


def drop_order(drop: Drop) -> tuple[str, str, str, str, str]:
    """The order of drops in a table."""
    return drop.key, drop.modality, drop.source, drop.item_id, drop.reason


def commit(output: str, plan: Plan) -> None:
    """Makes a plan the plan of a corpus; tables that it does not name are removed."""
    folder = storage.join(output, FOLDER)
    document = json.dumps({**asdict(plan), "sha256": plan.sha256}, indent=1, sort_keys=True, ensure_ascii=False)
    storage.write_bytes(storage.join(folder, "plan.json"), document.encode())
    tidy(output, plan)


def sort_shards(shards: Iterable[ShardPlan]) -> list[ShardPlan]:
    """Returns shards in the order in which they are listed: by split, then by number."""
    return sorted(shards, key=lambda shard: (SPLITS.index(shard.name.partition("/")[0]), shard.name))


def tidy(output: str, plan: Plan) -> None:
    """Removes the tables that a plan does not name, and the searches that it was made from."""
    folder = storage.join(output, FOLDER)
    stems = {shard.part for shard in plan.shards} | {*plan.drops, *plan.apart}
    stale = [name for name in storage.list_files(folder) if name != "plan.json" and name.partition(".")[0] not in stems]
    if stale:
        storage.delete(storage.join(folder, name) for name in stale)
        storage.delete_folder(storage.join(folder, SEARCH))


def read_plan(output: str) -> Plan | None:
    """Reads the plan of a corpus; None where there is none."""
    path = storage.join(output, FOLDER, "plan.json")
    if not storage.exists(path):
        return None
    document = json.loads(storage.read_bytes(path))
    document.pop("sha256")
    document["sources"] = [SourceSpec(**source) for source in document["sources"]]
    document["shards"] = [ShardPlan(**shard) for shard in document["shards"]]
    return Plan(**document)


def read_shard_rows(output: str, shard: ShardPlan) -> ShardRows:
    """Reads one shard's rows."""
    stem = storage.join(output, FOLDER, shard.part)
    return ShardRows(
        read_rows(f"{stem}.places.parquet", Place, shard.group),
        read_rows(f"{stem}.references.parquet", Reference, shard.group),
        read_rows(f"{stem}.items.parquet", Item, shard.group),
    )


def read_plan_drops(output: str, stems: Iterable[str]) -> Iterator[tuple[str, list[Drop]]]:
    """Yields what was found and not planned, table by table: its stem and its rows."""
    for stem in stems:
        yield stem, read_rows(storage.join(output, FOLDER, f"{stem}.drops.parquet"), Drop)


def _values(row: Place | Reference | Item) -> list[object]:
    return [getattr(row, name) for name in row.__slots__]


def digest(value: object) -> str:
    """Returns the SHA-256 of a value written as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
