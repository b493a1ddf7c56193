"""What a plan is made from: the catalogues of the user's files, and the chosen cells."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from geodata import cells
from geodata.regions import find_region
from geodata.sampling import Choice
from geodata.sources import Catalogue
from pipelines.files import storage
from pipelines.plan.options import OPEN_SAMPLES, OptionError, Options
from pipelines.plan.plan import FOLDER, SourceSpec, digest
from pipelines.planning.gather import judge_licence
from pipelines.planning.places import choose, read_places
from pipelines.sources.words import FILES, scan_source
from schemas.drop import Drop, Reason, Stage
from schemas.modality import MODALITIES

PRICED_PLACES = 2000
"""A dry run asks services for about so many places, in whole units drawn by hash, and scales what it finds."""


def scan_catalogues(options: Options, specs: Iterable[SourceSpec]) -> list[Catalogue]:
    """Lists what the user's files hold, of the modalities that were asked for: the others are not seen at all.

    Raises:
        OptionError: if some of it is synthetic and some is not.
        SourceError: if a source cannot be read.
    """
    left_out = set(MODALITIES) - set(options.modality_names)
    catalogues = []
    for spec in specs:
        found = scan_source(spec, resolution=options.resolution, thresholds=options.thresholds)
        drops = [drop for drop in found.drops if drop.modality not in left_out]
        items = []
        for item in (item for item in found.items if item.modality not in left_out):
            if (verdict := judge_licence(options.licences, item)) is None:
                items.append(item)
            else:
                key = cells.cell_at(item.lon, item.lat, options.resolution)
                what = (Stage.FIND, Reason.LICENCE, None, verdict, item.source, item.item_id)
                drops.append(Drop(key, item.modality, *what))
        catalogues.append(Catalogue(items, drops))
    if len({item.synthetic for catalogue in catalogues for item in catalogue.items}) > 1:
        raise OptionError("The sources mix synthetic and real records: build them into corpora of their own.")
    return catalogues


def choose_candidates(
    options: Options, specs: list[SourceSpec], catalogues: list[Catalogue], listed: str
) -> tuple[Choice, int]:
    """Chooses the places of a corpus; where services were asked for them, the answer is kept until there is a plan.

    Returns:
        The choice, and how many places the corpus will have: a dry run asks services for a few of them only.
    """
    region = None if options.region == "demo" else find_region(options.region)
    is_asked = (
        any(spec.kind not in FILES for spec in specs) and options.sampling in ("auto", "anchored") and not listed
        and not any(catalogue.items for catalogue in catalogues)
    )  # fmt: skip
    if not is_asked:
        share = 1.0
        if options.dry_run and any(spec.kind not in FILES for spec in specs):
            share = min(1.0, PRICED_PLACES / _expect(options, listed))
        choice = choose(options, region, specs, catalogues, listed, share=share)
        if share < 1 and len(choice.cells) < PRICED_PLACES / 2:  # few units hold it all: lots say little
            choice, share = choose(options, region, specs, catalogues, listed), 1.0
        return choice, round(len(choice.cells) / share)
    if options.dry_run:
        total = options.samples or OPEN_SAMPLES
        choice = choose(replace(options, samples=min(total, PRICED_PLACES)), region, specs, catalogues, listed)
        return choice, total if len(choice.cells) == PRICED_PLACES else len(choice.cells)
    path = storage.join(options.output, FOLDER, "choice.json")
    name = digest([options.shaping(), [asdict(spec) for spec in specs]])
    if storage.exists(path):
        document = json.loads(storage.read_bytes(path))
        if document["name"] == name:
            choice = _parse(document)
            return choice, len(choice.cells)
    choice = choose(options, region, specs, catalogues, listed)
    storage.write_bytes(path, json.dumps({"name": name, **_describe(choice)}).encode())
    return choice, len(choice.cells)


def _expect(options: Options, listed: str) -> int:
    """Returns how many places will be chosen, about."""
    if options.sampling == "file" or listed:
        rows = len(read_places(options.places or listed))
        return min(rows, options.samples or rows)
    return options.samples or OPEN_SAMPLES


def _describe(choice: Choice) -> dict[str, object]:
    return {
        "cells": choice.cells.tolist(), "splits": choice.splits.tolist(), "rejected": dict(choice.rejected),
        "drops": [asdict(drop) for drop in choice.drops],
    }  # fmt: skip


def _parse(document: dict[str, Any]) -> Choice:
    drops = [Drop(**row | {"stage": Stage(row["stage"]), "reason": Reason(row["reason"])}) for row in document["drops"]]
    chosen = np.array(document["cells"], dtype=np.uint64)
    return Choice(chosen, np.array(document["splits"], dtype="<U5"), drops, Counter(document["rejected"]))
