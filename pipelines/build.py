"""Building the shards: numbers through the shuffle, never pixels."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import apache_beam as beam

from geodata.sources import Source
from geodata.sources.live import LiveSettings, LiveSources
from pipelines.metrics import BYTES, DROPPED, KEPT, REQUESTS, SHARDS, count
from pipelines.plan import ShardPlan, SourceSpec
from pipelines.recipe import Recipe
from pipelines.shards import write_shard
from pipelines.sources import open_source


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

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection[str]:
        """Shards to their names."""
        return (
            pipeline
            | "List shards" >> beam.Create(self.shards)
            | "Spread shards" >> beam.Reshuffle()
            | "Build shards" >> beam.ParDo(_BuildShard(self))
        )


class _BuildShard(beam.DoFn):  # type: ignore[misc]
    def __init__(self, settings: BuildShards) -> None:
        self._output, self._specs, self._recipe = settings.output, settings.sources, settings.recipe
        self._live_settings, self._threads = settings.live, settings.threads
        self._sources: dict[str, Source] = {}

    def setup(self) -> None:
        self._live = LiveSources(self._live_settings)
        self._sources = {spec.name: open_source(spec, self._live) for spec in self._specs}

    def teardown(self) -> None:
        for source in self._sources.values():
            source.close()
        self._live.close()

    def process(self, shard: ShardPlan) -> Iterable[str]:
        sent = Counter(self._live.session.sent)
        content = write_shard(self._output, shard, self._sources, self._recipe, threads=self._threads)
        count(SHARDS)
        count(BYTES, by=content.size)
        for row in content.rows:
            for modality in row["modalities"]:
                count(KEPT, modality)
        for drop in content.drops:
            count(DROPPED, f"{drop.modality or 'place'}.{drop.reason.value}")
        for service, number in (self._live.session.sent - sent).items():
            count(REQUESTS, service, by=number)
        yield shard.name
