"""A trained run in three lines: load it, encode views of places, compare them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.batch import LOCATION, VIEWS, Batch
from training.evaluation.embedded import EmbeddedBatch
from training.inputs import InputError, check_order, read_focus, read_pictures, read_positions, read_rasters

BATCH = 256
"""How many values are encoded at once."""


class Encodes(Protocol):
    """What a model offers for encoding."""

    image_px: dict[str, int]
    config: Any

    def __call__(self, batch: Batch, /) -> EmbeddedBatch:
        """Returns unit vectors (M, B, D) of the present views, in the order of `VIEWS`."""
        ...

    def tokenize(self, texts: list[str]) -> Tensor:
        """Returns tokens (N, L)."""
        ...

    def encode(self, view: str, values: Tensor, focus_N2: Tensor | None = None) -> Tensor:
        """Returns unit vectors (N, D)."""
        ...

    def localise(self, stored_BCHW: Tensor, xy_BQ2: Tensor) -> Tensor:
        """Returns unit vectors (B, Q, D) of points in Sentinel-2 patches."""
        ...


class Encoder:
    """A trained model with its views, ready to encode."""

    def __init__(self, model: Encodes, device: torch.device | str = "cpu") -> None:
        self.model, self.device = model, device
        self.views: tuple[str, ...] = tuple(model.config.views)
        """Those that were trained, of sentinel2, aerial, dem, street, text, location."""

    def encode(
        self, view: str, values: Sequence[Any] | NDArray[Any], focus_N2: Sequence[Any] | NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        """Embeds N things of one view.

        Args:
            view: one of `views`.
            values: N of them:
                text: strings;
                location: pairs (lon, lat), degrees east and north, WGS 84 (EPSG:4326 in the order of GeoJSON);
                street, aerial: paths or bytes of JPEG files, or arrays (height, width, 3) of uint8 sRGB, of which the
                middle square is taken; an aerial picture is 192 m wide, north up;
                sentinel2: paths or bytes of GeoTIFF members of a corpus, or arrays (12, 128, 128) of uint16,
                reflectance x 10000, bands B01 ... B12 without B10, 0 = gap, 10 m a pixel, UTM or UPS, north up;
                dem: the same with (1, 128, 128) of float32, metres, -32768 = gap.
            focus_N2: of sentinel2 and dem, where in its patch each place lies, for a corpus shifts them: (N, 2), x to
                the east, y to the south, -1 ... 1 between the outer edges; without it in the middle.

        Returns:
            (N, D) float32 unit vectors: `similarity` compares them, whatever their views.

        Raises:
            InputError: for an unknown view, or what is not as above.
        """
        self.check_view(view)
        if isinstance(values, str | bytes | Path) or not hasattr(values, "__len__"):
            shown = values[:20] if isinstance(values, str | bytes) else values
            raise InputError(f"One value was given: give a list, such as [{shown!r}].")
        focus = None if focus_N2 is None else read_focus(focus_N2, view, len(values))
        things: Any = values
        if view == LOCATION and len(values):
            things = read_positions(values)
            check_order(things, self.model.config.extent, "Positions")
        found = [
            self.encode_tensor(
                view, self._read(view, things[i : i + BATCH]), None if focus is None else focus[i : i + BATCH]
            )
            for i in range(0, len(things), BATCH)
        ]
        z_ND = np.concatenate(found) if found else np.zeros((0, self._width()), np.float32)
        check_seen(z_ND, lambda row: f"Number {row} of {view}")
        return z_ND

    def check_view(self, view: str) -> None:
        """Raises InputError for a view that this run was not trained on."""
        if view not in self.views:
            fact = "This run was not trained on" if view in VIEWS else "Unknown view"
            raise InputError(f"{fact} {view!r}: choose from {', '.join(self.views)}.")

    def similarity(self, a_ND: NDArray[np.float32], b_KD: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns the cosine of every a with every b: (N, K) float32, 1 for one and the same vector.

        Args:
            a_ND: (N, D) of `encode`.
            b_KD: (K, D) of `encode`, of the same or another view.
        """
        similarity_NK: NDArray[np.float32] = np.atleast_2d(a_ND) @ np.atleast_2d(b_KD).T
        return similarity_NK

    @torch.inference_mode()
    def encode_tensor(self, view: str, values: Tensor, focus_N2: Tensor | None = None) -> NDArray[np.float32]:
        """Embeds values that are as in a `Batch` already; returns (N, D) float32."""
        focus_N2 = None if focus_N2 is None else focus_N2.to(self.device)
        z_ND: NDArray[np.float32] = self.model.encode(view, values.to(self.device), focus_N2).float().cpu().numpy()
        return z_ND

    @torch.inference_mode()
    def embed_batch(self, batch: Batch) -> NDArray[np.float32]:
        """Embeds a batch of places; returns (M, B, D) float32, zeros where a view is absent."""
        z_MBD: NDArray[np.float32] = self.model(batch.to(self.device)).z_MBD.float().cpu().numpy()
        return z_MBD

    def _read(self, view: str, values: Any) -> Tensor:
        if view == "text":
            if not all(isinstance(text, str) for text in values):
                raise InputError("A text is no string: decode it, or read its file first.")
            return self.model.tokenize(list(values))
        if view == LOCATION:
            assert isinstance(values, Tensor)
            return values
        return (
            read_pictures(values, self.model.image_px[view])
            if view in ("street", "aerial")
            else read_rasters(values, view)
        )

    def _width(self) -> int:
        return int(self.encode_tensor(LOCATION, torch.zeros(1, 2, dtype=torch.float64)).shape[1])


def check_seen(z_ND: NDArray[np.float32], name: Callable[[int], str]) -> None:
    """Raises InputError, with the row's name, for what the model sees nothing in, such as a text without a word."""
    unseen = np.flatnonzero(~z_ND.any(1))
    if len(unseen):
        raise InputError(f"{name(int(unseen[0]))} holds nothing that the model reads: leave it out.")


def open_run(run: str | Path, *, weights: str = "auto", device: str = "cpu") -> Encoder:
    """Opens a trained run; see `training.load`."""
    from training.checkpoint import load_model
    from training.hardware import find_device

    where = find_device(device)
    return Encoder(load_model(Path(run), weights=weights, device=where), where)
