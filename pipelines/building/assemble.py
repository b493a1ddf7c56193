"""Building one whole shard from its rows of the plan. No Beam: the function that a worker calls, or a plain loop."""

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any, BinaryIO, TypeVar

from geodata.judge import Verdict
from geodata.observe import Content, observe
from geodata.sources import Source
from pipelines.building.statistics import Statistics
from pipelines.building.watchdog import OverdueError, Watchdog
from pipelines.files.tar import TarWriter
from pipelines.plan.plan import ShardRows
from pipelines.plan.recipe import Recipe
from schemas.drop import Drop, Reason, Stage
from schemas.modality import member_name
from schemas.reference import Item, Place, Reference
from schemas.sample import Sample, encode_metadata

A = TypeVar("A")
B = TypeVar("B")

Known = tuple[str, str, str, str]
"""Cell, modality, source and item: what names one observation of a corpus."""


@dataclass
class ShardContent:
    """What was written: becomes the sidecar."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    """One for each sample: index columns, member offsets, content digests."""
    drops: list[Drop] = field(default_factory=list)
    """References that gave no observation."""
    statistics: Statistics = field(default_factory=Statistics)
    """Sums per band."""
    sha256: str = ""
    """Of the tar."""
    size: int = 0
    """Bytes of the tar."""


def assemble_shard(
    rows: ShardRows, sources: Mapping[str, Source], sink: BinaryIO, *, shard: str, recipe: Recipe,
    known: Mapping[Known, Content | Drop] | None = None, threads: int = 1, watchdog: Watchdog | None = None,
) -> ShardContent:  # fmt: skip
    """Reads, judges, encodes and writes all samples of a shard, in the order of their keys.

    Places come in H3 order, so a raster that covers several is opened once; only a few samples are in memory.

    Args:
        known: what an earlier build of the shard found, which is not read again.
        threads: places read at once; sources that are asked by several must allow it.
        watchdog: gives up reads that take too long; None waits for any.
    """
    items = {(item.source, item.modality, item.item_id): item for item in rows.items}
    watchdog = watchdog or Watchdog(0)
    by_key = {key: list(group) for key, group in groupby(rows.references, attrgetter("key"))}
    for name, source in sources.items():
        wanted = (r for r in rows.references if r.source == name and _identify(r) not in (known or {}))
        named = [items[r.source, r.modality, r.item_id] for r in wanted]
        with suppress(OverdueError):  # then each read asks for itself
            watchdog.run(name, partial(source.prepare, named))
    content = ShardContent()
    tar = TarWriter(sink)
    look = partial(_look, sources=sources, recipe=recipe, watchdog=watchdog)
    collect = partial(_collect, by_key=by_key, items=items, look=look, recipe=recipe, known=known or {})
    for place, (contents, drops) in zip(rows.places, in_order(collect, rows.places, threads), strict=True):
        lost = reject_sample(contents, recipe)
        if lost is not None:
            drops += [_unwanted(c, lost) for c in contents]
            drops.append(Drop(place.key, "", Stage.JUDGE, lost.reason, lost.value, lost.detail))
        else:
            content.rows.append(_write(tar, place, contents, shard))
            for one in contents:
                if one.sums is not None:
                    content.statistics.merge({one.observation.modality: one.sums})
        content.drops += drops
    tar.close()
    content.sha256, content.size = tar.sha256, tar.size
    return content


def in_order(function: Callable[[A], B], values: Iterable[A], threads: int) -> Iterator[B]:
    """Yields the results for values in their order, a few of them worked on ahead in threads."""
    if threads == 1:
        yield from map(function, values)
        return
    pending: deque[Future[B]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for value in values:
            pending.append(pool.submit(function, value))
            if len(pending) > threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _collect(
    place: Place, by_key: Mapping[str, list[Reference]], items: Mapping[tuple[str, str, str], Item],
    look: Callable[[str, Item], Content | Drop], recipe: Recipe, known: Mapping[Known, Content | Drop],
) -> tuple[list[Content], list[Drop]]:  # fmt: skip
    """Observes a place: of each modality's (and season's) candidates the first that are good, as many as are kept."""
    contents: list[Content] = []
    drops: list[Drop] = []
    for (modality, _), group in groupby(by_key.get(place.key, []), attrgetter("modality", "slot")):
        left = recipe.most(modality)
        for reference in group:
            item = items[reference.source, modality, reference.item_id]
            if left == 0:
                detail = "better candidates were good"
                drops.append(_drop(reference.key, item, Stage.CHOOSE, Reason.NOT_NEEDED, detail))
                continue
            found = known.get(_identify(reference))
            if found is None:
                found = look(reference.key, item)
            if isinstance(found, Drop):
                drops.append(found)
                continue
            contents.append(found)
            left -= 1
    return list(_number_members(contents)), drops


def _look(key: str, item: Item, *, sources: Mapping[str, Source], recipe: Recipe, watchdog: Watchdog) -> Content | Drop:
    """Observes an item for a cell; one that hangs is dropped and may be asked again in another run."""
    read = partial(
        observe, key, item, sources[item.source], thresholds=recipe.thresholds, encoding=recipe.encoding
    )  # fmt: skip
    try:
        return watchdog.run(item.source, read)  # type: ignore[no-any-return]
    except OverdueError as error:
        return replace(_drop(key, item, Stage.READ, Reason.OVERDUE, str(error)), retryable=True)


def reject_sample(contents: list[Content], recipe: Recipe) -> Verdict | None:
    """Returns why a place with these observations is not worth keeping, None where it is."""
    views = {content.observation.modality for content in contents}
    missing = [name for name in recipe.required if name not in views]
    if missing:
        return Verdict(Reason.NO_OBSERVATION, len(contents), f"no {missing[0]}")
    if len(contents) < recipe.min_observations or len(views) < recipe.min_modalities:
        return Verdict(
            Reason.NO_OBSERVATION, len(contents), f"{len(contents)} observations of {len(views)} views are left"
        )
    times = [c.observation.captured_at for c in contents if c.observation.captured_at is not None]
    days = (max(times) - min(times)).total_seconds() / 86_400 if times else 0.0
    if recipe.max_days_apart and days > recipe.max_days_apart:
        return Verdict(Reason.DAYS_APART, round(days, 1), f"its views were taken {days:.0f} days apart")
    return None


def _identify(reference: Reference) -> Known:
    return reference.key, reference.modality, reference.source, reference.item_id


def _number_members(contents: list[Content]) -> Iterator[Content]:
    """Gives several photos of a sample names of their own."""
    for modality, group in groupby(contents, lambda c: c.observation.modality):
        members = list(group)
        for number, content in enumerate(members):
            key = content.observation.member.partition(".")[0]
            name = member_name(key, modality, number, len(members))
            yield replace(content, observation=replace(content.observation, member=name))


def _write(tar: TarWriter, place: Place, contents: list[Content], shard: str) -> dict[str, Any]:
    observations = tuple(content.observation for content in contents)
    sample = Sample(place.key, place.split, place.lon, place.lat, place.country, observations)
    members = {o.member: o.payload for o in observations} | {f"{place.key}.json": encode_metadata(sample)}
    start = tar.size
    where = [
        {"name": name, "offset": tar.add(name, members[name]), "size": len(members[name])} for name in sorted(members)
    ]
    return {
        "key": place.key, "split": place.split, "shard": shard, "lon": place.lon, "lat": place.lat,
        "country": place.country, "modalities": list(dict.fromkeys(o.modality for o in observations)),
        "observed": dict(Counter(o.modality for o in observations)),
        "synthetic": any(o.synthetic for o in observations), "offset": start, "size": tar.size - start,
        "members": where,
        "content_sha256": hashlib.sha256("".join(c.sha256 for c in contents).encode()).hexdigest(),
        "contents": [c.sha256 for c in contents], "sums": [c.sums for c in contents],
        "digests": {name: hashlib.sha256(payload).hexdigest() for name, payload in members.items()},
        "identities": [(o.modality, o.source, o.item_id) for o in observations],
        "licences": sorted({(o.modality, o.licence, o.attribution) for o in observations}),
    }  # fmt: skip


def _drop(key: str, item: Item, stage: Stage, reason: Reason, detail: str) -> Drop:
    return Drop(key, item.modality, stage, reason, None, detail, item.source, item.item_id)


def _unwanted(content: Content, verdict: Verdict) -> Drop:
    o = content.observation
    key = o.member.partition(".")[0]
    return Drop(key, o.modality, Stage.JUDGE, verdict.reason, None, verdict.detail, o.source, o.item_id)
