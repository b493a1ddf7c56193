"""Runs one job of Dataflow on this machine, from what was staged for it: `python -S -P execute.py FOLDER`.

The folder holds job.json as it was sent. The pipeline and the package come from the bucket; the package is installed
into an empty folder, and only that folder and third-party packages are on the path, here and in the worker process.
"""

import importlib.util
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns, python_urns
from apache_beam.portability.api import beam_runner_api_pb2 as api
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

OURS = ("schemas", "geodata", "pipelines", "training")


def main(folder: Path) -> None:
    """Fetches, installs, runs; raises where the job fails."""
    options = json.loads((folder / "job.json").read_text())["environment"]["sdkPipelineOptions"]["options"]
    url = options.pop("pipelineUrl")
    FileSystems.set_options(PipelineOptions([]))
    pipeline = api.Pipeline.FromString(fetch(url))
    staged: dict[str, bytes] = {}
    for environment in pipeline.components.environments.values():
        staged |= fetch_artifacts(environment)
        run_here(environment)
    install(staged, folder)
    whole = {n: int(v) if isinstance(v, float) and v.is_integer() else v for n, v in options.items() if v is not None}
    result = FnApiRunner().run_via_runner_api(pipeline, PipelineOptions.from_dictionary(whole))
    result.wait_until_finish()


def fetch(url: str) -> bytes:
    """Reads an object of the bucket."""
    with FileSystems.open(url, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        return file.read()


def fetch_artifacts(environment: api.Environment) -> dict[str, bytes]:
    """Reads what a worker's boot program would read, by the names it would give the files."""
    found = {}
    for artifact in environment.dependencies:
        assert artifact.type_urn == common_urns.artifact_types.URL.urn, artifact
        url = api.ArtifactUrlPayload.FromString(artifact.type_payload).url
        found[api.ArtifactStagingToRolePayload.FromString(artifact.role_payload).staged_name] = fetch(url)
    return found


def run_here(environment: api.Environment) -> None:
    """Makes an environment a process of this machine in place of a container."""
    assert environment.urn == common_urns.environments.DOCKER.urn, environment.urn
    image = api.DockerPayload.FromString(environment.payload).container_image
    assert "python3.11_sdk" in image, image
    del environment.dependencies[:]
    environment.urn = python_urns.SUBPROCESS_SDK
    environment.payload = f"{sys.executable} -S -P -m apache_beam.runners.worker.sdk_worker_main".encode()


def install(staged: dict[str, bytes], folder: Path) -> None:
    """Installs the package as the boot program does, and checks that what it requires is there as it requires it."""
    (folder / "workflow.tar.gz").write_bytes(staged["workflow.tar.gz"])
    for line in staged["requirements.txt"].decode().split():
        name, _, wanted = line.partition("==")
        assert version(name).partition("+")[0] == wanted, f"{name} {version(name)} is not {wanted}"
    target = folder / "packages"
    pip = "import runpy, sys; sys.argv[0] = 'pip'; runpy.run_module('pip', run_name='__main__')"
    arguments = ["install", "-q", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    subprocess.run([sys.executable, "-c", pip, *arguments, str(folder / "workflow.tar.gz")], check=True)
    importlib.invalidate_caches()
    for name in OURS:
        spec = importlib.util.find_spec(name)
        assert spec and spec.origin and Path(spec.origin).is_relative_to(target), f"{name} is not from the package"
    checkout, environment = Path(__file__).parents[2], Path(sys.executable).parents[1]  # which may lie inside
    ours = [entry for entry in map(Path, sys.path) if entry.is_relative_to(checkout)]
    assert all(entry.is_relative_to(environment) for entry in ours), f"the checkout is on the path: {sys.path}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
