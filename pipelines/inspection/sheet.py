"""A contact sheet: one row a sample, one column a view, as PNG."""

import io
from collections.abc import Sequence
from textwrap import wrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipelines.inspection.pictures import show_views
from pipelines.inspection.tell import clean
from schemas.page.pictures import Colours
from schemas.sample import Observation, Sample

TILE_PX, GAP_PX, HEAD_PX, LINE_PX, TITLE_PX = 224, 8, 22, 15, 30
INK, FAINT, PAPER, HOLE = (24, 26, 30), (110, 114, 122), (252, 252, 250), (232, 233, 236)
VIEWS = {
    "true colour": "sentinel2", "false colour": "sentinel2", "aerial": "aerial", "elevation": "dem",
    "street": "street", "text": "text",
}  # fmt: skip
"""Columns of the sheet, and the views that they show."""
Drawing = ImageDraw.ImageDraw


def draw_sheet(title: str, samples: Sequence[Sample]) -> bytes:
    """Returns a sheet of samples as PNG; crosses on the first picture show where photo (yellow) and text (cyan) lie."""
    row_px = HEAD_PX + TILE_PX + 2 * LINE_PX + GAP_PX
    width = GAP_PX + len(VIEWS) * (TILE_PX + GAP_PX)
    sheet = Image.new("RGB", (width, TITLE_PX + row_px * len(samples) + GAP_PX), PAPER)
    drawing = ImageDraw.Draw(sheet)
    drawing.text((GAP_PX, 8), clean(title), INK, ImageFont.load_default(15))
    for number, sample in enumerate(samples):
        _draw_row(sheet, drawing, sample, TITLE_PX + number * row_px)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _draw_row(sheet: Image.Image, drawing: Drawing, sample: Sample, top: int) -> None:
    head = f"{sample.key}   {sample.split}   {sample.lat:.4f}, {sample.lon:.4f}   {sample.country or ''}"
    drawing.line((GAP_PX, top, sheet.width - GAP_PX, top), HOLE)
    drawing.text((GAP_PX, top + 5), head, INK, ImageFont.load_default(12))
    for column, (name, shown) in enumerate(show_views(sample).items()):
        left = GAP_PX + column * (TILE_PX + GAP_PX)
        box = (left, top + HEAD_PX, left + TILE_PX, top + HEAD_PX + TILE_PX)
        observation = sample.first(VIEWS[name])
        drawing.rectangle(box, HOLE)
        if shown is None:
            _write(drawing, (box[0] + 8, box[1] + 8), f"no {VIEWS[name]}", FAINT)
        elif isinstance(shown, str):
            _draw_text(drawing, box, observation, shown)
        else:
            tile = _fit(shown)
            sheet.paste(tile, (left + (TILE_PX - tile.width) // 2, box[1] + (TILE_PX - tile.height) // 2))
        for line, words in enumerate(_caption(name, observation)):
            _write(drawing, (left, box[3] + 3 + line * LINE_PX), _cut(words), (INK, FAINT)[line])


def _fit(picture: Colours) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(picture))
    factor = TILE_PX / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.NEAREST if factor > 1.5 else Image.Resampling.BICUBIC)


def _draw_text(drawing: Drawing, box: tuple[int, int, int, int], observation: Observation | None, text: str) -> None:
    most = (TILE_PX - 12) // LINE_PX
    lines = wrap(clean((observation.title if observation else None) or ""), 36)[:2]
    lines += wrap(clean(text[:4000]), 38)
    if len(lines) > most:
        lines = [*lines[: most - 1], "..."]
    for number, line in enumerate(lines):
        _write(drawing, (box[0] + 6, box[1] + 6 + number * LINE_PX), line, INK)


def _caption(name: str, observation: Observation | None) -> tuple[str, str]:
    """The view with its date, and whom it is from."""
    if observation is None:
        return name, ""
    day = f"  {observation.captured_at:%Y-%m-%d}" if observation.captured_at else ""
    return f"{name}{day}", clean(f"{observation.licence or 'licence not stated'}; {observation.attribution}")


def _cut(words: str) -> str:
    """Cuts words to the width of a tile."""
    font = ImageFont.load_default(11)
    if font.getlength(words) <= TILE_PX:
        return words
    while words and font.getlength(words + "...") > TILE_PX:
        words = words[: min(len(words) - 1, 60)]
    return words + "..."


def _write(drawing: Drawing, at: tuple[int, int], words: str, colour: tuple[int, int, int]) -> None:
    drawing.text(at, words, colour, ImageFont.load_default(11))
