"""ATTRIBUTION.md: what the licences of a corpus ask of those who pass it on, with the credits of its records."""

from collections.abc import Iterator
from typing import Any

from geodata.licences import find_licence
from pipelines.files import storage
from pipelines.publishing.credits import SUNDRY, Tallies, Tally
from pipelines.publishing.markdown import escape, link

ATTRIBUTION, CREDITS = "ATTRIBUTION.md", "attribution.parquet"
"""The page, and the table of all credits."""

CHANGES = {
    "sentinel2": "patches cut out, bands brought to 10 m, the offset of newer baselines taken away",
    "aerial": "warped onto the grid of each place, cut out, compressed again as JPEG",
    "dem": "warped onto the grid of each place and cut out",
    "street": "scaled down and compressed again as JPEG, panoramas cropped where the record says so",
    "text": "plain text without pictures, tables and notes, cut after the introduction where the source is a wiki",
}
"""What was done to the works: licences ask to say so."""


def write_attribution(output: str, manifest: dict[str, Any], tallies: Tallies) -> None:
    """Writes the page of a corpus."""
    storage.write_bytes(storage.join(output, ATTRIBUTION), "\n".join(_lines(manifest, tallies)).encode())


def _lines(manifest: dict[str, Any], tallies: Tallies) -> Iterator[str]:
    yield f"# Attribution of {escape(manifest['name'])}\n"
    if manifest["synthetic"]:
        yield "All records are synthetic: they show no real place and nobody's work.\n"
    yield (
        "This corpus collects works of many authors. Each observation stays under the licence that its record states; "
        f"pass this page and `{CREDITS}` on with every copy. The table has one row an observation: place (`key`), "
        "`modality`, `source`, `item_id`, `title`, `attribution`, `url` of the work, `licence` and `licence_url`. The "
        "same words stand in each sample's `{key}.json`.\n"
    )
    yield "The works were changed:\n"
    views = {modality for by_view in tallies.by_licence().values() for modality in by_view}
    yield from (f"- {modality}: {change}" for modality, change in CHANGES.items() if modality in views)
    for licence, by_view in tallies.by_licence().items():
        yield from _section(licence, by_view)
    yield ""


def _section(statement: str, by_view: dict[str, Tally]) -> Iterator[str]:
    licence = find_licence(statement)
    yield f"\n## {escape(statement or 'No licence stated')}\n"
    if licence is not None:
        yield f"{link(licence.id, licence.url)} asks to: {licence.asks}."
        if licence.notice:
            yield f"\n> {licence.notice}"
    elif statement != SUNDRY:
        yield "These words are not the name of one licence that is known: read them, and ask the source where in doubt."
    for modality, tally in by_view.items():
        yield f"\n### {modality}, {tally.observations} observations\n"
        yield from _credits(modality, tally)


def _credits(modality: str, tally: Tally) -> Iterator[str]:
    works, credits = tally.works, tally.credits
    if works is None and credits is None:
        yield f"Each has a credit of its own: see `{CREDITS}` where `modality` is `{modality}`."
        return
    if works is None:
        yield f"Titles and pages are in `{CREDITS}` where `modality` is `{modality}`.\n"
        works = {(attribution, "", ""): number for attribution, number in (credits or {}).items()}
    for (attribution, title, url), number in works.items():
        named = link(title or url, url) if url else escape(title)
        credit = escape(attribution or "no credit line")
        yield f"- {named + ', ' if named else ''}{credit}" + (f" ({number} observations)" if number > 1 else "")
