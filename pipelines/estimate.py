"""What a build will cost, before anything is fetched."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from pipelines.recipe import Recipe
from schemas.modality import MODALITIES
from schemas.reference import Reference

BYTES = {"sentinel2": 135_000, "aerial": 22_000, "dem": 30_000, "street": 18_000, "text": 400}
"""Mean size of a stored observation of the demo, measured."""
MEMBER_OVERHEAD = 1_024
"""Tar header and padding of a member."""
METADATA_BYTES = 3_200
"""The metadata member of a sample with five observations, with its header."""


def estimate_cost(references: Iterable[Reference], recipe: Recipe) -> dict[str, Any]:
    """Returns observations and bytes per modality and in all; spare candidates are not counted."""
    wanted = [r for r in references if r.rank < recipe.most(r.modality)]
    counts = Counter(reference.modality for reference in wanted)
    table = {
        name: {"observations": counts[name], "bytes": counts[name] * (BYTES[name] + MEMBER_OVERHEAD)}
        for name in MODALITIES
    }
    places = len({reference.key for reference in wanted})
    total = sum(row["bytes"] for row in table.values()) + places * METADATA_BYTES
    return {"per_modality": table, "bytes": total}
