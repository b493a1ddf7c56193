"""Shards on a file system: written under a temporary name, renamed, and then vouched for by a sidecar.

A shard whose sidecar names the same rows of the plan is finished and never built again.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from geodata.raster import encoder_versions
from geodata.sources import Source
from pipelines.assemble import ShardContent, assemble_shard
from pipelines.plan import Plan, ShardPlan, read_shard_rows
from pipelines.recall import Recall
from pipelines.recipe import Recipe
from pipelines.run import BuildError
from schemas.drop import Drop, Reason, Stage

SIDECARS = "sidecars"


def sidecar_path(output: str, shard: str) -> str:
    """Returns where the sidecar of `train/train-000000.tar` lies."""
    name = shard.rpartition("/")[2].replace(".tar", ".json")
    return str(FileSystems.join(output, SIDECARS, name))


def read_sidecar(output: str, shard: ShardPlan, *, of_any_plan: bool = False) -> dict[str, Any] | None:
    """Returns a finished shard's sidecar; None where the shard is still to be built.

    Args:
        of_any_plan: also one that vouches for other rows of the plan, before a retry found more.
    """
    path = sidecar_path(output, shard.name)
    if not FileSystems.exists(path):
        return None
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        try:
            sidecar: dict[str, Any] = json.loads(file.read())
        except ValueError:  # cut off by a power failure
            return None
    if sidecar["plan_sha256"] != shard.sha256 and not of_any_plan:
        return None
    found = FileSystems.match([FileSystems.join(output, shard.name)])[0].metadata_list
    return sidecar if found and found[0].size_in_bytes == sidecar["bytes"] else None


def read_drops(sidecar: dict[str, Any]) -> list[Drop]:
    """Returns a sidecar's drops as records."""
    return [Drop(**{**row, "stage": Stage(row["stage"]), "reason": Reason(row["reason"])}) for row in sidecar["drops"]]


def unfinished(output: str, plan: Plan) -> list[ShardPlan]:
    """Returns the shards that are still to be built."""
    return [shard for shard in plan.shards if read_sidecar(output, shard) is None]


def write_shard(
    output: str, shard: ShardPlan, sources: Mapping[str, Source], recipe: Recipe, *, threads: int = 1
) -> ShardContent:
    """Builds a shard and its sidecar; what an earlier build of it found is not read again.

    Raises:
        BuildError: if it cannot be written.
    """
    rows = read_shard_rows(output, shard.number)
    path = FileSystems.join(output, shard.name)
    earlier = read_sidecar(output, shard, of_any_plan=True)
    known = Recall(path, earlier, read_drops(earlier)) if earlier else None
    temporary = f"{path}.tmp"
    try:
        _make_folder(path)
        with FileSystems.create(temporary, compression_type=CompressionTypes.UNCOMPRESSED) as sink:
            content = assemble_shard(rows, sources, sink, shard=shard.name, recipe=recipe, known=known, threads=threads)
        _replace(temporary, path)
        _write_sidecar(output, shard, content)
    except OSError as error:
        _remove(temporary)
        raise BuildError(
            f"The shard {path} cannot be written ({error.strerror or error}): make room or choose another --output; "
            "finished shards stay valid."
        ) from error
    return content


def _write_sidecar(output: str, shard: ShardPlan, content: ShardContent) -> None:
    document = {
        "shard": shard.name, "plan_sha256": shard.sha256, "sha256": content.sha256, "bytes": content.size,
        "rows": content.rows, "drops": [asdict(drop) for drop in content.drops],
        "statistics": content.statistics.sums, "versions": encoder_versions(),
    }  # fmt: skip
    path = sidecar_path(output, shard.name)
    _make_folder(path)
    with FileSystems.create(f"{path}.tmp", compression_type=CompressionTypes.UNCOMPRESSED) as sink:
        sink.write(json.dumps(document, ensure_ascii=False, sort_keys=True).encode())
    _replace(f"{path}.tmp", path)


def _make_folder(path: str) -> None:
    folder = path.rpartition("/")[0]
    if not FileSystems.exists(folder):
        try:
            FileSystems.mkdirs(folder)
        except OSError:
            if not FileSystems.exists(folder):  # else another worker was faster
                raise


def _replace(temporary: str, path: str) -> None:
    """Renames over what a repeated bundle may have left, which has the same bytes."""
    FileSystems.rename([temporary], [path])


def _remove(path: str) -> None:
    if FileSystems.exists(path):
        FileSystems.delete([path])
