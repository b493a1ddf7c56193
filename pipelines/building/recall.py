"""What an earlier build of a shard found: good members and final drops, so that only the rest is asked for again."""

from collections.abc import Iterator, Mapping
from typing import Any

from geodata.observe import Content
from pipelines.building.assemble import Known
from pipelines.engine.run import BuildError
from pipelines.files import storage
from schemas.corpus import decode_row
from schemas.drop import Drop, Reason
from schemas.sample import Sample

_OUTCOMES = (Reason.NOT_NEEDED, Reason.NO_OBSERVATION, Reason.DAYS_APART)
"""Drops that follow from the other observations of a place, and are decided anew."""


class Recall(Mapping[Known, Content | Drop]):
    """The observations of a shard by cell, modality, source and item; payloads are read when they are asked for."""

    def __init__(self, path: str, sidecar: dict[str, Any], drops: list[Drop], *, is_final: bool = False) -> None:
        """Takes a shard with its sidecar and drops.

        Args:
            is_final: nothing is asked again, not even what may succeed now.
        """
        self._path = path
        self._drops: dict[Known, Drop] = {
            (d.key, d.modality, d.source, d.item_id): d
            for d in drops
            if d.item_id and (is_final or not (d.retryable or d.reason in _OUTCOMES))
        }
        self._kept: dict[Known, tuple[dict[str, Any], int]] = {}
        for row in sidecar["rows"]:
            if "sums" not in row:
                raise BuildError(f"The sidecar of {path} is of an earlier version of sameplace: build the corpus anew.")
            for number, identity in enumerate(row.get("identities", ())):
                self._kept[row["key"], identity[0], identity[1], identity[2]] = row, number

    def __getitem__(self, known: Known) -> Content | Drop:
        if known in self._drops:
            return self._drops[known]
        row, number = self._kept[known]
        return Content(self._read(row).observations[number], row["sums"][number], row["contents"][number])

    def __iter__(self) -> Iterator[Known]:
        return iter([*self._drops, *self._kept])

    def __len__(self) -> int:
        return len(self._drops) + len(self._kept)

    def _read(self, row: dict[str, Any]) -> Sample:
        with storage.open_file(self._path) as file:
            file.seek(row["offset"])
            return decode_row(row, file.read(row["size"]))
