"""Every option of a build, with type, default, unit and help; the parser is made from this one dataclass."""

import argparse
import os
import re
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

from geodata.judge import Thresholds
from geodata.observe import Encoding
from geodata.sampling import SamplingRule
from geodata.sources.files import Limits
from geodata.splits import SplitRule
from pipelines.recipe import Recipe
from schemas.modality import MODALITIES, find_modality

STRATEGIES = ("auto", "uniform", "anchored", "file")
ANCHORS = ("any", "photo", "article", "both", "raster")
DEMO_SAMPLES, UNIFORM_SAMPLES = 3000, 1000
"""Places of a demo or uniform corpus where --samples is not given."""

_LEAST = {
    "samples": 1, "samples_per_shard": 1, "workers": 1, "scene_tries": 1, "photos_per_cell": 1, "texts_per_cell": 1,
    "min_observations": 1, "photo_px": 16, "min_photo_px": 1, "aerial_gsd": 0.01, "min_spacing_m": 0, "min_std": 0,
    "min_sharpness": 0, "min_text_chars": 0, "imprecise_step_deg": 0, "seed": 0,
}  # fmt: skip
"""Smallest value of each option."""

EXAMPLE = """examples:
  python -m pipelines.build_shards --region demo --output shards/demo --samples 300
  python -m pipelines.build_shards --region europe --sources folder:my_files --output shards/mine
  python -m pipelines.build_shards --region 5.7,49.4,6.6,50.2 --sources folder:my_files --output shards/lux --dry_run

Options that are not listed here go to Apache Beam (--direct_runner_bundle_repeat=1, --project ...)."""


class OptionError(ValueError):
    """An option cannot be used: one sentence with fact, value and remedy."""


def _option(default: Any, text: str, **more: object) -> Any:
    return field(default=default, metadata={"help": text, **more})


@dataclass(frozen=True)
class Options:
    """All options of `python -m pipelines.build_shards`."""

    region: str = _option(
        MISSING, "name (demo, world, europe, LU, ...), west,south,east,north, or a GeoJSON/GeoParquet/GeoPackage file"
    )
    output: str = _option(MISSING, "folder of the corpus")
    sources: str = _option("", "folder:PATH, stac:PATH or live, several separated by commas; the demo makes its own")
    samples: int | None = _option(None, "places wanted (default: all anchors; demo 3000; uniform 1000)")
    seed: int = _option(0, "seed of the choice of places, and of the demo's world")
    sampling: str = _option("auto", "auto, uniform, anchored or file", choices=STRATEGIES)
    anchors: str = _option(
        "any", "anchored: cells that hold any item, a photo, an article, both, or a raster's centre", choices=ANCHORS
    )
    places: str = _option("", "file: CSV or GeoParquet of lon, lat")
    min_spacing_m: float = _option(0.0, "least distance between places, metres")
    modalities: str = _option(",".join(MODALITIES), "views to collect, separated by commas")
    require: str = _option("", "views without which a place is dropped, separated by commas")
    min_observations: int = _option(1, "observations without which a place is dropped")
    resolution: int = _option(10, "H3 level of a place")
    unit_resolution: int = _option(5, "H3 level of a unit of search")
    split_resolution: str = _option("4,7", "H3 levels of the test and val blocks")
    samples_per_shard: int = _option(256, "most samples in one shard")
    scene_tries: int = _option(
        Limits.scene_tries, "rasters planned for a cell; the next is read where one is judged bad"
    )
    photos_per_cell: int = _option(Limits.photos_per_cell, "photos kept for a cell")
    texts_per_cell: int = _option(Limits.texts_per_cell, "articles kept for a cell")
    aerial_gsd: float = _option(Encoding.aerial_gsd_m, "aerial images: metres per pixel")
    photo_px: int = _option(Encoding.photo_px, "photos: stored short side, pixels")
    max_cloud_share: float = _option(Thresholds.max_cloud_share, "Sentinel-2: largest share under cloud, 0 ... 1")
    min_valid_share: float = _option(
        Thresholds.min_valid_share, "rasters: least share of the hexagon with data, 0 ... 1"
    )
    min_std: float = _option(Thresholds.min_std, "pictures: least standard deviation, stored units")
    min_photo_px: int = _option(Thresholds.min_photo_px, "photos: least short side of the original, pixels")
    min_sharpness: float = _option(Thresholds.min_sharpness, "photos: least variance of the Laplacian")
    min_text_chars: int = _option(Thresholds.min_text_chars, "texts: least number of characters")
    imprecise_step_deg: float = _option(
        Thresholds.imprecise_step_deg,
        "articles on whole multiples of this in both axes are dropped, degrees; 0 keeps them",
    )
    runner: str = _option("FnApiRunner", "FnApiRunner (worker processes on this machine) or another of Beam's runners")
    workers: int = _option(os.cpu_count() or 1, "worker processes of FnApiRunner")
    dry_run: bool = _option(False, "plan, print what it would cost, and stop")

    def __post_init__(self) -> None:
        for name in self.modality_names + self.required:
            find_modality(name)
        for name, least in _LEAST.items():
            if (value := getattr(self, name)) is not None and not value >= least:
                raise OptionError(f"--{name} {value} is too small: give at least {least}.")
        for name in ("max_cloud_share", "min_valid_share"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise OptionError(f"--{name} {value} is no share: give 0 ... 1.")
        if not self.split_rule.val_resolution < self.resolution <= 12:
            raise OptionError(
                f"--resolution {self.resolution} must be finer than the split's {self.split_rule.val_resolution} "
                "and at most 12: 10 fits the patches."
            )
        if not 0 <= self.unit_resolution < self.resolution:
            raise OptionError(
                f"--unit_resolution {self.unit_resolution} must be coarser than --resolution {self.resolution}."
            )
        if "://" in self.output:
            raise OptionError(f"--output {self.output} is no local folder, and others are not in this version yet.")
        if self.sampling == "file" and not self.places:
            raise OptionError("--sampling file needs --places FILE with columns lon, lat.")
        if self.runner == "DaskRunner":
            raise OptionError(
                "--runner DaskRunner silently loses outputs (Beam 2.77): use FnApiRunner or DataflowRunner."
            )

    @property
    def modality_names(self) -> tuple[str, ...]:
        """Views to collect."""
        return tuple(name.strip() for name in self.modalities.split(",") if name.strip())

    @property
    def required(self) -> tuple[str, ...]:
        """Views without which a place is dropped."""
        return tuple(name.strip() for name in self.require.split(",") if name.strip())

    @property
    def split_rule(self) -> SplitRule:
        """The split function."""
        try:
            test, val = (int(part) for part in self.split_resolution.split(","))
        except ValueError as error:
            raise OptionError(
                f"--split_resolution {self.split_resolution!r} must be two H3 levels, such as 4,7."
            ) from error
        return SplitRule(test, val, self.resolution)

    @property
    def thresholds(self) -> Thresholds:
        """The judges' limits."""
        return Thresholds(**{f.name: getattr(self, f.name) for f in fields(Thresholds)})

    @property
    def limits(self) -> Limits:
        """Observations per cell."""
        bounds_share = max(0.0, self.min_valid_share - 0.02)  # bounds and pixel middles differ by as much
        return Limits(
            self.scene_tries, self.photos_per_cell, texts_per_cell=self.texts_per_cell, min_covered_share=bounds_share
        )

    @property
    def recipe(self) -> Recipe:
        """What a shard's bytes depend on besides its rows."""
        kept = (self.photos_per_cell, self.texts_per_cell)
        return Recipe(self.thresholds, self.encoding, self.required, self.min_observations, *kept)

    @property
    def encoding(self) -> Encoding:
        """How observations are made."""
        return Encoding(self.aerial_gsd, self.photo_px)

    @property
    def sampling_rule(self) -> SamplingRule:
        """How many places and how far apart."""
        return SamplingRule(self.samples, self.resolution, self.min_spacing_m)

    def shaping(self) -> dict[str, Any]:
        """Returns the options that shape the corpus, without those that only say where and how it is made."""
        return {k: v for k, v in asdict(self).items() if k not in ("output", "runner", "workers", "dry_run")}


def parse_options(arguments: list[str]) -> tuple[Options, list[str]]:
    """Reads the command line.

    Returns:
        The options, and what is left for Beam.
    """
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.build_shards", description="Builds a corpus: region -> plan -> shards.",
        epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    for option in fields(Options):
        text = option.metadata["help"]
        if option.type is bool:
            parser.add_argument(f"--{option.name}", action="store_true", help=text)
            continue
        is_needed = option.default is MISSING
        parser.add_argument(
            f"--{option.name}", type=int if option.type == int | None else option.type,
            required=is_needed, default=None if is_needed else option.default, choices=option.metadata.get("choices"),
            help=text if is_needed or option.default in (None, "") else f"{text} (default {option.default})",
        )  # fmt: skip
    known, rest = parser.parse_known_args(_join_negative(arguments))
    return Options(**vars(known)), rest


def _join_negative(arguments: list[str]) -> list[str]:
    """Writes `--region -9,36,3,44` as `--region=-9,36,3,44`, which argparse would take for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and re.fullmatch(r"--\w+", joined[-1]) and re.match(r"-[\d.]", argument):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined
