"""Parts of a build for job arrays: the k-th of N builds every N-th shard of one plan, on any machine."""

import re
from collections.abc import Sequence
from typing import TypeVar

from pipelines.files import storage

T = TypeVar("T")

PARTITIONS = "partitions"
"""Folder of the marks that parts leave when they begin."""
MOST_NAMED = 5
"""Shards that a sentence names at most."""


def parse_partition(text: str) -> tuple[int, int] | None:
    """Reads `k/N`, k from 1 to N; None for "".

    Raises:
        ValueError: if it is none.
    """
    if not text:
        return None
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError(f"--partition {text!r} is no part: write 1/8 ... 8/8 for the eight parts of a job array.")
    return int(match[1]), int(match[2])


def take(shards: Sequence[T], partition: tuple[int, int] | None) -> list[T]:
    """Returns the shards of a part, or all."""
    number, total = partition or (1, 1)
    return list(shards[number - 1 :: total])


def mark(output: str, partition: tuple[int, int]) -> None:
    """Leaves a mark that a part has begun, so that those that have not can be named."""
    storage.write_bytes(storage.join(output, PARTITIONS, "{}-of-{}".format(*partition)), b"begun\n")


def describe_missing(output: str, shards: Sequence[str], missing: Sequence[str]) -> str:
    """Returns a sentence for shards that are not built: which, and of which parts."""
    names = ", ".join(missing[:MOST_NAMED])
    more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
    text = f"{len(missing)} of {len(shards)} shards are missing ({names}{more})"
    totals = {int(name.rpartition("-of-")[2]) for name in storage.list_files(storage.join(output, PARTITIONS))}
    if not totals:
        return f"{text}: run the same command again, only what is missing is built."
    total = max(totals)
    lacking = [k for k in range(1, total + 1) if set(take(shards, (k, total))) & set(missing)]
    parts = " and with ".join(f"--partition {k}/{total}" for k in lacking[:MOST_NAMED])
    others = f" and {len(lacking) - MOST_NAMED} parts more" if len(lacking) > MOST_NAMED else ""
    return f"{text}: run the same command with {parts}{others} again."
