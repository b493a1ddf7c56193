"""Shards on a file system: written under a temporary name, renamed, and then vouched for by a sidecar.

A shard whose sidecar names the same rows of the plan is finished and never built again. The sidecar's name tells the
rows' digest, and size and digest of the shard, so one listing of the folders shows what is finished. When a shard is
built anew its new sidecar comes first, then the shard, and then the old sidecar goes: one of both always vouches for
what lies there.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from geodata.raster import encoder_versions
from geodata.sources import Source
from pipelines.building.assemble import ShardContent, assemble_shard
from pipelines.building.recall import Recall
from pipelines.building.watchdog import Watchdog
from pipelines.engine.run import BuildError
from pipelines.files import storage
from pipelines.plan.plan import Plan, ShardPlan, read_shard_rows
from pipelines.plan.recipe import Recipe
from schemas.drop import Drop, Reason, Stage
from schemas.reference import SPLITS

SIDECARS = "sidecars"
READ_AHEAD = 16
"""Sidecars that are read at once where they lie far away."""


class Finished:
    """What of a plan is built: one listing of the corpus."""

    def __init__(self, output: str, only: ShardPlan | None = None) -> None:
        """Lists a corpus, or what there is of one shard."""
        self._output = output
        stem = _stem(only.name) if only else ""
        self._sidecars: dict[str, list[str]] = {}
        for name, size in storage.list_files(storage.join(output, SIDECARS), stem).items():
            if name.endswith(".json") and size:  # a power failure may leave an empty one
                self._sidecars.setdefault(name.partition(".")[0], []).append(name)
        self._sizes: dict[str, int] = {}
        for split in SPLITS if only is None else [only.name.partition("/")[0]]:
            files = storage.list_files(storage.join(output, split), stem)
            self._sizes |= {f"{split}/{name}": size for name, size in files.items()}

    def __contains__(self, shard: ShardPlan) -> bool:
        return self.sidecar(shard) is not None

    def sidecar(self, shard: ShardPlan, *, of_any_plan: bool = False) -> str | None:
        """Returns the name of the sidecar that vouches for a shard as it lies there.

        Args:
            of_any_plan: also one of other rows of the plan, before a retry or a removal changed them.
        """
        fitting = [name for name in self.sidecars(shard) if self._sizes.get(shard.name) == int(name.split(".")[2])]
        if len(fitting) > 1:  # a build was cut off between sidecar and shard, and both have the same size
            sha256 = _digest(storage.join(self._output, shard.name))
            fitting = [name for name in fitting if sha256.startswith(name.split(".")[3])]
        fitting = [name for name in fitting if of_any_plan or shard.sha256.startswith(name.split(".")[1])]
        return fitting[0] if fitting else None

    def sidecars(self, shard: ShardPlan) -> list[str]:
        """Returns the names of a shard's sidecars, whatever they vouch for."""
        return self._sidecars.get(_stem(shard.name), [])


def unfinished(output: str, plan: Plan) -> list[ShardPlan]:
    """Returns the shards that are still to be built."""
    finished = Finished(output)
    return [shard for shard in plan.shards if shard not in finished]


def read_sidecars(output: str, shards: Iterable[ShardPlan]) -> Iterator[tuple[ShardPlan, dict[str, Any]]]:
    """Yields finished shards with their sidecars, in order; some are read ahead."""
    finished = Finished(output)
    names = [(shard, name) for shard in shards if (name := finished.sidecar(shard)) is not None]
    if not storage.is_remote(output):
        for shard, name in names:
            yield shard, _read(output, name)
        return
    with ThreadPoolExecutor(READ_AHEAD) as pool:
        for start in range(0, len(names), READ_AHEAD):
            some = names[start : start + READ_AHEAD]
            documents = pool.map(lambda pair: _read(output, pair[1]), some)
            yield from zip((shard for shard, _ in some), documents, strict=True)


def read_drops(sidecar: dict[str, Any]) -> list[Drop]:
    """Returns a sidecar's drops as records."""
    return [Drop(**{**row, "stage": Stage(row["stage"]), "reason": Reason(row["reason"])}) for row in sidecar["drops"]]


def write_shard(
    output: str, shard: ShardPlan, sources: Mapping[str, Source], recipe: Recipe, *, threads: int = 1,
    watchdog: Watchdog | None = None,
) -> ShardContent:  # fmt: skip
    """Builds a shard and its sidecar; what an earlier build of it found is not read again.

    Args:
        sources: without any, all comes from the earlier build.

    Raises:
        BuildError: if it cannot be written; then an earlier one is still there.
    """
    path = storage.join(output, shard.name)
    finished = Finished(output, shard)
    earlier = finished.sidecar(shard, of_any_plan=True)
    document = _read(output, earlier) if earlier else None
    drops = read_drops(document) if document else []
    if document and shard in finished and not (sources and any(drop.retryable for drop in drops)):
        return ShardContent(document["rows"], drops, sha256=document["sha256"], size=document["bytes"])
    known = Recall(path, document, drops, is_final=not sources) if document else None
    if known is None and not sources:
        raise BuildError(f"The shard {path} must be fetched anew: run the command that built the corpus.")
    rows = read_shard_rows(output, shard)
    try:
        with storage.create(path) as sink:
            content = assemble_shard(
                rows, sources, sink, shard=shard.name, recipe=recipe, known=known, threads=threads, watchdog=watchdog
            )
            name = _write_sidecar(output, shard, content)
        stale = [other for other in finished.sidecars(shard) if other != name]
        storage.delete(storage.join(output, SIDECARS, other) for other in stale)
    except OSError as error:
        raise BuildError(
            f"The shard {path} cannot be written ({error.strerror or error}): make room or choose another --output; "
            "finished shards stay valid."
        ) from error
    return content


def _write_sidecar(output: str, shard: ShardPlan, content: ShardContent) -> str:
    """Writes a sidecar and returns its name."""
    document = {
        "shard": shard.name, "plan_sha256": shard.sha256, "sha256": content.sha256, "bytes": content.size,
        "rows": content.rows, "drops": [asdict(drop) for drop in content.drops],
        "statistics": content.statistics.sums, "versions": encoder_versions(),
    }  # fmt: skip
    name = f"{_stem(shard.name)}.{shard.sha256[:16]}.{content.size}.{content.sha256[:16]}.json"
    text = json.dumps(document, ensure_ascii=False, sort_keys=True)
    storage.write_bytes(storage.join(output, SIDECARS, name), text.encode())
    return name


def _digest(path: str) -> str:
    with storage.open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def _read(output: str, name: str) -> dict[str, Any]:
    path = storage.join(output, SIDECARS, name)
    try:
        document: dict[str, Any] = json.loads(storage.read_bytes(path))
    except ValueError as error:
        raise BuildError(
            f"The sidecar {path} is damaged ({error}): delete it and run the same command again; its shard is then "
            "built anew."
        ) from error
    return document


def _stem(shard: str) -> str:
    return shard.rpartition("/")[2].removesuffix(".tar")
