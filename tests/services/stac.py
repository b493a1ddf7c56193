"""A real STAC API on loopback: stac-fastapi with pgstac on PostgreSQL, the software that the Planetary Computer runs."""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1:]


def missing() -> str:
    """Why it cannot run here; "" where it can."""
    if not BINARIES or not list(Path("/usr/share/postgresql").glob("*/extension/postgis.control")):
        return "PostgreSQL with PostGIS is not installed (apt-get install postgresql-15-postgis-3)"
    if importlib.util.find_spec("pypgstac") is None or importlib.util.find_spec("stac_fastapi") is None:
        return "pypgstac and stac-fastapi.pgstac are not installed (pip install -e '.[dev]')"
    return ""


class StacServer:
    """Starts on construction, is loaded with collections and items, ends on close."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sameplace-stac-"))
        self.processes: list[subprocess.Popen[bytes]] = []
        self._user: list[str] = []
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            self.folder.chmod(0o755)
            shutil.chown(self.folder, "postgres", "postgres")
            self._user = ["runuser", "-u", "postgres", "--"]
        self._start_database()
        self.port = _free_port()
        self.root = f"http://127.0.0.1:{self.port}"

    def load(self, collections: list[dict], items: list[dict]) -> None:
        for kind, rows in (("collections", collections), ("items", items)):
            path = self.folder / f"{kind}.ndjson"
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
            self._pypgstac("load", kind, str(path), "--method", "upsert")

    def serve(self) -> None:
        command = [
            sys.executable, "-m", "uvicorn", "stac_fastapi.pgstac.app:create_app", "--factory", "--host", "127.0.0.1",
            "--port", str(self.port), "--log-level", "warning",
        ]  # fmt: skip
        log = (self.folder / "api.log").open("wb")
        self.processes.append(subprocess.Popen(command, env=self._environment(), stdout=log, stderr=log))
        _wait(lambda: urllib.request.urlopen(f"{self.root}/_mgmt/ping", timeout=2).status == 200, "the STAC API")

    def close(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start_database(self) -> None:
        data, self._port = self.folder / "data", _free_port()
        binaries = BINARIES[0]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
        initdb = [*self._user, str(binaries / "initdb"), "-A", "trust", "-U", "postgres", "-D", str(data), "--no-sync"]
        subprocess.run(initdb, check=True, **quiet)
        settings = f"-c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -c fsync=off".split()
        command = [str(binaries / "postgres"), "-D", str(data), "-p", str(self._port), *settings]
        # one process whose end is the server's end: `runuser` would leave its child behind
        self.processes.append(subprocess.Popen(command, user="postgres" if self._user else None, **quiet))
        psql = [str(binaries / "psql"), "-h", "127.0.0.1", "-p", str(self._port), "-U", "postgres", "-c"]
        _wait(lambda: subprocess.run([*psql, "select 1"], **quiet).returncode == 0, "PostgreSQL")
        subprocess.run([*psql, "create extension postgis"], check=True, **quiet)
        self._pypgstac("migrate")

    def _pypgstac(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "pypgstac.pypgstac", *arguments]
        done = subprocess.run(command, env=self._environment(), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-2000:]

    def _environment(self) -> dict[str, str]:
        database = {"PGHOST": "127.0.0.1", "PGPORT": str(self._port), "PGUSER": "postgres", "PGDATABASE": "postgres"}
        return {**os.environ, **database, "PGPASSWORD": "none", "WEB_CONCURRENCY": "1"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(is_there, what: str, limit_s: float = 60) -> None:
    start = time.monotonic()
    while time.monotonic() - start < limit_s:
        try:
            if is_there():
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise TimeoutError(f"{what} did not start within {limit_s} s")
