"""Object stores on loopback: a Google Cloud Storage emulator and a moto server for S3, each a process of its own."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

BUCKET = "sameplace-test"
START_S = 60
_USER = {
    "type": "authorized_user", "client_id": "nobody", "client_secret": "none", "refresh_token": "none",
    "token": "a-token-of-loopback", "expiry": "2099-01-01T00:00:00Z", "quota_project_id": "demo",
}  # fmt: skip


@dataclass(frozen=True)
class ObjectStore:
    """A bucket, and the environment in which programs find it."""

    root: str
    """Address of the bucket, gs://... or s3://..."""
    environment: dict[str, str]
    """Variables that lead its clients here."""
    endpoint: str
    """Where the server listens."""


@contextmanager
def google_storage(folder: Path) -> Iterator[ObjectStore]:
    """Runs the emulator of Google Cloud Storage; the credentials are a made-up user's, with a token that lasts.

    Without credentials Beam looks for some during 26 s, in every process, whatever `--no_auth` says. A made-up service
    account would do too, but google-auth then asks a Google host for the regions of that account.
    """
    port = _free_port()
    command = [sys.executable, "-m", "gcp_storage_emulator", "start", "--port", str(port), "--host", "127.0.0.1"]
    key = folder / "credentials.json"
    key.write_text(json.dumps(_USER))
    with _process([*command, "-q", "-M", "--default-bucket", BUCKET], port):
        endpoint = f"http://127.0.0.1:{port}"
        environment = {
            "STORAGE_EMULATOR_HOST": endpoint,
            "GOOGLE_APPLICATION_CREDENTIALS": str(key),
            "GOOGLE_CLOUD_PROJECT": "demo",
        }
        yield ObjectStore(f"gs://{BUCKET}", environment, endpoint)


@contextmanager
def s3_storage() -> Iterator[ObjectStore]:
    """Runs moto's server."""
    port = _free_port()
    with _process([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port):
        endpoint = f"http://127.0.0.1:{port}"
        build_opener(ProxyHandler({})).open(Request(f"{endpoint}/{BUCKET}", method="PUT")).close()
        environment = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        yield ObjectStore(f"s3://{BUCKET}", environment, endpoint)


@contextmanager
def _process(command: list[str], port: int) -> Iterator[None]:
    """Runs a server until the block ends, and then ends just it."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_S
        while not _answers(port):
            assert process.poll() is None, f"{command[2]} ended with status {process.returncode}"
            assert time.monotonic() < deadline, f"{command[2]} does not answer"
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    try:
        build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{port}/", timeout=2).close()
    except URLError as error:
        return hasattr(error, "code")
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
