"""What is known of the shards that failed twice in a run: workers write it, the run that started them reads it."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from pipelines.building.shards import unfinished
from pipelines.engine.run import BuildError
from pipelines.files import storage
from pipelines.plan.plan import Plan, ShardPlan

FAILURES = "failures"
"""Folder of the reports."""
MOST_FAILURES = 3
"""Failed shards whose sentences are given."""


def report_failure(output: str, shard: ShardPlan, sentence: str) -> None:
    """Writes why a shard failed, if that can be written: what hindered the shard may hinder the report."""
    with suppress(OSError):
        storage.write_bytes(_path(output, shard), json.dumps({"error": sentence}).encode())


def forget_failures(output: str, shards: Sequence[ShardPlan]) -> None:
    """Removes what an earlier run reported of shards; other parts of a build may be reporting theirs."""
    there = storage.list_files(storage.join(output, FAILURES))
    paths = [_path(output, shard) for shard in shards]
    storage.delete(path for path in paths if path.rpartition("/")[2] in there)


def check_built(output: str, plan: Plan, shards: Sequence[ShardPlan]) -> None:
    """Raises BuildError where shards that were to be built are not, or could not be built anew."""
    there = storage.list_files(storage.join(output, FAILURES))
    reasons = {
        shard.name: json.loads(storage.read_bytes(_path(output, shard)))["error"]
        for shard in shards
        if _path(output, shard).rpartition("/")[2] in there
    }
    for shard in unfinished(output, replace(plan, shards=list(shards))):
        reasons.setdefault(shard.name, "no reason could be written")
    if reasons:
        lines = "; ".join(f"{name}: {text}" for name, text in sorted(reasons.items())[:MOST_FAILURES])
        raise BuildError(
            f"{len(reasons)} of {len(shards)} shards failed twice, the others are built ({lines}) "
            "- mend the cause and run the same command again."
        )


def _path(output: str, shard: ShardPlan) -> str:
    return storage.join(output, FAILURES, shard.name.rpartition("/")[2].replace(".tar", ".json"))
