"""What the page says of a corpus as a whole: its name and options, what was dropped and why, which licences."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.modality import MODALITIES

EXAMPLES = 12
"""Drops of each reason that are shown one by one."""
CREDITS = 20
"""Credit lines of each view that are shown."""
DROP_COLUMNS = ["key", "modality", "stage", "reason", "value", "detail", "source", "item_id", "count"]
"""What is read of the table of drops."""
_OPTIONS = ("region", "samples", "seed", "sampling", "sources", "period", "resolution")


def summarise(manifest: dict[str, Any], drops: pa.Table) -> dict[str, Any]:
    """Returns what is told of the corpus, for `pack.script`."""
    options = manifest["options"]
    return {
        "name": str(manifest.get("name", "")), "synthetic": bool(manifest["synthetic"]),
        "bytes": sum(shard["bytes"] for shard in manifest["shards"]), "shards": len(manifest["shards"]),
        "options": {name: str(options[name]) for name in _OPTIONS if options.get(name) not in (None, "")},
        "exclusion_m": manifest["split_rule"].get("exclusion_m"),
        "observations": {name: manifest["observations"].get(name) for name in MODALITIES},
        "credits": {
            name: [[entry["licence"], entry["attribution"], entry["observations"]] for entry in entries[:CREDITS]]
            for name, entries in manifest.get("licences", {}).items()
        },
        "more_credits": {name: max(0, len(entries) - CREDITS) for name, entries in manifest["licences"].items()},
        "drops": _group(drops),
    }  # fmt: skip


def group_by_key(drops: pa.Table) -> dict[str, tuple[int, int]]:
    """Returns of each cell the first row and the number of rows of its drops, in a table that is sorted by key."""
    if drops.num_rows == 0:
        return {}
    keys = drops["key"].combine_chunks().dictionary_encode()
    codes = keys.indices.to_numpy()
    starts = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
    lengths = np.diff(np.r_[starts, len(codes)])
    names = keys.dictionary.to_pylist()
    return {names[codes[at]]: (at, n) for at, n in zip(starts.tolist(), lengths.tolist(), strict=True)}


def _group(drops: pa.Table) -> list[dict[str, Any]]:
    """Returns stage and reason of each view with how many there are and a few of them, the frequent first."""
    names = ["modality", "stage", "reason"]
    groups = drops.group_by(names).aggregate([("count", "sum")]).sort_by([("count_sum", "descending")]).to_pylist()
    result = []
    for group in groups:
        is_one = pc.and_(pc.equal(drops["stage"], group["stage"]), pc.equal(drops["reason"], group["reason"]))
        rows = drops.filter(pc.and_(is_one, pc.equal(drops["modality"], group["modality"]))).slice(0, EXAMPLES)
        result.append(
            {
                **{name: group[name] for name in names}, "count": group["count_sum"],
                "examples": rows.select(["key", "detail", "source", "item_id", "count"]).to_pylist(),
            }
        )  # fmt: skip
    return result
