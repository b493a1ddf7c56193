"""Building one whole shard from its rows of the plan. No Beam: the function that a worker calls, or a plain loop."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import attrgetter
from typing import Any, BinaryIO

from geodata.observe import Content, observe
from geodata.sources import Source
from pipelines.plan import ShardRows
from pipelines.recipe import Recipe
from pipelines.statistics import Statistics
from pipelines.tar import TarWriter
from schemas.drop import Drop, Reason, Stage
from schemas.modality import member_name
from schemas.reference import Item, Place, Reference
from schemas.sample import Sample, encode_metadata


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
    rows: ShardRows, sources: Mapping[str, Source], sink: BinaryIO, *, shard: str, recipe: Recipe
) -> ShardContent:
    """Reads, judges, encodes and writes all samples of a shard, one after the other.

    Places come in H3 order, so a raster that covers several is opened once; only one sample is in memory.
    """
    items = {(item.source, item.modality, item.item_id): item for item in rows.items}
    by_key = {key: list(group) for key, group in groupby(rows.references, attrgetter("key"))}
    content = ShardContent()
    tar = TarWriter(sink)
    for place in rows.places:
        contents, drops = _collect(by_key.get(place.key, []), items, sources, recipe)
        missing = [name for name in recipe.required if name not in {c.observation.modality for c in contents}]
        if missing or len(contents) < recipe.min_observations:
            drops += [_unwanted(c, missing) for c in contents]
            detail = f"no {missing[0]}" if missing else f"{len(contents)} observations are left"
            drops.append(Drop(place.key, "", Stage.JUDGE, Reason.NO_OBSERVATION, len(contents), detail))
        else:
            content.rows.append(_write(tar, place, contents, shard))
            for one in contents:
                content.statistics.add(one.observation.modality, one.values)
        content.drops += drops
    tar.close()
    content.sha256, content.size = tar.sha256, tar.size
    return content


def _collect(
    references: list[Reference],
    items: Mapping[tuple[str, str, str], Item],
    sources: Mapping[str, Source],
    recipe: Recipe,
) -> tuple[list[Content], list[Drop]]:
    """Observes a place: of each modality's candidates the first that are good, as many as a sample keeps."""
    contents: list[Content] = []
    drops: list[Drop] = []
    for modality, group in groupby(references, attrgetter("modality")):
        left = recipe.most(modality)
        for reference in group:
            item = items[reference.source, modality, reference.item_id]
            if left == 0:
                detail = "better candidates were good"
                drops.append(_drop(reference.key, item, Stage.CHOOSE, Reason.NOT_NEEDED, detail))
                continue
            source = sources[reference.source]
            found = observe(reference.key, item, source, thresholds=recipe.thresholds, encoding=recipe.encoding)
            if isinstance(found, Drop):
                drops.append(found)
                continue
            contents.append(found)
            left -= 1
    return list(_number_members(contents)), drops


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
        "licences": sorted({(o.modality, o.licence, o.attribution) for o in observations}),
    }  # fmt: skip


def _drop(key: str, item: Item, stage: Stage, reason: Reason, detail: str) -> Drop:
    return Drop(key, item.modality, stage, reason, None, detail, item.source, item.item_id)


def _unwanted(content: Content, missing: list[str]) -> Drop:
    o = content.observation
    detail = f"the place has no {missing[0]}" if missing else "the place has too few observations"
    key = o.member.partition(".")[0]
    return Drop(key, o.modality, Stage.JUDGE, Reason.NO_OBSERVATION, None, detail, o.source, o.item_id)
