"""Serves a site on this machine, to this machine: nobody else is answered, and no other page may read it."""

from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from pipelines.exploring.site import Site
from schemas.corpus import CorpusError

HOST = "127.0.0.1"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""The page may load its own files and pictures that came with them, and nothing from anywhere else."""
HEADERS = {
    "Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store",
}  # fmt: skip
"""Data travels in scripts, which other pages could load: the resource policy forbids it."""
_TYPES = {
    "html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}  # fmt: skip


class Server(ThreadingHTTPServer):
    """Answers for one site on loopback."""

    daemon_threads = True

    def __init__(self, site: Site, port: int) -> None:
        """Listens; port 0 takes a free one.

        Raises:
            OSError: if the port is taken.
        """
        self.site = site
        super().__init__((HOST, port), _Handler)

    @property
    def address(self) -> str:
        """Where a browser finds the page."""
        return f"http://{HOST}:{self.server_address[1]}/"


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answers with a file of the site."""
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if host not in (HOST, "localhost"):  # a name that someone else let point here
            self._answer(HTTPStatus.FORBIDDEN, b"This page is for this machine alone.\n", "text/plain")
            return
        path = unquote(urlsplit(self.path).path).removeprefix("/") or "index.html"
        try:
            payload = self.server.site.read(path)
        except (OSError, CorpusError) as error:
            text = f"{path} cannot be made: {error}\n"
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, text.encode(), "text/plain; charset=utf-8")
            return
        if payload is None:
            self._answer(HTTPStatus.NOT_FOUND, b"There is no such file.\n", "text/plain")
        else:
            self._answer(HTTPStatus.OK, payload, _TYPES[path.rpartition(".")[2]])

    do_HEAD = do_GET  # noqa: N815 - the name that the library calls

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: the browser's own tools list requests."""

    def _answer(self, status: HTTPStatus, payload: bytes, media: str) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": media, "Content-Length": str(len(payload))}.items():
            self.send_header(name, value)
        with suppress(ConnectionError):  # a browser that has gone on to another place
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(payload)
