"""A stand-in for Google Dataflow: takes jobs over its REST interface and runs them from what was staged, nothing else."""

import json
import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path

from tests.services.server import LoopbackServer, Reply, Request

EXECUTOR = Path(__file__).with_name("execute.py")


@dataclass
class _Job:
    """A job as it was sent, and the process that runs it."""

    document: dict[str, object]
    log: Path
    process: subprocess.Popen[bytes]

    def state(self) -> str:
        status = self.process.poll()
        return "JOB_STATE_RUNNING" if status is None else "JOB_STATE_FAILED" if status else "JOB_STATE_DONE"


@dataclass
class Dataflow:
    """Serves `/v1b3/projects/P/locations/R/jobs` until it is closed, and ends just the processes it started."""

    folder: Path
    """Where jobs leave their logs and packages."""
    environment: dict[str, str]
    """Variables of the workers: those of their machines, none of the one that sends the job."""
    jobs: list[_Job] = field(default_factory=list)

    def __enter__(self) -> "Dataflow":
        self._server = LoopbackServer(self._answer)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        for job in self.jobs:
            if job.process.poll() is None:
                job.process.terminate()
            job.process.wait(20)

    @property
    def endpoint(self) -> str:
        """Beam speaks plain REST only where the address says localhost."""
        return f"http://localhost:{self._server.port}"

    def sent(self) -> str:
        """Everything that clients sent, for looking for secrets."""
        return "\n".join(f"{r.line} {r.headers} {r.body.decode(errors='replace')}" for r in self._server.requests)

    def _answer(self, request: Request) -> Reply:
        where, _, rest = request.path.partition("/jobs")
        if not where.startswith("/v1b3/projects/"):
            return Reply(404, b"{}")
        if request.method == "POST" and not rest:
            return _reply(self._describe(self._start(json.loads(request.body))))
        number, _, what = rest.strip("/").partition("/")
        job = self.jobs[int(number.removeprefix("job-"))]
        return _reply(_messages(job) if what == "messages" else {} if what else self._describe(job))

    def _start(self, document: dict[str, object]) -> _Job:
        folder = self.folder / f"job-{len(self.jobs)}"
        folder.mkdir(parents=True)
        (folder / "job.json").write_text(json.dumps(document))
        # no site (-S) and no script's folder (-P), so that nothing leads back to the checkout
        packages = os.pathsep.join([str(folder / "packages"), sysconfig.get_path("purelib")])
        environment = {**self.environment, "PYTHONPATH": packages, "PATH": os.environ["PATH"], "HOME": str(folder)}
        log = folder / "log.txt"
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [sys.executable, "-S", "-P", str(EXECUTOR), str(folder)],
                cwd=folder, env=environment, stdout=sink, stderr=subprocess.STDOUT,
            )  # fmt: skip
        job = _Job(document, log, process)
        self.jobs.append(job)
        return job

    def _describe(self, job: _Job) -> dict[str, object]:
        identity = f"job-{self.jobs.index(job)}"
        return {
            "id": identity, "name": job.document["name"], "projectId": "demo", "location": "europe-west1",
            "type": "JOB_TYPE_BATCH", "currentState": job.state(),
        }  # fmt: skip


def _messages(job: _Job) -> dict[str, object]:
    if job.state() != "JOB_STATE_FAILED":
        return {}
    text = job.log.read_text(errors="replace")[-20_000:]
    time = "2026-01-01T00:00:00Z"
    return {
        "jobMessages": [
            {"id": "1", "time": time, "messageText": text, "messageImportance": "JOB_MESSAGE_ERROR"},
        ]
    }


def _reply(document: dict[str, object]) -> Reply:
    return Reply(200, json.dumps(document).encode(), {"Content-Type": "application/json"})
