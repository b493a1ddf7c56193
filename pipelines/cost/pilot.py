"""Reading a few observations of a plan, so that its price rests on what they weigh and not on guesses.

Only a dry run does this. It asks the services as the build will, in batches of its own, and keeps nothing.
"""

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from rasterio.io import DatasetReader
from tqdm import tqdm

from geodata import cells
from geodata.observe import Content, observe
from geodata.services.session import ServiceError
from geodata.sources import Source
from geodata.sources.live import LIVE_MODALITIES, LiveSources
from geodata.sources.source import ReadError
from pipelines.building.assemble import in_order
from pipelines.cost.estimate import CostEstimate
from pipelines.cost.measures import ANSWER_BYTES, ANSWER_S, WEIGHTS, Block, Measures, Weight
from pipelines.cost.reads import OPENING_BYTES, File, ShardReader, files_of, key_of
from pipelines.files.tar import BLOCK
from pipelines.plan.options import Options
from pipelines.plan.plan import Plan, ShardRows, read_shard_rows
from pipelines.sources.live import probe_services, services_of
from pipelines.sources.words import FILES, LIVE, open_source
from schemas.drop import Reason
from schemas.modality import MODALITIES
from schemas.reference import Item, Place, Reference
from schemas.sample import Sample, encode_metadata

PLACES = {"sentinel2": 16, "aerial": 16, "dem": 16, "street": 64, "text": 100}
"""Places at which each view is read from services: few where it costs megabytes, more where sizes differ much."""
FILE_PLACES = 100
"""Places at which each view is read from files of this machine."""
SHARDS = 8
"""Shards from which these are taken."""


def price_plan(options: Options, plan: Plan, factor: float = 1.0) -> Plan:
    """Returns a plan with an estimate that rests on a pilot.

    Args:
        factor: how many times as many places are to be priced as the plan has.
    """
    measures = run_pilot(options, plan)
    estimate = CostEstimate(
        options.recipe, http=options.live_settings.http, threads=options.threads, measures=measures
    )  # fmt: skip
    for shard in plan.shards:
        rows = read_shard_rows(options.output, shard)
        estimate.add(rows.references, rows.index_items())
    asked = {
        name: {service: round(factor * number) for service, number in counts.items()}
        for name, counts in plan.estimate.get("asked", {}).items()
    }
    return replace(plan, estimate=estimate.scaled(factor).as_dict() | {"asked": asked})


def run_pilot(options: Options, plan: Plan) -> Measures:
    """Reads observations of some shards of a plan, view by view.

    A service that is down leaves its constants in place, and a note.
    """
    numbers = np.random.default_rng(options.seed).permutation(len(plan.shards))[:SHARDS].tolist()
    pilot = _Pilot(options, plan, [read_shard_rows(options.output, plan.shards[n]) for n in sorted(numbers)])
    try:
        for modality in tqdm(MODALITIES, desc="pilot", unit="view", file=sys.stderr, disable=options.log_json):
            pilot.measure(modality)
        return pilot.measures()
    finally:
        pilot.close()


@dataclass
class _Tally:
    """What the candidates of one view at one place gave."""

    candidates: int
    """Their number."""
    kept: list[Content] = field(default_factory=list)
    """The good ones."""
    read: int = 0
    """How many were read."""
    failed: str = ""
    """What a service that failed said."""
    read_s: float = 0.0
    """How long it took."""
    blocks: list[tuple[str, Block]] = field(default_factory=list)
    """By kind of file."""


class _Pilot:
    def __init__(self, options: Options, plan: Plan, shards: Sequence[ShardRows]) -> None:
        self._recipe, self._threads = options.recipe, options.threads
        settings = options.live_settings
        http = replace(settings.http, workers=1, attempts=2, patience_s=0)  # nobody else asks now
        self._live = LiveSources(replace(settings, http=http))
        self._sources: dict[str, Source] = {spec.name: open_source(spec, self._live) for spec in plan.sources}
        self._is_live = {spec.name: spec.kind == LIVE for spec in plan.sources}
        self._has_files = any(spec.kind in FILES for spec in plan.sources)
        self._items = {key: item for rows in shards for key, item in rows.index_items().items()}
        self._places = {place.key: place for rows in shards for place in rows.places}
        self._references = [reference for rows in shards for reference in rows.references]
        self._weights, self._blocks = dict(WEIGHTS), defaultdict[str, list[Block]](list)
        self._answer_s, self._answer_bytes = dict(ANSWER_S), dict(ANSWER_BYTES)
        self._file_s, self._file_requests = defaultdict[str, float](float), Counter[str]()
        self._notes: list[str] = []

    def close(self) -> None:
        for source in self._sources.values():
            source.close()
        self._live.close()

    def measures(self) -> Measures:
        names = services_of([name for name, is_live in self._is_live.items() if is_live])
        checks = {probe.service: probe.size_bytes for probe in probe_services(self._live.settings, names)}
        return replace(
            self._measure_blocks(), weights=self._weights, answer_bytes=self._answer_bytes, answer_s=self._answer_s,
            check_bytes=checks, notes=tuple(self._notes),
        )  # fmt: skip

    def measure(self, modality: str) -> None:
        """Reads one view at some places and remembers what it weighs."""
        groups = self._choose(modality)
        if not groups:
            return
        references = [reference for group in groups for reference in group]
        for name, source in self._sources.items():
            source.prepare([self._items[key_of(r)] for r in references if r.source == name])
        session, start_s = self._live.session, time.process_time()
        sent, received, waited = Counter(session.sent), Counter(session.received), dict(session.waited_s)
        threads = 1 if self._has_files else self._threads
        tallies = list(in_order(self._read, groups, threads))
        cpu_s = time.process_time() - start_s
        failed = [tally.failed for tally in tallies if tally.failed]
        tallies = [tally for tally in tallies if not tally.failed]
        if not tallies:
            self._notes.append(f"{modality} could not be measured ({failed[0]}): constants stand for it")
            return
        self._weigh(modality, tallies, cpu_s)
        for tally in tallies:
            for kind, block in tally.blocks:
                self._blocks[kind].append(block)
        self._note_answers(session.received - received, session.sent - sent, waited, references)
        self._note_files(references, tallies)

    def _choose(self, modality: str) -> list[list[Reference]]:
        """Returns the candidates for a view at some places, by lot, those that share a scene beside each other."""
        groups: defaultdict[tuple[str, int], list[Reference]] = defaultdict(list)
        for reference in self._references:
            if reference.modality == modality:
                groups[reference.key, reference.slot].append(reference)
        is_live = any(self._is_live.get(group[0].source) for group in groups.values())
        keys = np.array([cells.to_cell(key) for key, _ in groups], dtype=np.uint64)
        order = np.argsort(cells.hash64(keys, f"pilot {modality}"), kind="stable")
        number = PLACES[modality] if is_live else FILE_PLACES
        chosen = [list(groups.values())[n] for n in order[:number].tolist()]
        return sorted(chosen, key=lambda group: (group[0].source, group[0].item_id, group[0].key))

    def _read(self, group: list[Reference]) -> _Tally:
        """Reads candidates until as many are good as are kept."""
        tally, recipe = _Tally(len(group)), self._recipe
        for reference in group:
            if len(tally.kept) == recipe.most(reference.modality):
                break
            item, source = self._items[key_of(reference)], self._sources[reference.source]
            tally.read += 1
            start = time.monotonic()
            found = observe(reference.key, item, source, thresholds=recipe.thresholds, encoding=recipe.encoding)
            tally.read_s += time.monotonic() - start
            if isinstance(found, Content):
                tally.kept.append(found)
            elif found.reason == Reason.SERVICE:
                tally.failed = found.detail
                return tally
            if self._is_live[reference.source]:
                tally.blocks += self._look_at_blocks(item, reference.key)
        return tally

    def _look_at_blocks(self, item: Item, place: str) -> Iterable[tuple[str, Block]]:
        """Yields the block in the middle of the patch of each file of a raster, which is open already."""
        for file in files_of(item, [place]):
            try:
                yield file.kind, self._live.rasters.read(file.href, partial(_look, file=file))
            except (ReadError, ServiceError):
                continue  # the observation has told of it

    def _weigh(self, modality: str, tallies: Sequence[_Tally], cpu_s: float) -> None:
        most = self._recipe.most(modality)
        contents = [content for tally in tallies for content in tally.kept]
        wanted = sum(min(most, tally.candidates) for tally in tallies)
        spares = max(tally.candidates for tally in tallies) - most
        stored = [_stored_bytes(content, self._places) for content in contents]
        self._weights[modality] = Weight(
            float(np.mean(stored)) if stored else WEIGHTS[modality].stored_bytes,
            cpu_s / max(1, sum(tally.read for tally in tallies)), len(contents) / wanted,
            tuple(_share_read(tallies, most + spare) for spare in range(spares)), len(tallies),
        )  # fmt: skip

    def _note_answers(
        self, received: Counter[str], sent: Counter[str], waited: Mapping[str, float], named: Sequence[Reference]
    ) -> None:
        """Divides bytes by what was asked for, and seconds by requests."""
        session = self._live.session
        things = Counter(sent)
        ids = {(r.source, r.item_id) for r in named}
        things["mapillary"] = sum(source == "mapillary" for source, _ in ids)
        things["wikipedia"] = sum(source == "wikipedia" for source, _ in ids)
        for service, number in sent.items():
            if service in ANSWER_BYTES and things[service]:
                self._answer_bytes[service] = received[service] / things[service]
            if service in session.waited_s:
                self._answer_s[service] = (session.waited_s[service] - waited.get(service, 0.0)) / number

    def _note_files(self, references: Sequence[Reference], tallies: Sequence[_Tally]) -> None:
        """Adds the time of reading rasters, and the requests that these are expected to have cost."""
        read = [r for r in references if r.rank < self._recipe.most(r.modality) and r.source in LIVE_MODALITIES]
        expected: Counter[str] = Counter()
        for service, requests, _ in ShardReader(self._recipe, self._measure_blocks(), workers=1).read(
            read, [], self._items
        ):
            expected[service] += requests
        for service in ("blob", "s3"):
            if expected[service]:
                self._file_s[service] += sum(tally.read_s for tally in tallies)
                self._file_requests[service] += expected[service]
                self._answer_s[service] = self._file_s[service] / self._file_requests[service]

    def _measure_blocks(self) -> Measures:
        return Measures(blocks={kind: _mean_block(seen) for kind, seen in self._blocks.items()})


def _share_read(tallies: Sequence[_Tally], rank: int) -> float:
    """Share of the places with so many candidates that read the one of a rank."""
    having = [tally for tally in tallies if tally.candidates > rank]
    return sum(tally.read > rank for tally in having) / len(having) if having else 0.0


def _stored_bytes(content: Content, places: Mapping[str, Place]) -> int:
    """Returns what an observation adds to a shard: its member, padded, with header, and its lines in the metadata."""
    observation = content.observation
    place = places[observation.member.partition(".")[0]]
    described, bare = (
        len(encode_metadata(Sample(place.key, place.split, place.lon, place.lat, place.country, observations)))
        for observations in ((observation,), ())
    )
    size = len(observation.payload)
    return BLOCK + size + -size % BLOCK + described - bare


def _look(dataset: DatasetReader, file: File) -> Block:
    """Returns the block of a file in the middle of a patch; its bytes are 0 where the header held it."""
    height, width = dataset.block_shapes[0]
    column, row = (int(pixel // side) for pixel, side in zip(file.middles[0].tolist(), (width, height), strict=True))
    column, row = (
        max(0, min(n, last))
        for n, last in ((column, (dataset.width - 1) // width), (row, (dataset.height - 1) // height))
    )
    offset, size = (
        int(dataset.get_tag_item(f"BLOCK_{what}_{column}_{row}", "TIFF", bidx=1) or 0) for what in ("OFFSET", "SIZE")
    )
    return Block(width, float(size) if offset + size > OPENING_BYTES else 0.0)


def _mean_block(blocks: Sequence[Block]) -> Block:
    return Block(blocks[0].side_px, float(np.mean([block.size_bytes for block in blocks])))
