"""Photo-like pictures, made by arithmetic from a seed: sky, ground, houses, grain at all scales, sensor noise."""

import io

import numpy as np
from PIL import Image, ImageDraw

SIZE = (1024, 768)
"""Width and height of Mapillary's thumb_1024."""
QUALITY = 80
"""Gives 100 to 200 KB, as that thumbnail has."""


def make_picture(seed: int) -> bytes:
    """Returns a JPEG of `SIZE`, another for each seed."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(_backdrop(rng))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(5, 25))):
        _draw_house(draw, rng)
    grain = _octaves(rng, SIZE[::-1], steps=6, gain=0.8) * rng.uniform(20, 45)
    noise = rng.standard_normal((SIZE[1], SIZE[0], 1), dtype=np.float32) * rng.uniform(2, 5)
    pixels = np.asarray(image, dtype=np.float32) + grain[..., None] + noise
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _backdrop(rng: np.random.Generator) -> np.ndarray:
    """Sky above a horizon, ground below it, each with a gradient: (height, width, 3), uint8."""
    horizon = int(SIZE[1] * rng.uniform(0.35, 0.6))
    rows = np.linspace(0, 1, SIZE[1], dtype=np.float32)[:, None, None]
    sky, ground = rng.uniform((110, 130, 160), (180, 200, 240)), rng.uniform((60, 60, 50), (130, 130, 120))
    colours = np.where(np.arange(SIZE[1])[:, None, None] < horizon, sky * (1 - 0.3 * rows), ground * (0.6 + 0.4 * rows))
    return np.broadcast_to(colours, (SIZE[1], SIZE[0], 3)).astype(np.uint8)


def _draw_house(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    left, width = int(rng.integers(-50, SIZE[0])), int(rng.integers(30, 260))
    top, height = int(rng.integers(80, SIZE[1] // 2)), int(rng.integers(80, 400))
    draw.rectangle([left, top, left + width, top + height], fill=tuple(rng.integers(40, 220, 3).tolist()))
    for x in range(left + 8, left + width - 16, 28):
        for y in range(top + 10, top + height - 24, 40):
            draw.rectangle([x, y, x + 12, y + 20], fill=tuple(rng.integers(20, 90, 3).tolist()))


def _octaves(rng: np.random.Generator, shape: tuple[int, int], *, steps: int, gain: float) -> np.ndarray:
    """Smooth noise of ever finer scale, about -1 ... 1."""
    total = np.zeros(shape, dtype=np.float32)
    for step in range(steps):
        small = rng.standard_normal((6 * 2**step, 8 * 2**step), dtype=np.float32)
        total += gain**step * np.asarray(Image.fromarray(small).resize(shape[::-1], Image.Resampling.BICUBIC))
    return total / np.float32(np.std(total))
