"""What the places of a unit keep of what was found for them, and the count of all that sources offer."""

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from itertools import groupby
from operator import attrgetter

import numpy as np

from geodata import cells
from geodata.licences import allows, find_licence
from geodata.sources import Catalogue
from pipelines.plan.options import Options
from schemas.drop import Drop, Reason, Stage
from schemas.modality import MODALITIES
from schemas.reference import Item, Place, Reference

Identity = tuple[str, str, str]
"""Source, modality and item."""

NOT_RECORDS = (Reason.NO_SCENE, Reason.NO_SERVICE, Reason.SERVICE)
"""Drops of a search that stand for a cell, not for something that a service offered."""


def join_sources(options: Options, references: list[Reference]) -> tuple[list[Reference], list[Drop]]:
    """Numbers the candidates of a cell across sources, best ranks first, and cuts them to what one source may offer."""
    limits = options.limits
    most = {"street": limits.photos_per_cell + limits.photo_spares, "text": limits.texts_per_cell + limits.text_spares}
    kept, drops = [], []
    ordered = sorted(references, key=lambda r: (r.key, r.modality, r.slot, r.rank, r.source, r.item_id))
    for (_, modality, _), group in groupby(ordered, attrgetter("key", "modality", "slot")):
        for rank, r in enumerate(group):
            if rank < most.get(modality, limits.scene_tries):
                kept.append(replace(r, rank=rank))
            else:
                detail = "another source offers as good a one"
                drops.append(Drop(r.key, modality, Stage.CHOOSE, Reason.NOT_CHOSEN, None, detail, r.source, r.item_id))
    return kept, drops


def leave_out(
    references: list[Reference], taken: Container[Identity], removed: Container[str]
) -> tuple[list[Reference], list[Drop]]:
    """Leaves out items that an earlier generation has, and those that were removed from the corpus."""
    kept, drops = [], []
    for r in references:
        if r.item_id in removed:
            reason, detail = Reason.REMOVED, "it was removed from the corpus"
        elif (r.source, r.modality, r.item_id) in taken:
            reason, detail = Reason.NOT_CHOSEN, "an earlier generation has it"
        else:
            kept.append(r)
            continue
        drops.append(Drop(r.key, r.modality, Stage.CHOOSE, reason, None, detail, r.source, r.item_id))
    return kept, drops


def check_licences(
    rule: str, references: list[Reference], items: Mapping[Identity, Item]
) -> tuple[list[Reference], list[Drop]]:
    """Leaves out items whose licence a corpus of this rule cannot hold."""
    kept, drops = [], []
    for r in references:
        if (verdict := judge_licence(rule, items[r.source, r.modality, r.item_id])) is None:
            kept.append(r)
        else:
            drops.append(Drop(r.key, r.modality, Stage.CHOOSE, Reason.LICENCE, None, verdict, r.source, r.item_id))
    return kept, drops


def judge_licence(rule: str, item: Item) -> str | None:
    """Returns why an item's licence does not fit a rule of `geodata.licences`, None where it does."""
    if allows(rule, item.licence):
        return None
    why = "does not allow it" if find_licence(item.licence) else "is not known to"
    return f"--licences {rule}: {item.licence or 'an unstated licence'} {why}"


def require(
    options: Options, places: list[Place], references: list[Reference], found_drops: list[Drop]
) -> tuple[list[Place], list[Reference], list[Drop]]:
    """Leaves out places that lack what is required, with all that was found for them.

    What a failed service may yet give counts as there: the build decides, and a retry may mend it.
    """
    found: defaultdict[str, set[tuple[str, int, int]]] = defaultdict(set)
    for reference in references:
        if reference.rank < options.recipe.most(reference.modality):
            found[reference.key].add((reference.modality, reference.slot, reference.rank))
    for drop in found_drops:
        if drop.retryable:
            found[drop.key].add((drop.modality, 0, 0))
    drops, kept = [], []
    for place in places:
        have = found[place.key]
        views = {modality for modality, _, _ in have}
        missing = [name for name in options.required if name not in views]
        if missing or len(have) < options.min_observations or len(views) < options.min_modalities:
            detail = f"no {missing[0]}" if missing else f"{len(have)} observations of {len(views)} views were found"
            drops.append(Drop(place.key, "", Stage.CHOOSE, Reason.NO_OBSERVATION, len(have), detail))
        else:
            kept.append(place)
    keys = {place.key for place in kept}
    for r in references:
        if r.key not in keys:
            detail = "the place lacks what is required"
            drops.append(
                Drop(r.key, r.modality, Stage.CHOOSE, Reason.NO_OBSERVATION, None, detail, r.source, r.item_id)
            )
    return kept, [reference for reference in references if reference.key in keys], drops


class Records:
    """Counts what the sources offered, each record once: kept where a place uses it, else dropped."""

    def __init__(self) -> None:
        self._kept: dict[str, list[bytes]] = defaultdict(list)
        self._dropped: dict[str, list[bytes]] = defaultdict(list)
        self._unnamed: Counter[str] = Counter()

    def keep(self, references: Iterable[Reference]) -> None:
        """Adds what is planned."""
        for name, hashes in _by_modality((r.source, r.modality, r.item_id) for r in references):
            self._kept[name].append(hashes)

    def drop(self, drops: Iterable[Drop]) -> None:
        """Adds what was found and not planned; what a cell lacks or a service failed to say is no record."""
        rows = [d for d in drops if d.source and d.reason not in NOT_RECORDS]
        for drop in rows:
            if not drop.item_id:
                self._unnamed[_modality(drop.modality)] += drop.count
        for name, hashes in _by_modality((d.source, d.modality, d.item_id) for d in rows if d.item_id):
            self._dropped[name].append(hashes)

    def table(self) -> dict[str, dict[str, int]]:
        """Returns seen = kept + dropped per modality."""
        rows = {}
        for name in (*MODALITIES, "other"):
            kept, dropped = (_distinct(hashes.get(name, [])) for hashes in (self._kept, self._dropped))
            lost = len(np.setdiff1d(dropped, kept, assume_unique=True)) + self._unnamed[name]
            if len(kept) + lost:
                rows[name] = {"seen": len(kept) + lost, "kept": len(kept), "dropped": lost}
        return rows


def _by_modality(identities: Iterable[Identity]) -> Iterator[tuple[str, bytes]]:
    hashes: defaultdict[str, list[bytes]] = defaultdict(list)
    for identity in dict.fromkeys(identities):
        hashes[_modality(identity[1])].append(blake2b("\n".join(identity).encode(), digest_size=8).digest())
    for name, values in hashes.items():
        yield name, b"".join(values)


def _modality(name: str) -> str:
    return name if name in MODALITIES else "other"


def _distinct(hashes: Sequence[bytes]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.unique(np.frombuffer(b"".join(hashes), dtype=np.uint64))


class Unused:
    """Items of files that no place uses and that no cell passed over."""

    def __init__(self, catalogues: Sequence[Catalogue]) -> None:
        self._items: dict[Identity, Item] = {
            (i.source, i.modality, i.item_id): i for catalogue in catalogues for i in catalogue.items
        }
        self._of_cell: dict[str, Drop] = {}

    def see(self, references: Iterable[Reference], drops: Iterable[Drop]) -> None:
        """Takes notice of what is used or has a reason of its own."""
        if not self._items:
            return
        for reference in references:
            self._items.pop((reference.source, reference.modality, reference.item_id), None)
        for drop in drops:
            self._items.pop((drop.source, drop.modality, drop.item_id), None)
            if drop.modality == "":
                self._of_cell[drop.key] = drop

    def drops(self, resolution: int) -> Iterator[Drop]:
        """Yields a drop for each of the rest: the reason is that of its cell, where it has one."""
        for item in self._items.values():
            key = cells.cell_at(item.lon, item.lat, resolution)
            why = self._of_cell.get(key)
            reason, detail = (why.reason, why.detail) if why else (Reason.NOT_SAMPLED, "no planned place uses it")
            yield Drop(key, item.modality, Stage.FIND, reason, None, detail, item.source, item.item_id)
