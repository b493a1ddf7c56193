"""What workers on other machines need, and Google Dataflow above all: checked before any work is done.

Workers of Dataflow install the package that Beam builds from `pyproject.toml`, and the requirements of the extra
`corpus` at the versions of this machine, because GDAL's version decides the bytes; or they run a ready image
(`--sdk_container_image`, see Dockerfile).
"""

import atexit
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    WorkerOptions,
)
from packaging.requirements import Requirement

import pipelines
from geodata.sources.live import TOKEN
from pipelines.files import storage
from pipelines.plan.options import OptionError, Options
from pipelines.plan.plan import SourceSpec

DATAFLOW = "DataflowRunner"
_PORTABLE = ("FlinkRunner", "PortableRunner", "SparkRunner")
_HERE = ("[local]", "[auto]", "[collection]")
"""Flink masters that are this machine."""
_SECRET = r"projects/[^/]+/secrets/[^/]+/versions/[^/]+"
PROJECT_FILE = Path(pipelines.__file__).parents[1] / "pyproject.toml"
"""There where sameplace runs from a checkout."""


def check_dataflow(options: Options, rest: list[str]) -> None:
    """Raises OptionError that names everything that Dataflow lacks, in one sentence."""
    if options.token_secret and not re.fullmatch(_SECRET, options.token_secret):
        raise OptionError(
            f"--token_secret {options.token_secret!r} names no secret: write projects/P/secrets/NAME/versions/latest."
        )
    if options.runner != DATAFLOW:
        return
    flags = PipelineOptions(rest)
    google, image = flags.view_as(GoogleCloudOptions), flags.view_as(WorkerOptions).sdk_container_image
    has_packages = all(map(storage.is_installed, ("google.cloud.dataflow_v1beta3", "google.cloud.storage", "build")))
    is_bare = bool(image) or bool(flags.view_as(SetupOptions).requirements_file)
    needs = {
        "--project PROJECT": bool(google.project),
        "--region_gcp REGION (europe-west1)": bool(options.region_gcp),
        "--temp_location gs://BUCKET/tmp": bool(google.temp_location or google.staging_location),
        "--output gs://BUCKET/CORPUS": options.output.startswith("gs://"),
        "a checkout of sameplace or --sdk_container_image IMAGE": bool(image) or PROJECT_FILE.is_file(),
        "pip install 'sameplace[gcp]'": has_packages,
        "pip install -e '.[corpus,gcp]' in this checkout, which is not installed": is_bare or _is_registered(),
    }
    lacking = [need for need, is_met in needs.items() if not is_met]
    if lacking:
        raise OptionError(f"--runner {DATAFLOW} needs also: {'; '.join(lacking)}.")


def dataflow_flags(options: Options, rest: list[str]) -> list[str]:
    """Returns Beam's flags for Dataflow besides those that the user gave.

    One machine is one worker process with one thread, so that as many share the polite rates as `--workers` says.
    """
    given = PipelineOptions(rest)
    flags = [
        f"--region={options.region_gcp}",
        f"--max_num_workers={options.workers}",
        "--number_of_worker_harness_threads=1",
        "--experiments=no_use_multiple_sdk_containers",
    ]
    setup = given.view_as(SetupOptions)
    if given.view_as(WorkerOptions).sdk_container_image is None:
        if setup.setup_file is None:
            flags.append(f"--setup_file={PROJECT_FILE}")
        if setup.requirements_file is None:
            flags += [f"--requirements_file={_write_requirements()}", "--requirements_cache=skip"]
    names = {flag.partition("=")[0] for flag in rest}
    return [flag for flag in flags if flag.partition("=")[0] not in names - {"--experiments"}]


def check_reach(options: Options, specs: Sequence[SourceSpec], rest: list[str]) -> None:
    """Raises OptionError for files or secrets of this machine that workers elsewhere would not have."""
    if not _is_elsewhere(options.runner, rest):
        return
    paths = {f"{spec.kind}:{spec.path}": spec.path for spec in specs if spec.path}
    paths |= {f"--{name} {path}": path for name in ("output", "cache") if (path := getattr(options, name))}
    for name, path in paths.items():
        if not (path == options.output and storage.is_remote(path)) and not _is_below(path, options.mounted):
            raise OptionError(
                f"{name} lies on this machine, and the workers of {options.runner} run on others: put it where every "
                "worker finds it under the same path (a network mount, or a part of the worker's image), and name "
                "that folder with --mounted."
            )
    is_asked = any(spec.name == "mapillary" for spec in specs)
    if is_asked and options.runner == DATAFLOW and not options.token_secret:
        raise OptionError(
            f"{TOKEN} stays on this machine, since what is sent with a job can be read by all who see the job: put "
            "the token into Google Secret Manager and give --token_secret projects/P/secrets/NAME/versions/latest, or "
            "leave photos out with --modalities sentinel2,aerial,dem,text."
        )


def job_errors() -> tuple[type[Exception], ...]:
    """Returns what a pipeline that failed raises: on Dataflow, if a job was sent there, no RuntimeError."""
    module = sys.modules.get("apache_beam.runners.dataflow.dataflow_runner")
    return (RuntimeError,) if module is None else (RuntimeError, module.DataflowRuntimeException)


def _is_elsewhere(runner: str, rest: list[str]) -> bool:
    """Returns whether workers may run on other machines."""
    if runner == DATAFLOW:
        return True
    flags = PipelineOptions(rest)
    kind = flags.view_as(PortableOptions).environment_type
    if runner == "FlinkRunner" and kind is None:
        return flags.view_as(FlinkRunnerOptions).flink_master not in _HERE
    return runner in _PORTABLE and kind != "LOOPBACK"


def _is_below(path: str, folder: str) -> bool:
    return bool(folder) and Path(path).absolute().is_relative_to(Path(folder).absolute())


def _is_registered() -> bool:
    """Returns whether pip knows sameplace here, and so what it requires."""
    try:
        return bool(version("sameplace"))
    except PackageNotFoundError:
        return False


@cache
def _write_requirements() -> Path:
    """Writes what the extra `corpus` needs, at the versions of this machine; Beam itself is in the workers' image.

    All jobs of this process are sent with the one file, which is gone when it ends.
    """
    found = [Requirement(text) for text in requires("sameplace") or ()]
    wanted = sorted({r.name for r in found if r.marker is None or r.marker.evaluate({"extra": "corpus"})})
    lines = [f"{name}=={version(name).partition('+')[0]}\n" for name in wanted if name != "apache-beam"]
    folder = tempfile.mkdtemp(prefix="sameplace-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder, "requirements.txt")
    path.write_text("".join(lines))
    return path
