"""One shard of a finished corpus: read from its first to its last byte, one sample in memory at a time.

What a tar holds is compared with the manifest, the rows of the index and, where there is one, the sidecar. It never
trusts an offset: members are found by walking the tar, so damage in one sample does not hide the next.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
import shapely
from numpy.typing import NDArray

from geodata import cells
from geodata.splits import SplitRule
from pipelines.building.shards import SIDECARS
from pipelines.files import storage
from pipelines.files.tar import BLOCK, Member, Stretch, read_members
from pipelines.verification.examine_sample import Evidence, Layout, examine_sample
from pipelines.verification.findings import Findings
from schemas.modality import MODALITIES, Belongs
from schemas.sample import Sample


@dataclass(frozen=True)
class ShardTask:
    """What is to be examined, and against what."""

    corpus: str
    """Folder of the corpus."""
    name: str
    """Of the shard, `train/train-000000.tar`."""
    bytes: int
    """Size that the manifest says."""
    sha256: str
    """Digest that the manifest says."""
    rows: list[dict[str, Any]] | None
    """Rows of the index; None where the index cannot be read."""
    sidecars: list[str]
    """Names of sidecars that may be its own."""
    layout: Layout
    """What every record must fit."""
    rule: SplitRule
    """How cells were split."""
    twins: dict[str, str] = field(default_factory=dict)
    """Other shards by their digest: two may have been exchanged."""


class _Digest:
    """Passes bytes on and adds them up."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hash, self.size = file, hashlib.sha256(), 0

    def read(self, size: int) -> bytes:
        block = self._file.read(size)
        self._hash.update(block)
        self.size += len(block)
        return block

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


def examine_shard(task: ShardTask) -> Findings:
    """Reads a shard and returns all that is wrong with it."""
    findings = Findings(task.name)
    sidecar = _read_sidecar(task, findings)
    vouched = {} if sidecar is None else {row["key"]: row for row in sidecar["rows"]}
    exam = _ShardExam(task, findings, vouched)
    try:
        with storage.open_file(storage.join(task.corpus, task.name)) as file:
            source = _Digest(file)
            exam.walk(source)
    except OSError as error:
        findings.add("shards", "", f"cannot be read ({error.strerror or error})")
        exam.lose_rest("is lost: its shard cannot be read")
        return findings
    if source.size != task.bytes:
        findings.add("shards", "", f"has {source.size} bytes, the manifest says {task.bytes}")
    if source.sha256 != task.sha256:
        findings.add("shards", "", f"has sha256 {source.sha256}, the manifest says {task.sha256}")
        if source.sha256 in task.twins:
            findings.add("shards", "", f"holds the bytes of {task.twins[source.sha256]}: the two were exchanged")
        if not any(fault.key for fault in findings.faults):
            hint = "" if vouched else " without its sidecar"
            findings.add("shards", "", f"every sample in it reads well, so the damage cannot be placed{hint}")
    exam.lose_rest("is in the index but not in the tar")
    _examine_splits(task, findings)
    return findings


class _ShardExam:
    """Samples of one tar against their rows."""

    def __init__(self, task: ShardTask, findings: Findings, vouched: Mapping[str, dict[str, Any]]) -> None:
        self._task, self._findings, self._vouched = task, findings, vouched
        self._rows = {row["key"]: row for row in task.rows or []}
        self._left = dict(self._rows)
        self._torn: set[str] = set()
        """Keys of samples of which a header is damaged."""
        self._last = ""
        self._seen: set[str] = set()

    def walk(self, source: _Digest) -> None:
        """Examines sample by sample."""
        members: list[Member] = []
        for piece in read_members(source):  # type: ignore[arg-type]
            if isinstance(piece, Stretch):
                self._tear(piece)
                continue
            if members and _key(piece) != _key(members[0]):
                self._examine(members)
                members = []
            members.append(piece)
        if members:
            self._examine(members)

    def lose_rest(self, what: str) -> None:
        """Names the samples of the index that were not seen."""
        for key in self._left:
            self._findings.add("samples", key, what)

    def _tear(self, stretch: Stretch) -> None:
        rows = self._rows or self._vouched
        text = f"bytes {stretch.start} ... {stretch.stop - 1} {stretch.flaw}"
        torn = [
            (key, member["name"])
            for key, row in rows.items()
            for member in row["members"]
            if member["offset"] - BLOCK < stretch.stop and stretch.start < member["offset"] + member["size"]
        ]
        for key, name in torn:
            self._torn.add(key)
            self._findings.add("tar", key, f"{name} has a damaged header: {text}")
        if not torn:
            self._findings.add("tar", "", text)

    def _examine(self, members: list[Member]) -> None:
        key, findings = _key(members[0]), self._findings
        names = [member.name for member in members]
        for member in members:
            if member.flaw:
                findings.add("tar", key, f"{member.name} {member.flaw}")
        if names != sorted(set(names)):
            findings.add("tar", key, f"holds its members in the order {', '.join(names)}")
        if key <= self._last:
            findings.add("tar", key, f"comes after {self._last}")
        self._last = max(key, self._last)
        if key in self._seen:
            findings.add("keys", key, "occurs twice in the tar")
            return
        self._seen.add(key)
        whole = {m.name: m.payload for m in members if len(m.payload) == m.size}
        evidence = examine_sample(key, whole, self._task.layout)
        for check, what in evidence.faults:
            findings.add(check, key, what)
        self._compare_sidecar(key, whole, evidence)
        row = self._left.pop(key, None)
        if row is not None:
            self._compare_row(row, members, evidence.sample)
        elif self._task.rows is not None:
            findings.add("index", key, "is in the tar, but the index has no row that says so")
        if evidence.sample is not None:
            _tally(findings, key, evidence, evidence.sample)
            if cells.is_key(key, self._task.layout.resolution):
                _list_cell(findings, cells.to_cell(key), evidence.sample)

    def _compare_sidecar(self, key: str, payloads: Mapping[str, bytes], evidence: Evidence) -> None:
        vouched = self._vouched.get(key)
        if vouched is None:
            return
        for name, digest in vouched.get("digests", {}).items():
            if name in payloads and hashlib.sha256(payloads[name]).hexdigest() != digest:
                self._findings.add("samples", key, f"{name} is not the bytes that were written")
        observations = evidence.sample.observations if evidence.sample else ()
        for observation, digest in zip(observations, vouched["contents"], strict=False):
            if evidence.contents.get(observation.member, digest) != digest:
                self._findings.add("observations", key, f"{observation.member} decodes to other content than was read")

    def _compare_row(self, row: dict[str, Any], members: list[Member], sample: Sample | None) -> None:
        key = row["key"]
        if key not in self._torn:
            end = members[-1].offset + -(-members[-1].size // BLOCK) * BLOCK
            start = members[0].offset - BLOCK
            found = [{"name": m.name, "offset": m.offset, "size": m.size} for m in members]
            for column, value in {"offset": start, "size": end - start, "members": found}.items():
                if row[column] != value:
                    self._findings.add("index", key, f"{column} is {row[column]} in the index, {value} in the tar")
        if sample is not None:
            for column, value in _facts(sample).items():
                if row[column] != value:
                    self._findings.add(
                        "index", key, f"{column} is {row[column]!r} in the index, {value!r} in its record"
                    )
        vouched = self._vouched.get(key)
        if vouched is not None:
            content = hashlib.sha256("".join(vouched["contents"]).encode()).hexdigest()
            if content != row["content_sha256"]:
                self._findings.add(
                    "index", key, f"content_sha256 is {row['content_sha256']}, the sidecar says {content}"
                )


def _key(member: Member) -> str:
    return member.name.partition(".")[0]


def _facts(sample: Sample) -> dict[str, Any]:
    """Returns the columns of the index that follow from the record."""
    return {
        "split": sample.split, "lon": sample.lon, "lat": sample.lat, "country": sample.country,
        "geometry": bytes(shapely.to_wkb(shapely.Point(sample.lon, sample.lat))),
        "modalities": list(dict.fromkeys(o.modality for o in sample.observations)),
        "synthetic": any(o.synthetic for o in sample.observations),
    }  # fmt: skip


def _tally(findings: Findings, key: str, evidence: Evidence, sample: Sample) -> None:
    findings.counts["samples"] += 1
    findings.counts.update(dict.fromkeys((o.modality for o in sample.observations), 1))
    findings.observed.update(o.modality for o in sample.observations)
    findings.is_synthetic &= any(o.synthetic for o in sample.observations)
    for statistics, found in ((findings.statistics, evidence.values), (findings.with_gaps, evidence.pixels)):
        for modality, arrays in found.items():
            for values in arrays:
                statistics.add(modality, values)
    split = findings.name.partition("/")[0]
    if sample.split != split:
        findings.add("splits", key, f"its record says {sample.split}, and it lies in {split}")


def _list_cell(findings: Findings, cell: int, sample: Sample) -> None:
    findings.keys.append(cell)
    findings.items += [(_hash(o.modality, o.source, o.item_id), cell) for o in sample.observations if _is_unique(o)]


def _is_unique(observation: Any) -> bool:
    """Whether an item can belong to one cell only: a raster belongs to all that it covers."""
    return MODALITIES[observation.modality].belongs is not Belongs.COVERS


def _hash(*words: str) -> int:
    return int.from_bytes(hashlib.blake2b("\0".join(words).encode(), digest_size=8).digest())


def _examine_splits(task: ShardTask, findings: Findings) -> None:
    split = task.name.partition("/")[0]
    found: NDArray[np.str_] = task.rule.assign(np.array(findings.keys, dtype=np.uint64))
    for cell, given in zip(findings.keys, found.tolist(), strict=True):
        if given != split:
            why = f"the rule puts its cell into {given}" if given else "its cell lies in the buffer between splits"
            findings.add("splits", cells.to_key(cell), f"it is in {split}, but {why}")


def _read_sidecar(task: ShardTask, findings: Findings) -> dict[str, Any] | None:
    """Returns the sidecar that vouches for the shard of the manifest, and notes what it says of drops and sums."""
    for document in _sidecars(task, findings):
        if (document.get("shard"), document.get("sha256")) == (task.name, task.sha256):
            findings.dropped = Counter(drop["modality"] for drop in document["drops"])
            findings.sums = document["statistics"]
            return document
    return None


def _sidecars(task: ShardTask, findings: Findings) -> Iterator[dict[str, Any]]:
    for name in task.sidecars:
        try:
            document = json.loads(storage.read_bytes(storage.join(task.corpus, SIDECARS, name)))
        except (OSError, ValueError) as error:
            findings.add("shards", "", f"its sidecar {name} cannot be read ({error}): building again would mend it")
            continue
        if isinstance(document, dict):
            yield document
