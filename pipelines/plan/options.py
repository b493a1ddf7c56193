"""Every option of a build, with type, default, unit and help; the parser is made from this one dataclass."""

import argparse
import os
import re
from dataclasses import MISSING, asdict, dataclass, field, fields
from datetime import date
from typing import Any

from geodata.judge import Thresholds
from geodata.licences import ALL, LICENCE_RULES
from geodata.observe import Encoding
from geodata.sampling import SamplingRule
from geodata.services.service import SERVICES, parse_endpoints, parse_rates
from geodata.services.session import HttpSettings
from geodata.sources.files import Limits
from geodata.sources.live import LiveSettings
from geodata.sources.scene_choice import COLLECTIONS, SceneChoice
from geodata.splits import SplitRule
from pipelines.plan.partition import parse_partition
from pipelines.plan.recipe import Recipe
from schemas.modality import MODALITIES, find_modality

STRATEGIES = ("auto", "uniform", "anchored", "file")
ANCHORS = ("any", "photo", "article", "both", "raster")
DEMO_SAMPLES, OPEN_SAMPLES = 4500, 1000
"""Places where --samples is not given: of the demo, and of a uniform or live corpus, whose supply has no end."""

_LEAST = {
    "samples": 1, "samples_per_shard": 1, "workers": 1, "scene_tries": 1, "photos_per_cell": 1, "texts_per_cell": 1,
    "min_observations": 1, "photo_px": 16, "min_photo_px": 1, "aerial_gsd": 0.01, "min_spacing_m": 0, "min_std": 0,
    "min_sharpness": 0, "min_text_chars": 0, "imprecise_step_deg": 0, "seed": 0,
    "min_modalities": 1, "max_days_apart": 0, "cells_per_unit": 1, "max_scene_cloud": 0, "threads": 1,
    "attempts": 1, "patience": 0, "overdue": 0,
}  # fmt: skip
"""Smallest value of each option."""

_SHAPELESS = frozenset(
    [
        "output",
        "runner",
        "workers",
        "threads",
        "dry_run",
        "retry_failed",
        "contact",
        "cache",
        "endpoint",
        "rate",
        "attempts",
        "patience",
        "overdue",
        "partition",
        "plan_only",
        "log_json",
        "token_secret",
        "region_gcp",
        "mounted",
    ]
)
"""Options that only say where and how a corpus is made."""

EXAMPLE = """examples:
  python -m pipelines.build_shards --region demo --output shards/demo --samples 300
  python -m pipelines.build_shards --region LU --output shards/lux --contact you@example.org --dry_run
  python -m pipelines.build_shards --region europe --sources folder:my_files --output shards/mine

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
    output: str = _option(MISSING, "folder of the corpus, local, gs:// or s3://")
    sources: str = _option(
        "",
        "live, folder:PATH, stac:PATH, wikipedia:PATH (an indexed dump), several separated by commas (default: live)",
    )
    samples: int | None = _option(None, "places wanted (default: all anchors of files; demo 4500; others 1000)")
    seed: int = _option(0, "seed of the choice of places, and of the demo's world")
    sampling: str = _option("auto", "auto, uniform, anchored or file", choices=STRATEGIES)
    anchors: str = _option(
        "any", "anchored: cells that hold any item, a photo, an article, both, or a raster's centre", choices=ANCHORS
    )
    places: str = _option("", "file: CSV or GeoParquet of lon, lat")
    min_spacing_m: float = _option(0.0, "least distance between places, metres")
    modalities: str = _option(",".join(MODALITIES), "views to collect, separated by commas")
    licences: str = _option(
        ALL, "all, or open-commercial: only what everybody may use, change and sell", choices=LICENCE_RULES
    )
    require: str = _option("", "views without which a place is dropped, separated by commas")
    min_observations: int = _option(1, "observations without which a place is dropped")
    min_modalities: int = _option(1, "different views without which a place is dropped")
    max_days_apart: float = _option(0.0, "most days between the dated views of a place; 0 for any")
    resolution: int = _option(10, "H3 level of a place")
    unit_resolution: int = _option(5, "H3 level of a unit of search")
    split_resolution: str = _option("4,7", "H3 levels of the test and val blocks")
    samples_per_shard: int = _option(256, "most samples in one shard")
    scene_tries: int = _option(
        Limits.scene_tries, "rasters planned for a cell; the next is read where one is judged bad"
    )
    photos_per_cell: int = _option(Limits.photos_per_cell, "photos kept for a cell")
    texts_per_cell: int = _option(Limits.texts_per_cell, "articles kept for a cell")
    cells_per_unit: int = _option(100, "live: most places in one unit; more share searches and scenes")
    sentinel2: str = _option("planetary-computer", "live: provider of scenes", choices=tuple(COLLECTIONS))
    period: str = _option(SceneChoice.period, "Sentinel-2: first and last day")
    seasons: int = _option(1, "Sentinel-2: observations of a cell, each of another season", choices=(1, 2, 4))
    max_scene_cloud: float = _option(
        SceneChoice.max_cloud_percent, "Sentinel-2: scenes with more cloud are not tried, percent"
    )
    pano: str = _option(
        "keep", "360-degree photos: keep, crop to the view ahead, or drop", choices=("keep", "crop", "drop")
    )
    photo_search: str = _option(
        "tiles", "Mapillary: find photos by coverage tiles or by boxes", choices=("tiles", "boxes")
    )
    wikipedia: str = _option("en", "languages of articles, the preferred first, separated by commas")
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
    contact: str = _option("", "your e-mail address or page, sent to services; Wikipedia demands it")
    cache: str = _option("", "folder of raw answers: what is there is not asked again")
    endpoint: tuple[str, ...] = _option(
        (), f"NAME=URL, repeatable: asks a mirror or proxy instead; names: {', '.join(SERVICES)}"
    )
    rate: tuple[str, ...] = _option((), "NAME=REQUESTS_A_SECOND of all workers together, repeatable; names as above")
    attempts: int = _option(HttpSettings.attempts, "times that one request is sent at most")
    patience: float = _option(HttpSettings.patience_s, "how long a service that is down is waited for, seconds")
    overdue: float = _option(
        3600.0,
        "longest that reading one observation, or searching for ten places, may take before it is given up, seconds; "
        "0 for any",
    )
    threads: int = _option(8, "places that one worker reads at once from services")
    retry_failed: bool = _option(False, "ask again for what failed and may succeed, and build those shards anew")
    token_secret: str = _option(
        "", "secret of Google Secret Manager that holds the Mapillary token: projects/P/secrets/NAME/versions/latest"
    )
    runner: str = _option("FnApiRunner", "FnApiRunner (worker processes on this machine) or another of Beam's runners")
    workers: int = _option(
        os.cpu_count() or 1, "worker processes, on this machine or a cluster; they share the polite rates"
    )
    region_gcp: str = _option("", "Dataflow: Google's region, such as europe-west1 (Beam calls it --region)")
    mounted: str = _option("", "folder of files that workers on other machines find under the same path")
    partition: str = _option("", "k/N: build the k-th of N parts of the plan; pipelines.finish merges them")
    plan_only: bool = _option(False, "write the plan and stop: the parts of a job array build from it")
    dry_run: bool = _option(False, "print what it would cost, and stop; services are asked for a part of it at most")
    log_json: bool = _option(False, "say everything as JSON lines")

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
        _check_live(self)
        parse_partition(self.partition)
        if "://" in self.output and not self.output.startswith(("gs://", "s3://")):
            raise OptionError(f"--output {self.output} is no folder, gs:// or s3:// address.")
        if self.retry_failed and (self.partition or self.dry_run):
            raise OptionError("--retry_failed mends a whole corpus: leave --partition and --dry_run out.")
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
        least = (self.min_observations, self.min_modalities, self.max_days_apart)
        return Recipe(self.thresholds, self.encoding, self.required, *least, *kept)

    @property
    def encoding(self) -> Encoding:
        """How observations are made."""
        return Encoding(self.aerial_gsd, self.photo_px, self.pano)

    @property
    def live_settings(self) -> LiveSettings:
        """How services are asked."""
        rates = parse_rates(self.rate)
        http = HttpSettings(
            parse_endpoints(self.endpoint),
            rates,
            self.contact,
            self.cache,
            max(1, self.workers) * self.parts,
            self.attempts,
            patience_s=self.patience,
        )
        scenes = SceneChoice(self.sentinel2, self.period, self.seasons, self.max_scene_cloud)
        return LiveSettings(
            http, scenes, self.limits, self.thresholds, self.encoding, self.languages, self.photo_search,
            self.token_secret,
        )  # fmt: skip

    @property
    def parts(self) -> int:
        """Parts of a job array that run at the same time and share the polite rates."""
        partition = parse_partition(self.partition)
        return partition[1] if partition else 1

    @property
    def languages(self) -> tuple[str, ...]:
        """Wikipedias, the preferred first."""
        return tuple(name.strip().lower() for name in self.wikipedia.split(",") if name.strip())

    @property
    def sampling_rule(self) -> SamplingRule:
        """How many places and how far apart."""
        return SamplingRule(self.samples, self.resolution, self.min_spacing_m)

    def shaping(self) -> dict[str, Any]:
        """Returns the options that shape the corpus, without those that only say where and how it is made."""
        return {name: value for name, value in asdict(self).items() if name not in _SHAPELESS}


def _check_live(options: Options) -> None:
    """Raises OptionError or EndpointError for what services could not be asked."""
    parse_endpoints(options.endpoint)
    parse_rates(options.rate)
    if not re.fullmatch(r"\d{4}-\d\d-\d\d/\d{4}-\d\d-\d\d", options.period):
        raise OptionError(f"--period {options.period!r} is no span of days: write 2023-05-01/2023-09-30.")
    try:
        first, last = (date.fromisoformat(day) for day in options.period.split("/"))
    except ValueError as error:
        raise OptionError(f"--period {options.period!r} holds a day that is none: {error}.") from error
    if last < first:
        raise OptionError(f"--period {options.period!r} ends before it begins: swap the days.")
    bad = [name for name in options.languages if not re.fullmatch(r"[a-z][a-z0-9-]{1,20}", name)]
    if bad or not options.languages:
        raise OptionError(f"--wikipedia {options.wikipedia!r} names no wiki: give codes such as en,de.")


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
        if option.default == ():
            parser.add_argument(f"--{option.name}", action="append", default=[], metavar="NAME=...", help=text)
            continue
        is_needed = option.default is MISSING
        parser.add_argument(
            f"--{option.name}", type=int if option.type == int | None else option.type,
            required=is_needed, default=None if is_needed else option.default, choices=option.metadata.get("choices"),
            help=text if is_needed or option.default in (None, "") else f"{text} (default {option.default})",
        )  # fmt: skip
    known, rest = parser.parse_known_args(_join_negative(arguments))
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in vars(known).items()
    }
    return Options(**values), rest


def _join_negative(arguments: list[str]) -> list[str]:
    """Writes `--region -9,36,3,44` as `--region=-9,36,3,44`, which argparse would take for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and re.fullmatch(r"--\w+", joined[-1]) and re.match(r"-[\d.]", argument):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined
