"""The methods of the field as rows of one table: what is contrasted with what. A new variant is one row.

A row says which views take part, which pairs of them are contrasted, and which options the method is published with.
These stand in for options that are not on the command line; one that is given there always wins, be it the general
default. Encoders are no part of a row: `--location` and the presets choose them, so that methods compare.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from training.data.batch import LOCATION, VIEWS

DEFAULT = "sameplace"
"""The project's own."""
QUEUE = 4096
"""Past positions that GeoCLIP and GAIR keep."""


@dataclass(frozen=True)
class Variant:
    """One row of the table."""

    about: str
    """What is contrasted, and where it is published."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of `training.fit` whose default differs."""
    views: tuple[str, ...] = VIEWS
    """Views that take part; the others have no tower."""
    pairs: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """The only pairs of rows of the loss, and the option that is their weight; empty = those of --pairs."""
    is_fused: bool = False
    """Every observation weighs the same; otherwise every pair of views does."""
    in_phases: bool = False
    """One view in turn learns with the location."""
    has_twins: bool = False
    """The location is embedded twice, and finds its twin: only dropout tells them apart (SimCSE, arXiv 2104.08821)."""
    draws_positions: bool = False
    """As many random positions as places are further negatives in each batch."""


_ALONE = {"predictor": "none", "modality_dropout": 0.0}
_HUB = {**_ALONE, "pairs": "hub"}
VARIANTS = {
    DEFAULT: Variant("all views with each other, and Sentinel-2 at photo and article with what is there"),
    "unigeoclip": Variant("all views with each other (UniGeoCLIP, arXiv 2604.11668)", {"predictor": "none"}),
    "gair": Variant(
        "photo with Sentinel-2 at its spot, and with past positions too as negatives location (GAIR, arXiv 2503.16683)",
        {"predictor": "linear", "modality_dropout": 0.0, "negatives": "candidate", "directions": "to_location",
         "queue": QUEUE, "lr_of": ("^log_scale=0",)},
        views=("sentinel2", "street", LOCATION),
        pairs={("street", "spot_street"): "incl", ("street", LOCATION): "secl"},
    ),
    "imagebind": Variant("each view with location, in both directions (ImageBind's form, arXiv 2305.05665)", _HUB),
    "cyclic": Variant("one view in turn with location (SALT, arXiv 2606.20167)", _HUB, in_phases=True),
    "fused_ntxent": Variant(
        "each observation with the locations of all (MELT, arXiv 2606.20167)",
        {**_HUB, "negatives": "candidate", "directions": "to_location"}, is_fused=True,
    ),
    "satclip": Variant(
        "Sentinel-2 with location, in both directions (SatCLIP, arXiv 2311.17179)",
        _ALONE, views=("sentinel2", LOCATION),
    ),
    "geoclip": Variant(
        "photo to location, past positions too as negatives (GeoCLIP, arXiv 2309.16020)",
        {**_ALONE, "negatives": "candidate", "directions": "to_location", "queue": QUEUE}, views=("street", LOCATION),
    ),
    "csp": Variant(
        "Sentinel-2 with location, random positions too, location with its twin (CSP's MC-BLD, arXiv 2305.01118)",
        {**_ALONE, "negatives": "candidate", "dropout": 0.1}, views=("sentinel2", LOCATION),
        has_twins=True, draws_positions=True,
    ),
}  # fmt: skip
"""All variants by name."""


def published_options(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the options that the variant of a command line has where the command line does not say."""
    return VARIANTS[given.get("variant", DEFAULT)].options


def list_variants() -> str:
    """Returns the table for `--help`, a line each."""
    lines = [f"  {name:<13} {variant.about}" for name, variant in VARIANTS.items()]
    return "\n".join(["variants:", *lines])
