"""Azure blobs and their tokens: a double of the SAS service, and a gate with its rules before a folder of files.

The gate answers ranges itself; with nginx in front of the folder it passes allowed requests on (see `Gate.upstream`).
"""

import json
import re
import secrets
import threading
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from tests.services.server import LoopbackServer, Reply, Request

_TIMES = re.compile(r"[?&]se=([^&]+)")


class SasDouble:
    """Gives out tokens of a settable lifetime; counts what it was asked."""

    def __init__(self, *, lifetime_s: float = 45 * 60) -> None:
        self.lifetime_s = lifetime_s
        self.signatures: dict[str, tuple[str, datetime]] = {}
        self.server = LoopbackServer(self._handle)
        self.root = f"{self.server.root}/api/sas/v1"

    def asked(self, container: str = "") -> int:
        return sum(request.path.endswith(container) for request in self.server.requests)

    def revoke(self) -> None:
        """All tokens so far are refused from now on."""
        self.signatures.clear()

    def _handle(self, request: Request) -> Reply:
        found = re.fullmatch(r"/api/sas/v1/token/([^/]+)/([^/]+)", request.path)
        if found is None:
            body = json.dumps({"statusCode": 404, "message": "Resource not found"}).encode()
            return Reply(404, body, {"Content-Type": "application/json"})
        now = datetime.now(UTC)
        expiry = now + timedelta(seconds=self.lifetime_s)
        signature = secrets.token_urlsafe(24)
        self.signatures[signature] = ("/".join(found.groups()), expiry)
        start = quote((now - timedelta(hours=24)).strftime("%Y-%m-%dT%H:%M:%SZ"), safe="")
        end = quote(expiry.strftime("%Y-%m-%dT%H:%M:%SZ"), safe="")
        token = f"st={start}&se={end}&sp=rl&sv=2021-06-08&sr=c&skoid=x&sktid=y&sks=b&skv=2021-06-08&sig={signature}"
        body = {"msft:expiry": expiry.strftime("%Y-%m-%dT%H:%M:%SZ"), "token": token}
        return Reply(200, json.dumps(body).encode(), {"Content-Type": "application/json"})


class BlobDouble:
    """Files below `folder/{account}/{container}/...`, for those with a token of that container."""

    def __init__(self, folder: Path, sas: SasDouble, *, upstream: str = "") -> None:
        self.folder, self.sas, self.upstream = folder, sas, upstream
        self.ranges: dict[str, list[str]] = {}
        self._lock = threading.Lock()
        self.server = LoopbackServer(self._handle)
        self.root = self.server.root

    def _handle(self, request: Request) -> Reply:
        container = "/".join(request.path.split("/")[1:3])
        known = self.sas.signatures.get(request.query.get("sig", ""))
        if known is None or known[0] != container or known[1] < datetime.now(UTC):
            return _error(403, "AuthenticationFailed", "Signature not valid in the specified time frame")
        path = self.folder / request.path.lstrip("/")
        if not path.is_file():
            return _error(404, "BlobNotFound", "The specified blob does not exist.")
        with self._lock:
            self.ranges.setdefault(request.path, []).append(request.headers.get("range", request.method))
        return self._forward(request) if self.upstream else serve_file(path, request)

    def _forward(self, request: Request) -> Reply:
        headers = {name: value for name, value in request.headers.items() if name == "range"}
        outgoing = urllib.request.Request(self.upstream + request.path, headers=headers, method=request.method)
        try:
            with urllib.request.urlopen(outgoing, timeout=20) as answer:
                kept = {n: v for n, v in answer.headers.items() if n in ("Content-Range", "Accept-Ranges", "ETag")}
                if request.method == "HEAD":
                    kept["Content-Length"] = answer.headers["Content-Length"]
                return Reply(answer.status, answer.read(), kept)
        except urllib.error.HTTPError as error:
            return Reply(error.code, error.read())


def serve_file(path: Path, request: Request) -> Reply:
    """Answers GET and HEAD of a file, whole or one range of it (RFC 9110, section 14)."""
    data = path.read_bytes()
    headers = {"Accept-Ranges": "bytes", "Content-Type": "image/tiff"}
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if wanted is None:
        return Reply(200, data, headers)
    first = int(wanted[1])
    last = min(int(wanted[2] or len(data) - 1), len(data) - 1)
    if first > last:
        return Reply(416, b"", {"Content-Range": f"bytes */{len(data)}"})
    headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
    return Reply(206, data[first : last + 1], headers)


def _error(status: int, code: str, message: str) -> Reply:
    body = (
        f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message} '
        f"RequestId:00000000-0000-0000-0000-000000000000 Time:{datetime.now(UTC).isoformat()}</Message></Error>"
    )
    return Reply(status, body.encode(), {"Content-Type": "application/xml", "x-ms-error-code": code})
