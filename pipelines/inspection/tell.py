"""A corpus and a sample in words for a terminal. What comes from outside is shown without its control signs."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from textwrap import fill
from typing import Any

import numpy as np

from pipelines.inspection.open import iterate_index
from pipelines.publishing.extent import Extent
from schemas.modality import MODALITIES
from schemas.sample import Observation, Sample, format_time

MOST_COUNTRIES, MOST_CREDITS, WIDTH = 12, 3, 110
"""Countries and credits that are listed; signs of a line of text."""


def tell_corpus(corpus: str, manifest: dict[str, Any]) -> str:
    """Returns what a corpus holds."""
    counts = manifest["counts"]
    total = sum(split.get("samples", 0) for split in counts.values())
    size = sum(shard["bytes"] for shard in manifest["shards"])
    kind = "synthetic places" if manifest["synthetic"] else "places"
    lines = [
        f"{clean(manifest['name'])}: {total} {kind}, {len(manifest['shards'])} shards, {size / 1e6:.1f} MB, "
        f"format {manifest['format_version']}",
        "",
        f"{'split':<8} {'samples':>9} " + " ".join(f"{name:>9}" for name in MODALITIES),
    ]
    for split, row in {**counts, "all": sum((Counter(row) for row in counts.values()), Counter())}.items():
        cells = " ".join(f"{row.get(name, 0):>9}" for name in MODALITIES)
        lines.append(f"{split:<8} {row.get('samples', 0):>9} {cells}")
    return "\n".join([*lines, "", *_where(corpus), "", *_licences(manifest), "", *_drops(manifest)])


def tell_sample(sample: Sample, drops: list[dict[str, Any]]) -> str:
    """Returns what a sample holds, and what it lacks and why."""
    lines = [f"{sample.key}: {sample.split}, {_place(sample.lon, sample.lat)}, {sample.country or 'no country'}"]
    for observation in sample.observations:
        lines += ["", *_tell_observation(observation)]
    if drops:
        lines += ["", "not there:"]
    for drop in sorted(drops, key=lambda row: (row["modality"], row["stage"], row["reason"], row["item_id"])):
        named = f" {clean(drop['item_id'])}" if drop["item_id"] else ""
        lines.append(
            f"  {drop['modality'] or 'place'}: {drop['stage']}.{drop['reason']}{named}: {clean(drop['detail'])}"
        )
    return "\n".join(lines)


def clean(text: str) -> str:
    """Returns text on one line without signs that a terminal obeys or that turn the line round."""
    composed = unicodedata.normalize("NFC", " ".join(text.split()))
    return "".join(sign for sign in composed if unicodedata.category(sign) not in ("Cc", "Cf", "Cs"))


def _where(corpus: str) -> Iterator[str]:
    extent, countries = Extent(), Counter[str]()
    for batch in iterate_index(corpus, ["lon", "lat", "country"]):
        extent.add_places(np.stack([batch["lon"], batch["lat"]], axis=-1))
        countries.update(country or "at sea" for country in batch["country"])
    west, south, east, north = extent.box
    yield f"box      {west:.3f}, {south:.3f}, {east:.3f}, {north:.3f} (west, south, east, north)"
    named = [f"{name} {number}" for name, number in countries.most_common(MOST_COUNTRIES)]
    more = len(countries) - len(named)
    yield f"country  {', '.join(named)}" + (f" and {more} more" if more > 0 else "")


def _licences(manifest: dict[str, Any]) -> Iterator[str]:
    for modality, rows in manifest["licences"].items():
        for row in sorted(rows, key=lambda row: -row["observations"])[:MOST_CREDITS]:
            credit = clean(row["attribution"])[:80]
            yield f"{modality:<9} {row['observations']:>9}  {clean(row['licence']) or 'not stated'}: {credit}"
        if len(rows) > MOST_CREDITS:
            yield f"{modality:<9} {'':>9}  and {len(rows) - MOST_CREDITS} more in the manifest"


def _drops(manifest: dict[str, Any]) -> Iterator[str]:
    for modality, reasons in manifest["drops"].items():
        found = ", ".join(f"{reason} {number}" for reason, number in sorted(reasons.items(), key=lambda row: -row[1]))
        yield f"dropped  {modality}: {found}"


def _tell_observation(observation: Observation) -> Iterable[str]:
    o = observation
    facts = {
        "where": f"{_place(o.lon, o.lat)}, {o.distance_m:.0f} m from the middle of the cell",
        "when": format_time(o.captured_at), "title": o.title,
        "source": f"{clean(o.source)} {clean(o.item_id)}",
        "licence": f"{o.licence or 'not stated'} ({o.attribution or 'no credit line'})",
        "grid": o.grid and f"{o.grid.crs}, {o.grid.width} x {o.grid.height} at {o.grid.gsd_m:g} m",
        "valid": o.valid_share is not None and f"{o.valid_share:.1%}",
        "cloud": o.cloud_share is not None and f"{o.cloud_share:.1%}",
        "heading": o.heading_deg is not None and f"{o.heading_deg:.0f} degrees", "pano": o.is_pano and "yes",
        "note": o.note,
    }  # fmt: skip
    yield f"{o.member}  {len(o.payload)} bytes{', synthetic' if o.synthetic else ''}"
    yield from (f"  {name:<8} {clean(str(value))}" for name, value in facts.items() if value)
    if o.modality == "text":
        yield fill(clean(o.payload.decode(errors="replace")), WIDTH, initial_indent="  ", subsequent_indent="  ")


def _place(lon: float, lat: float) -> str:
    return f"{abs(lat):.5f} {'N' if lat >= 0 else 'S'} {abs(lon):.5f} {'E' if lon >= 0 else 'W'}"
