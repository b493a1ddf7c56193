"""Packing units into shards as they come: whole units, in scattered order, held until their shard is full."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from pipelines.plan.plan import ShardRows
from pipelines.planning.gather import Identity
from schemas.modality import MODALITIES
from schemas.reference import SPLITS, Item, Place, Reference

_MODALITY_ORDER = {name: number for number, name in enumerate(MODALITIES)}


class Packer:
    """One open shard a split."""

    def __init__(self, most: int) -> None:
        """Takes the most places of a shard."""
        self._most = most
        self._places: defaultdict[str, list[Place]] = defaultdict(list)
        self._references: defaultdict[str, list[Reference]] = defaultdict(list)
        self._items: defaultdict[str, dict[Identity, Item]] = defaultdict(dict)

    def add(
        self, places: Iterable[Place], references: Iterable[Reference], items: Mapping[Identity, Item]
    ) -> Iterator[ShardRows]:
        """Adds a unit and yields the shards that are full; a unit too big for one is cut into contiguous runs."""
        by_key: defaultdict[str, list[Reference]] = defaultdict(list)
        for reference in references:
            by_key[reference.key].append(reference)
        by_split: defaultdict[str, list[Place]] = defaultdict(list)
        for place in places:
            by_split[place.split].append(place)
        for split, members in by_split.items():
            members.sort(key=lambda place: place.key)
            for start in range(0, len(members), self._most):
                run = members[start : start + self._most]
                if self._places[split] and len(self._places[split]) + len(run) > self._most:
                    yield self._take(split)
                self._places[split] += run
                mine = [reference for place in run for reference in by_key[place.key]]
                self._references[split] += mine
                for r in mine:
                    self._items[split][r.source, r.modality, r.item_id] = items[r.source, r.modality, r.item_id]

    def rest(self) -> Iterator[ShardRows]:
        """Yields the last shard of each split."""
        for split in SPLITS:
            if self._places[split]:
                yield self._take(split)

    def _take(self, split: str) -> ShardRows:
        return sort_rows(self._places.pop(split), self._references.pop(split, []), self._items.pop(split, {}))


def sort_rows(places: Iterable[Place], references: Iterable[Reference], items: Mapping[Identity, Item]) -> ShardRows:
    """Returns the rows of a shard in their order: places, their references, and the items that these name."""
    ordered = sorted(references, key=_reference_order)
    named = {(r.source, r.modality, r.item_id) for r in ordered}
    return ShardRows(
        sorted(places, key=lambda place: place.key), ordered, [items[identity] for identity in sorted(named)]
    )


def _reference_order(reference: Reference) -> tuple[str, int, int, int, str]:
    return reference.key, _MODALITY_ORDER[reference.modality], reference.slot, reference.rank, reference.source
