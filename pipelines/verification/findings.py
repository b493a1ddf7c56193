"""What the examination of a corpus finds: shard by shard, and added up."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipelines.building.statistics import Statistics
from pipelines.verification.fault import CHECKS, Fault
from schemas.reference import SPLITS

HARM = frozenset({"shards", "tar", "samples", "observations", "keys"})
"""Faults after which sums over the records differ from the manifest's without a fault of the manifest."""


@dataclass(eq=False)
class Findings:
    """What one shard gave; small, whatever its size."""

    name: str
    """Of the shard."""
    faults: list[Fault] = field(default_factory=list)
    """All that is wrong."""
    counts: Counter[str] = field(default_factory=Counter)
    """Samples, and samples that have each modality: what the manifest counts per split."""
    observed: Counter[str] = field(default_factory=Counter)
    """Observations per modality."""
    dropped: Counter[str] | None = None
    """Drops that the sidecar says, per modality; None without one."""
    statistics: Statistics = field(default_factory=Statistics)
    """Sums over what is stored."""
    with_gaps: Statistics = field(default_factory=Statistics)
    """The same with the gaps of pictures."""
    sums: dict[str, list[list[float]]] | None = None
    """Sums that the sidecar says; None without one."""
    keys: list[int] = field(default_factory=list)
    """Cells of its samples."""
    items: list[tuple[int, int]] = field(default_factory=list)
    """Hash of each photo's and article's source and identifier, and the cell that shows it."""
    is_synthetic: bool = True
    """Whether every sample is."""

    def add(self, check: str, key: str, what: str) -> None:
        """Notes a fault."""
        self.faults.append(Fault(check, self.name, key, what))


@dataclass(eq=False)
class Totals:
    """What adds up over shards."""

    faults: list[Fault] = field(default_factory=list)
    """All that is wrong."""
    examined: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(CHECKS, 0)))
    """Things looked at, per check."""
    counts: dict[str, Counter[str]] = field(default_factory=lambda: {split: Counter() for split in SPLITS})
    """As in the manifest."""
    observed: Counter[str] = field(default_factory=Counter)
    """Observations per modality."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Drops of the sidecars per modality."""
    statistics: Statistics = field(default_factory=Statistics)
    """Sums over the stored train samples."""
    with_gaps: Statistics = field(default_factory=Statistics)
    """The same with the gaps of pictures."""
    sums: Statistics = field(default_factory=Statistics)
    """Sums of the sidecars over the train samples."""
    has_all_sidecars: bool = True
    """Whether every shard has one."""
    is_synthetic: bool = True
    """Whether every sample is."""
    names: list[str] = field(default_factory=list)
    """Shards, in the order of the manifest."""
    cells: list[NDArray[np.uint64]] = field(default_factory=list)
    """Cells, one array a shard."""
    items: list[NDArray[np.uint64]] = field(default_factory=list)
    """Hashes of photos and articles with the cells that show them, one array of two columns a shard."""

    @property
    def is_harmed(self) -> bool:
        """Whether records are lost or changed, so that sums over them say nothing of the manifest."""
        return any(fault.check in HARM for fault in self.faults)

    def add(self, findings: Findings) -> None:
        """Adds a shard."""
        split = findings.name.partition("/")[0]
        self.faults += findings.faults
        self.names.append(findings.name)
        self.cells.append(np.array(findings.keys, dtype=np.uint64))
        self.items.append(np.array(findings.items, dtype=np.uint64).reshape(-1, 2))
        self.counts[split] += findings.counts
        self.observed += findings.observed
        self.is_synthetic &= findings.is_synthetic
        self.has_all_sidecars &= findings.dropped is not None and findings.sums is not None
        self.dropped += findings.dropped or Counter()
        if split == "train":
            self.statistics.merge(findings.statistics.sums)
            self.with_gaps.merge(findings.with_gaps.sums)
            self.sums.merge(findings.sums or {})
        samples = findings.counts["samples"]
        self.examined += Counter({"shards": 1, "tar": 1, "samples": samples, "splits": samples, "keys": samples})
        self.examined += Counter({"observations": findings.observed.total(), "leakage": samples})
