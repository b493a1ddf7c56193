"""Building the shards: numbers through the shuffle, never pixels; one that fails is tried once more, then reported."""

import json
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import apache_beam as beam

from geodata.sources import Source
from geodata.sources.live import LiveSettings, LiveSources
from pipelines import storage
from pipelines.metrics import BYTES, DROPPED, FAILED, KEPT, SHARDS, count, count_traffic
from pipelines.plan import ShardPlan, SourceSpec
from pipelines.recipe import Recipe
from pipelines.shards import write_shard
from pipelines.sources import open_source
from pipelines.watchdog import Watchdog

FAILURES = "failures"
"""Folder of what is known of the shards that failed in the last run."""

_Failure = tuple[ShardPlan, tuple[type, str, list[str]]]
"""As Beam gives it: the shard, and type, text and trace of its exception."""


@dataclass
class BuildShards(beam.PTransform):  # type: ignore[misc]
    """Builds each shard in one call."""

    output: str
    """Folder of the corpus."""
    shards: list[ShardPlan]
    """What to build."""
    sources: list[SourceSpec]
    """Where to read."""
    recipe: Recipe
    """How to judge and encode."""
    live: LiveSettings
    """How live sources are asked."""
    threads: int = 1
    """Places read at once by a worker."""
    overdue_s: float = 0.0
    """Longest that one observation may take; 0 for any."""

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection[str]:
        """Shards to the names of those that could not be built."""
        first, again = (beam.ParDo(_BuildShard(self)).with_exception_handling() for _ in range(2))
        _, failed = (
            pipeline
            | "List shards" >> beam.Create(self.shards)
            | "Spread shards" >> beam.Reshuffle()
            | "Build shards" >> first
        )
        _, lost = failed | "Take shards" >> beam.Keys() | "Spread again" >> beam.Reshuffle() | "Build again" >> again
        return lost | "Report failures" >> beam.Map(_report, self.output)


class _BuildShard(beam.DoFn):  # type: ignore[misc]
    def __init__(self, settings: BuildShards) -> None:
        self._output, self._specs, self._recipe = settings.output, settings.sources, settings.recipe
        self._live_settings, self._threads = settings.live, settings.threads
        self._overdue_s = settings.overdue_s
        self._sources: dict[str, Source] = {}

    def setup(self) -> None:
        self._live = LiveSources(self._live_settings)
        self._sources = {spec.name: open_source(spec, self._live) for spec in self._specs}
        self._watchdog = Watchdog(self._overdue_s)

    def teardown(self) -> None:
        self._watchdog.close()
        for name, source in self._sources.items():
            if not self._watchdog.has_hung(name):  # else a thread still uses it
                source.close()
        self._live.close()

    def process(self, shard: ShardPlan) -> Iterable[str]:
        sent, received = Counter(self._live.session.sent), Counter(self._live.session.received)
        content = write_shard(
            self._output, shard, self._sources, self._recipe, threads=self._threads, watchdog=self._watchdog
        )
        count(SHARDS)
        count(BYTES, by=content.size)
        for row in content.rows:
            for modality, source, _ in row["identities"]:
                count(KEPT, f"{source}.{modality}")
        for drop in content.drops:
            count(DROPPED, ".".join(filter(None, (drop.source, drop.modality or "place", drop.reason.value))))
        count_traffic(self._live.session, sent, received)
        yield shard.name


def _report(failure: _Failure, output: str) -> str:
    shard, (_, _, trace) = failure
    count(FAILED)
    sentence = trace[-1].strip().partition(": ")[2] or trace[-1].strip()
    path = storage.join(output, FAILURES, shard.name.rpartition("/")[2].replace(".tar", ".json"))
    with suppress(OSError):  # what hindered the shard hinders the report: then the shard is just missing
        storage.write_bytes(path, json.dumps({"shard": shard.name, "error": sentence}).encode())
    return shard.name


def read_failures(output: str) -> dict[str, str]:
    """Returns the sentence of each shard that failed twice in the last run, by name."""
    folder = storage.join(output, FAILURES)
    documents = [json.loads(storage.read_bytes(storage.join(folder, name))) for name in storage.list_files(folder)]
    return {document["shard"]: document["error"] for document in sorted(documents, key=lambda d: str(d["shard"]))}
