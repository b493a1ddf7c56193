"""The rehearsal of a build on Google Dataflow, without Google: `make rehearse`.

The command that a user would give submits its jobs to an emulator of Google Cloud Storage and a stand-in for Dataflow's
REST interface, both on loopback. The stand-in runs each job from what was staged, and the corpus at gs:// must be the
one that a local build of the same plan gives, byte for byte.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.folders import write_folder
from tests.runs import ROOT
from tests.services.dataflow import Dataflow
from tests.services.objects import ObjectStore, google_storage

LIMIT_S = 300
TOKEN = "MLY|a-token-that-must-stay-at-home"


@dataclass(frozen=True)
class Rehearsal:
    """What came of it."""

    local: dict[str, str]
    """Digest of each shard of the local build."""
    remote: dict[str, str]
    """Digest of each shard at gs://, as its bytes there have it."""
    jobs: int
    """Jobs that were sent."""
    sent: str
    """All that went to Dataflow and into the bucket, and what workers logged, for looking for secrets."""
    seconds: float
    """Wall time of the remote build."""


def rehearse(folder: Path, store: ObjectStore) -> Rehearsal:
    """Builds a small folder of files here and through the stand-in, whose workers find the folder under the same path.

    Raises:
        AssertionError: with the last words of the build that failed.
    """
    source = write_folder(folder / "shared" / "mine", places=14)
    common = ["--region", "DE", "--sources", f"folder:{source}", "--samples_per_shard", "4", "--workers", "2"]
    _build([*common, "--output", str(folder / "local")], {})
    start = time.monotonic()
    with Dataflow(folder / "dataflow", store.environment) as dataflow:
        output = f"{store.root}/rehearsal"
        _build(
            [
                *common, "--output", output, "--runner", "DataflowRunner", "--project", "demo",
                "--region_gcp", "europe-west1", "--temp_location", f"{store.root}/tmp",
                "--mounted", str(folder / "shared"), f"--dataflow_endpoint={dataflow.endpoint}",
            ],
            {**store.environment, "MAPILLARY_TOKEN": TOKEN},
        )  # fmt: skip
        seconds = time.monotonic() - start
        remote, texts = _read_bucket(store, "rehearsal")
        sent = "\n".join([dataflow.sent(), *texts, *(job.log.read_text() for job in dataflow.jobs)])
    manifest = json.loads((folder / "local" / "manifest.json").read_text())
    local = {shard["name"]: shard["sha256"] for shard in manifest["shards"]}
    return Rehearsal(local, remote, len(dataflow.jobs), sent, seconds)


def _build(arguments: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.build_shards", *arguments],
        cwd=ROOT, env={**os.environ, **environment, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=LIMIT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]


def _read_bucket(store: ObjectStore, corpus: str) -> tuple[dict[str, str], list[str]]:
    """Returns the digests of a corpus's shards, and all that lies in the bucket, as text."""
    code = (
        "import hashlib, json, sys\n"
        "from pipelines.files import storage\n"
        "names = storage.list_files(sys.argv[1])\n"
        "blobs = {name: storage.read_bytes(storage.join(sys.argv[1], name)) for name in names}\n"
        "prefix = sys.argv[2] + '/'\n"
        "digests = {name.removeprefix(prefix): hashlib.sha256(blob).hexdigest() for name, blob in blobs.items()\n"
        "           if name.startswith(prefix) and name.endswith('.tar')}\n"
        "print(json.dumps([digests, [blob.decode('latin-1') for blob in blobs.values()]]))\n"
    )
    environment = {**os.environ, **store.environment, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, store.root, corpus], cwd=ROOT, env=environment, capture_output=True, text=True,
        timeout=LIMIT_S, check=True,
    )  # fmt: skip
    digests, texts = json.loads(done.stdout)
    return digests, texts


def main() -> int:
    """Rehearses and says what came of it."""
    with TemporaryDirectory(prefix="sameplace-") as scratch, google_storage(Path(scratch)) as store:
        found = rehearse(Path(scratch), store)
    is_same = found.local == found.remote and TOKEN not in found.sent
    print(
        f"{len(found.remote)} shards from {found.jobs} jobs in {found.seconds:.0f} s: "
        f"{'the bytes of the local build' if found.local == found.remote else 'OTHER BYTES than the local build'}; "
        f"{'the token stayed at home' if TOKEN not in found.sent else 'THE TOKEN WAS SENT'}"
    )
    return 0 if is_same else 1


if __name__ == "__main__":
    sys.exit(main())
