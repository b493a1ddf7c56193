"""Building the shards: numbers through the shuffle, never pixels; one that fails is tried once more, then reported."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import apache_beam as beam

from geodata.sources import Source
from geodata.sources.live import LiveSettings, LiveSources
from pipelines.building.failures import report_failure
from pipelines.building.shards import write_shard
from pipelines.building.watchdog import Watchdog
from pipelines.engine.metrics import BYTES, DROPPED, FAILED, KEPT, SHARDS, count, count_traffic
from pipelines.plan.plan import ShardPlan, SourceSpec
from pipelines.plan.recipe import Recipe
from pipelines.sources.words import open_source

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
    report_failure(output, shard, trace[-1].strip().partition(": ")[2] or trace[-1].strip())
    return shard.name
