"""The maps of the report: where a view is placed wrongly, and what a photo is like over a region and inside a patch."""

from pathlib import Path

import numpy as np

from training.api import Encoder
from training.data.batch import LOCATION, SPOTS, VIEWS, Batch
from training.evaluation.embedded import Embedded
from training.evaluation.geolocation import Points, geolocate
from training.evaluation.maps import draw_errors, draw_query, map_patch, map_region
from training.reading import open_for
from training.reporting.page import Page

PHOTOS = 3
"""How many are shown."""


def add_pictures(page: Page, encoder: Encoder, corpus: str, places: Embedded, folder: Path) -> None:
    """Adds error maps and heat maps of a run, as far as it has the views.

    Args:
        places: the embedded split `val` of the corpus.
    """
    page.heading("Maps")
    for view in ("sentinel2", "street"):
        rows = places.rows(view)
        if len(rows) and len(places.rows(LOCATION)):
            points = Points("centres of the split's cells", places.z(LOCATION), places.lonlat_N2)
            placed = geolocate(view, places.z(view)[rows], places.query_lonlat(view)[rows], points)
            title = f"{view}: how far off the location encoder places it"
            path = draw_errors(places.lonlat_N2[rows], placed.error_m / 1000, title, folder / f"errors_{view}.png")
            page.picture(
                path, f"Median of the places of val in each hexagon; of all {np.median(placed.error_m) / 1000:.1f} km."
            )
    if encoder.model.config.inr and {"street", "sentinel2", LOCATION} <= set(encoder.views):
        for number, path in enumerate(draw_photos(encoder, corpus, folder)):
            page.picture(
                path, f"Photo {number + 1} of val: how alike locations and points of its Sentinel-2 patch are."
            )


def draw_photos(encoder: Encoder, corpus: str, folder: Path) -> list[Path]:
    """Draws the similarity of the first photos of `val` over the region and inside their patch."""
    model = encoder.model
    centres, batches = open_for(model, corpus, "val", batch=64)
    drawn: list[Path] = []
    for batch in batches:
        for row in _whole_rows(batch)[: PHOTOS - len(drawn)]:
            z_D = encoder.encode_tensor("street", batch.street_BHWC[row : row + 1])[0]
            stored_CHW = batch.sentinel2_BCHW[row].clone()
            x, y = batch.spots_BS2[row, SPOTS.index("street")].tolist()
            path = draw_query(
                batch.street_BHWC[row].numpy(), map_region(model, z_D, model.config.extent),
                map_patch(model, z_D, stored_CHW), stored_CHW, folder / f"photo_{len(drawn)}.png",
                lonlat=centres[batch.keys[row]], spot=(x, y),
            )  # fmt: skip
            drawn.append(path)
        if len(drawn) == PHOTOS:
            break
    return drawn


def _whole_rows(batch: Batch) -> list[int]:
    has_both_B = batch.present_MB[[VIEWS.index("street"), VIEWS.index("sentinel2")]].all(0)
    rows: list[int] = (has_both_B & batch.inside_SB[SPOTS.index("street")]).nonzero().flatten().tolist()
    return rows
