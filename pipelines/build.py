"""Building the shards: numbers through the shuffle, never pixels."""

from collections.abc import Iterable
from dataclasses import dataclass

import apache_beam as beam

from geodata.sources.files import FileSource
from pipelines.metrics import BYTES, DROPPED, KEPT, SHARDS, count
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

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection[str]:
        """Shards to their names."""
        return (
            pipeline
            | "List shards" >> beam.Create(self.shards)
            | "Spread shards" >> beam.Reshuffle()
            | "Build shards" >> beam.ParDo(_BuildShard(self.output, self.sources, self.recipe))
        )


class _BuildShard(beam.DoFn):  # type: ignore[misc]
    def __init__(self, output: str, specs: list[SourceSpec], recipe: Recipe) -> None:
        self._output, self._specs, self._recipe = output, specs, recipe
        self._sources: dict[str, FileSource] = {}

    def setup(self) -> None:
        self._sources = {spec.name: open_source(spec) for spec in self._specs}

    def teardown(self) -> None:
        for source in self._sources.values():
            source.close()

    def process(self, shard: ShardPlan) -> Iterable[str]:
        content = write_shard(self._output, shard, self._sources, self._recipe)
        count(SHARDS)
        count(BYTES, by=content.size)
        for row in content.rows:
            for modality in row["modalities"]:
                count(KEPT, modality)
        for drop in content.drops:
            count(DROPPED, f"{drop.modality or 'place'}.{drop.reason.value}")
        yield shard.name
