"""Random batches: what a loader would fill, without a corpus."""

import torch

from training.data.batch import GROUNDS, SPOTS, VIEWS, Batch
from training.model import Model


def make_batch(model: Model, size: int = 6, seed: int = 0) -> Batch:
    """Returns places with all views, photo and article inside."""
    rng = torch.Generator().manual_seed(seed)
    aerial, street = model.image_px["aerial"], model.image_px["street"]
    texts = [f"Place {number} lies {number * 37} m above the sea. " * (1 + number % 5) for number in range(size)]
    return Batch(
        keys=[str(number) for number in range(size)],
        present_MB=torch.ones(len(VIEWS), size, dtype=torch.bool),
        sentinel2_BCHW=torch.randint(1, 9000, (size, 12, 128, 128), generator=rng).to(torch.int16),
        aerial_BHWC=torch.randint(0, 256, (size, aerial, aerial, 3), generator=rng).to(torch.uint8),
        dem_BCHW=torch.rand(size, 1, 128, 128, generator=rng) * 200 + 100,
        street_BHWC=torch.randint(0, 256, (size, street, street, 3), generator=rng).to(torch.uint8),
        text_BL=model.tokenize(texts),
        lonlat_B2=torch.rand(size, 2, generator=rng, dtype=torch.float64) + torch.tensor([5.0, 49.0]),
        spots_BS2=torch.rand(size, len(SPOTS), 2, generator=rng) * 2 - 1,
        focus_BR2=torch.rand(size, len(GROUNDS), 2, generator=rng) * 1.5 - 0.75,
        inside_SB=torch.ones(len(SPOTS), size, dtype=torch.bool),
        near_K2=torch.zeros(0, 2, dtype=torch.int64),
    )
