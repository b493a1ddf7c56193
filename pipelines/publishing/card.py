"""The dataset card: README.md in Hugging Face's format, with splits, features and licence declared.

Without declared features the webdataset reader of `datasets` infers them from the first samples, and fails or loses
columns where modalities are missing.
"""

from collections.abc import Iterator
from typing import Any

from geodata.licences import find_licence
from pipelines.files import storage
from pipelines.publishing.attribution import ATTRIBUTION
from pipelines.publishing.markdown import escape
from schemas.modality import MODALITIES, member_name

SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B")
"""Hugging Face's words for numbers of rows, each ten times the one before."""
_HUB_LICENCES = frozenset(
    ["cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-sa-3.0", "cc-by-3.0", "odbl", "pddl", "etalab-2.0", "mit"]
)
"""Those of its identifiers that a whole corpus may come under."""
_FEATURE = {"jpg": "image", "txt": "string", "geotiff": "binary", "json": "json"}


def write_card(output: str, manifest: dict[str, Any]) -> None:
    """Writes the card of a corpus."""
    storage.write_bytes(storage.join(output, "README.md"), (_front_matter(manifest) + _body(manifest)).encode())


def member_suffixes(photos_per_cell: int, texts_per_cell: int, seasons: int = 1) -> list[str]:
    """Returns the suffixes of all members that a sample may have, without the leading dot."""
    suffixes = [modality.suffix for modality in MODALITIES.values()]
    for name, most in (("sentinel2", seasons), ("street", photos_per_cell), ("text", texts_per_cell)):
        numbers = range(most if most > 1 else 0)
        suffixes += [member_name("", name, number, most).removeprefix(".") for number in numbers]
    return [*suffixes, "json"]


def _front_matter(manifest: dict[str, Any]) -> str:
    options = manifest["options"]
    samples = sum(counts.get("samples", 0) for counts in manifest["counts"].values())
    lines = [
        "---",
        *_licence(manifest),
        "size_categories:",
        f"- {SIZES[min(max(0, len(str(samples)) - 3), len(SIZES) - 1)]}",
    ]
    tags = ["croissant", "geospatial", "multimodal", "remote-sensing", "stac", "webdataset"]
    lines += ["task_categories:", "- image-feature-extraction", "tags:", *(f"- {tag}" for tag in tags)]
    lines += ["- synthetic"] if manifest["synthetic"] else []
    lines += ["configs:", "- config_name: default", "  data_files:"]
    for split, counts in manifest["counts"].items():
        if counts.get("samples"):
            name = "validation" if split == "val" else split
            lines += [f"  - split: {name}", f'    path: "{split}/*.tar"']
    lines += ["dataset_info:", "  config_name: default", "  features:"]
    for column in ("__key__", "__url__"):
        lines += [f"  - name: {column}", "    dtype: string"]
    for suffix in member_suffixes(options["photos_per_cell"], options["texts_per_cell"], options["seasons"]):
        lines += [f"  - name: {suffix}", f"    dtype: {_FEATURE[suffix.rpartition('.')[2]]}"]
    return "\n".join([*lines, "---", "", ""])


def _licence(manifest: dict[str, Any]) -> Iterator[str]:
    """Yields the licence as the hub knows it; where views come under several, the page that names them all."""
    stated = {row["licence"] for rows in manifest["licences"].values() for row in rows}
    known = [licence.id.lower() for licence in map(find_licence, stated) if licence is not None]
    if len(stated) == len(known) == 1 and known[0] in _HUB_LICENCES:
        yield f"license: {known[0]}"
    else:
        yield from ("license: other", "license_name: as-each-record-says", f"license_link: {ATTRIBUTION}")


def _body(manifest: dict[str, Any]) -> str:
    kind = "**Synthetic**: no record shows a real place.\n\n" if manifest["synthetic"] else ""
    total = sum(counts.get("samples", 0) for counts in manifest["counts"].values())
    text = (
        f"# {escape(manifest['name'])}\n\n{kind}{total} places, each with up to five views: Sentinel-2, aerial image, "
        "elevation, street-level photo, encyclopaedic text. Built with sameplace.\n\n"
        f"| split | samples | {' | '.join(MODALITIES)} |\n| --- | --- |{' --- |' * len(MODALITIES)}\n"
    )
    for split, counts in manifest["counts"].items():
        cells = " | ".join(str(counts.get(name, 0)) for name in MODALITIES)
        text += f"| {split} | {counts.get('samples', 0)} | {cells} |\n"
    rule = manifest["split_rule"]
    text += (
        f"\n`test` lies below drawn H3 resolution-{rule['test_resolution']} cells, `val` below drawn "
        f"resolution-{rule['val_resolution']} cells; patch centres of different splits are at least "
        f"{rule['exclusion_m']:.0f} m apart east or north.\n\n## Members of a sample\n\n"
        "| member | what | unit | shape |\n| --- | --- | --- | --- |\n"
    )
    for modality in MODALITIES.values():
        shape = f"{len(modality.bands)} x {modality.size_px} x {modality.size_px}" if modality.is_raster else ""
        text += f"| `{{key}}.{modality.suffix}` | {modality.name} | {modality.unit} | {shape} |\n"
    text += "| `{key}.json` | coordinates, time, source, licence of each observation | | |\n\n## Licences\n\n"
    for modality, entries in manifest["licences"].items():
        for entry in entries[:20]:
            credit = escape(entry["attribution"] or "no credit line")
            text += f"- {modality}: {escape(entry['licence'] or 'not stated')} ({credit}), {entry['observations']}\n"
        if len(entries) > 20:
            text += f"- {modality}: {len(entries) - 20} more in `manifest.json`\n"
    text += (
        f"\n`{ATTRIBUTION}` says what each asks for and names the authors; `croissant.json` and `collection.json` "
        "describe the corpus in Croissant and STAC.\n"
    )
    text += "\n## What was left out\n\n| modality | stage and reason | count |\n| --- | --- | --- |\n"
    for modality, reasons in manifest["drops"].items():
        text += "".join(f"| {modality} | {reason} | {count} |\n" for reason, count in reasons.items())
    return text + "\nEach has a row in `drops.parquet`.\n"
